//! Users and tokens of a cluster: what is said at one node holds at all of them, also when one is gone.

use mainstay_e2e::cluster::{Nodes, SOON, plain};

use super::*;

const PASSWORD: &str = "correct horse battery";

fn with_access(place: &mainstay_e2e::cluster::Place) -> String {
    format!("[access]\n{}", plain(place))
}

/// The users or tokens that a node knows, asked of it as its operator: whoever comes with what is not known yet is taken for
/// somebody who guesses.
fn listed(nodes: &Nodes, node: usize, what: &str) -> Value {
    let text = nodes.nodes[node].command(&["access", what, "list", "--json", "--admin", "./admin.sock"]);
    serde_json::from_str(&text).expect("a list as JSON")
}

fn has(nodes: &Nodes, node: usize, what: &str, name: &str) -> bool {
    listed(nodes, node, what).as_array().is_some_and(|all| all.iter().any(|it| it["name"] == name))
}

fn cookie(opened: &Response) -> String {
    let value = opened.header("set-cookie").and_then(|it| it.split(';').next()).expect("a cookie");
    format!("Cookie: {value}\r\n")
}

#[test]
fn who_is_let_in_at_one_node_is_let_in_at_all_and_who_is_sent_away_at_one_at_none() {
    let mut nodes = Nodes::start(3, with_access);
    let at: Vec<SocketAddr> = nodes.nodes.iter().map(|node| node.admin_address()).collect();
    let order = |node: usize, what: &[&str]| {
        let output = nodes.nodes[node].try_command(&[what, &["--admin", "./admin.sock"]].concat());
        assert!(output.status.success(), "{what:?} at {node}: {}", said(&output));
        output.stdout
    };
    let sign_in = |node: usize, user: &str, password: &str| {
        let body = json!({"user": user, "password": password}).to_string();
        ask(at[node], "POST", "/api/v1/session", "", &body)
    };
    let sees = |node: usize, who: &str| ask(at[node], "GET", "/api/v1/status", who, "").status;

    for (name, role) in [("jane", "operator"), ("root", "admin")] {
        let user = json!({"name": name, "role": role, "password": PASSWORD});
        assert_eq!(nodes.nodes[0].post("/api/v1/access/users", &user).0, 200);
    }
    let made = order(1, &["access", "token", "create", "ci", "--role", "viewer", "--json"]);
    let made: Value = serde_json::from_slice(&made).expect("a token as JSON");
    let token = bearer(made["token"].as_str().expect("a token"));
    eventually("all nodes know all of them", SOON, || {
        (0..3).all(|node| has(&nodes, node, "token", "ci") && has(&nodes, node, "user", "root"))
    });
    assert_eq!([0, 1, 2].map(|node| sees(node, &token)), [200; 3]);
    let opened = [sign_in(1, "jane", PASSWORD), sign_in(2, "jane", PASSWORD), sign_in(2, "root", PASSWORD)];
    assert_eq!(opened.each_ref().map(|it| it.status), [200; 3]);
    let jane = [cookie(&opened[0]), cookie(&opened[1])];
    assert_eq!((sees(1, &jane[0]), sees(2, &jane[1])), (200, 200));
    let csrf = opened[2].json()["csrf"].as_str().expect("a word").to_owned();
    let root = format!("{}x-mainstay-csrf: {csrf}\r\n", cookie(&opened[2]));

    let before = listed(&nodes, 2, "user")[0]["etag"].clone();
    assert!(before.is_string(), "{before}");
    // The node where she was made is gone; at another one her password is changed, which ends her sessions at all of them.
    nodes.nodes[0].kill();
    let other = "another long password";
    let change = json!({"password": other}).to_string();
    eventually("the others decide without it", SOON, || {
        let answer = ask(at[2], "PUT", "/api/v1/access/users/jane/password", &root, &change);
        assert!(matches!(answer.status, 200 | 503), "{} {}", answer.status, answer.text());
        answer.status == 200
    });
    eventually("both know", SOON, || [1, 2].iter().all(|node| listed(&nodes, *node, "user")[0]["etag"] != before));
    assert_eq!((sees(1, &jane[0]), sees(2, &jane[1])), (401, 401), "her sessions have ended everywhere");
    let opened = sign_in(1, "jane", other);
    assert_eq!(opened.status, 200, "{}", opened.text());
    let jane = cookie(&opened);
    assert_eq!(sees(1, &jane), 200);

    let removed = ask(at[2], "DELETE", "/api/v1/access/users/jane", &root, "");
    let ci = format!("/api/v1/access/tokens/{}", made["id"].as_str().expect("its id"));
    let revoked = ask(at[2], "DELETE", &ci, &root, "");
    assert_eq!((removed.status, revoked.status), (200, 200), "{} {}", removed.text(), revoked.text());
    let is_gone = |nodes: &Nodes, node: usize| !has(nodes, node, "token", "ci") && !has(nodes, node, "user", "jane");
    eventually("the others know", SOON, || is_gone(&nodes, 1) && is_gone(&nodes, 2));
    assert_eq!((sees(1, &token), sees(2, &token), sees(1, &jane)), (401, 401, 401));
    nodes.nodes[0].start();
    eventually("also the one that did not hear of it", SOON, || is_gone(&nodes, 0));
    assert_eq!(sees(0, &token), 401);
    assert_eq!(sign_in(0, "jane", other).status, 401);
}
