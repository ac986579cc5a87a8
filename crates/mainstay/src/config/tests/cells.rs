//! Cells, accepted and refused.

use mainstay_gateway::spec::TenantKey;

use super::{good, shown};

const NODE: &str = "[node]\ndata_dir = \"state\"\n";
const LISTENER: &str = "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:8080\"\n";
const ROUTE: &str =
    "[[route]]\nname = \"shop\"\nservice = \"shop\"\ncells = [\"c1\", \"c2\"]\naccount = { header = \"X-Account\" }\n";

fn service(name: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\nendpoints = [\"127.0.0.1:3001\"]\n")
}

fn cell(name: &str, added: &str) -> String {
    format!("[[cell]]\nname = \"{name}\"\ncapacity = 10\nservices = {{ shop = \"shop-{name}\" }}\n{added}")
}

fn whole(node: &str, route: &str, second: &str) -> String {
    let (one, two) = (service("shop-c1"), service("shop-c2"));
    format!("{node}{LISTENER}{route}{one}{two}{}{second}", cell("c1", "pinned = [\"acme\"]\n"))
}

#[test]
fn a_route_to_two_cells() {
    let config = good(&whole(NODE, ROUTE, &cell("c2", "closed = true\n")));
    assert_eq!(config.warnings, []);
    let spec = config.spec;
    assert_eq!(spec.node.data_dir, Some("/etc/mainstay/state".into()));
    assert_eq!((spec.cells[0].capacity, spec.cells[0].closed, spec.cells[1].closed), (10, false, true));
    assert_eq!(spec.cells[0].pinned, ["acme"]);
    let cells = spec.routes[0].cells.clone().expect("cells");
    assert_eq!(cells.account.key, TenantKey::Header("x-account".to_owned()));
    let choice = |cell: &str| (cell.to_owned(), format!("shop-{cell}"));
    assert_eq!(cells.choices, [choice("c1"), choice("c2")]);
    assert_eq!(spec.routes[0].service, "shop-c1");
}

#[test]
fn what_does_not_fit_is_refused() {
    let c2 = cell("c2", "");
    for (text, expected) in [
        (whole("", ROUTE, &c2), "without `data_dir` under [node] accounts are placed anew after each restart"),
        (whole(NODE, ROUTE, ""), "there is no cell `c2`"),
        (
            whole(NODE, &ROUTE.replace("service = \"shop\"", "service = \"search\""), &c2),
            "cell `c1` has no service for `search`",
        ),
        (
            whole(NODE, &ROUTE.replace(", \"c2\"", ""), &c2),
            "no route leads to cell `c2`, but accounts would be placed there",
        ),
        (whole(NODE, &ROUTE.replace("account = { header = \"X-Account\" }\n", ""), &c2), "`account` is missing"),
        (whole(NODE, ROUTE, &cell("c2", "pinned = [\"acme\"]\n")), "account `acme` is pinned to cell `c1` too"),
        (whole(NODE, ROUTE, &c2.replace("shop-c2", "shop-c3")), "there is no service `shop-c3`"),
        (whole(NODE, ROUTE, &c2.replace("capacity = 10", "capacity = 0")), "0 is out of bounds"),
        (whole(NODE, ROUTE, &c2.replace("\"c2\"", "\"c1\"")), "there is another cell `c1`"),
    ] {
        let problems = shown(&text);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected}: {problems:#?}");
    }
}
