//! Cells: where accounts are placed, that they stay there, and how they are moved.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::wire::Response;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};

fn request(path: &str, account: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\nx-account: {account}\r\n\r\n")
}

fn ask(listen: SocketAddr, path: &str, account: &str) -> Response {
    Wire::connect(listen).exchange(request(path, account))
}

fn origin(response: &Response) -> SocketAddr {
    response.header("x-origin").expect("an endpoint answered").parse().expect("an address")
}

/// Cells `c1`, `c2`, ... with one endpoint each.
fn config(listen: SocketAddr, origins: &[Origin], capacity: usize, first: &str) -> String {
    let mut text = format!("[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n");
    let names: Vec<String> = (1..=origins.len()).map(|number| format!("\"c{number}\"")).collect();
    let cells = names.join(", ");
    text += &format!("[[route]]\nname = \"shop\"\nservice = \"shop\"\ncells = [{cells}]\n");
    text += "account = { header = \"x-account\", missing = \"refuse\" }\n";
    for (index, origin) in origins.iter().enumerate() {
        let (number, address) = (index + 1, origin.address());
        text += &format!("[[service]]\nname = \"shop-{number}\"\nendpoints = [\"{address}\"]\nhealth = \"off\"\n");
        text += &format!(
            "[[cell]]\nname = \"c{number}\"\ncapacity = {capacity}\nservices = {{ shop = \"shop-{number}\" }}\n"
        );
        if index == 0 {
            text += first;
        }
    }
    text
}

fn stand(cells: usize, capacity: usize, first: &str) -> (Mainstay, Vec<Origin>, SocketAddr) {
    let origins = Origin::several(cells);
    let listen = free();
    let gateway = Mainstay::start_with("data_dir = \"state\"", &config(listen, &origins, capacity, first));
    (gateway, origins, listen)
}

#[test]
fn accounts_go_to_the_least_full_cell_and_a_full_one_takes_no_more() {
    let (gateway, origins, listen) = stand(2, 3, "pinned = [\"acme\"]\n");
    let mut placed: BTreeMap<String, SocketAddr> = BTreeMap::new();
    for account in ["acme", "a", "b", "c", "d", "e"] {
        placed.insert(account.to_owned(), origin(&ask(listen, "/ok", account)));
    }
    assert_eq!(placed["acme"], origins[0].address());
    for cell in &origins {
        assert_eq!(placed.values().filter(|address| **address == cell.address()).count(), 3, "{placed:?}");
    }
    let refused = ask(listen, "/ok", "one-more");
    assert_eq!((refused.status, refused.reason()), (503, "cells-full"));
    for _round in 0..3 {
        for (account, address) in &placed {
            assert_eq!(origin(&ask(listen, "/ok", account)), *address, "{account} stays");
        }
    }
    let nameless = ask(listen, "/ok", "");
    assert_eq!((nameless.status, nameless.reason()), (400, "no-account"));
    assert_eq!(gateway.metric("mainstay_cell_accounts", &["\"c1\""]), 3.0);
    eventually("it is counted", Duration::from_secs(5), || {
        gateway.metric("mainstay_cell_refused_total", &["\"full\""]) == 1.0
    });
    let listed = String::from_utf8_lossy(&gateway.command(&["cell", "list"]).stdout).into_owned();
    assert!(listed.contains("c1           3         3"), "{listed}");
    assert_eq!(gateway.status()["cells"][1]["accounts"], 3);
    let response = ask(listen, "/bytes/3", "a");
    assert!(gateway.logged("/bytes/3")["cell"].as_str().is_some_and(|cell| cell.starts_with('c')));
    let id = response.header("x-request-id").expect("an id");
    let page = String::from_utf8_lossy(&gateway.command(&["explain", id]).stdout).into_owned();
    assert!(page.contains("cell") && page.contains("shop-"), "{page}");
}

#[test]
fn accounts_stay_in_their_cell_over_a_crash() {
    let (mut gateway, _origins, listen) = stand(3, 100, "");
    let accounts: Vec<String> = (0..30).map(|number| format!("account {number}")).collect();
    let before: Vec<SocketAddr> = accounts.iter().map(|account| origin(&ask(listen, "/ok", account))).collect();
    let file = gateway.dir().join("state/accounts.tsv");
    eventually("all are written", Duration::from_secs(10), || {
        std::fs::read_to_string(&file).unwrap_or_default().lines().count() == 31
    });
    gateway.kill_and_restart();
    // In another order, so that placing them anew would come to something else.
    for (account, address) in accounts.iter().zip(&before).rev() {
        assert_eq!(origin(&ask(listen, "/ok", account)), *address, "{account}");
    }
}

#[test]
fn a_move_waits_for_what_is_under_way_and_then_leads_elsewhere() {
    let (gateway, origins, listen) = stand(2, 10, "");
    assert_eq!(origin(&ask(listen, "/ok", "acme")), origins[0].address());
    let mut slow = Wire::connect(listen);
    slow.send(request("/sleep/1500", "acme")).expect("sent");
    eventually("it is under way", Duration::from_secs(5), || {
        gateway.status()["services"][0]["endpoints"][0]["in_flight"] == 1
    });
    let output = gateway.command(&["cell", "move", "acme", "c2", "--drain", "20"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("when its requests under way are over"), "{told}");
    let refused = ask(listen, "/ok", "acme");
    assert_eq!((refused.status, refused.reason()), (503, "account-moving"));
    assert!(refused.header("retry-after").is_some());
    let done = slow.response().expect("it is finished in the old cell");
    assert_eq!((done.status, origin(&done)), (200, origins[0].address()));
    eventually("it is in the new cell", Duration::from_secs(5), || {
        let answer = ask(listen, "/ok", "acme");
        answer.status == 200 && origin(&answer) == origins[1].address()
    });
    // What cannot be done is said.
    for (arguments, why) in [
        (["cell", "move", "acme", "c9"], "no cell `c9`; there are: c1, c2"),
        (["cell", "move", "acme", "c2"], "in cell `c2` already"),
    ] {
        let output = gateway.command(&arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(why), "{told}");
    }
}

#[test]
fn a_dead_cell_is_the_concern_of_its_accounts_only() {
    let (_gateway, mut origins, listen) = stand(3, 10, "");
    let accounts: Vec<String> = (0..9).map(|number| format!("account-{number}")).collect();
    let before: Vec<SocketAddr> = accounts.iter().map(|account| origin(&ask(listen, "/ok", account))).collect();
    let dead = origins[1].address();
    origins[1].kill();
    for _round in 0..4 {
        for (account, address) in accounts.iter().zip(&before) {
            let answer = ask(listen, "/ok", account);
            let expected = if *address == dead { 502 } else { 200 };
            assert_eq!(answer.status, expected, "{account}");
        }
    }
    // The control: the same endpoints in one service, without retries, fail everybody in turn.
    let listen = free();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let service = "balance = \"round-robin\"\nhealth = \"off\"\noutlier = \"off\"";
    let route = "[[route]]\nname = \"r\"\nservice = \"app\"\nretry = { attempts = 1 }\n";
    let simple = mainstay_e2e::gateway::simple(listen, &addresses, service);
    let _gateway = Mainstay::start(&format!("{route}{simple}"));
    let mut hit = std::collections::BTreeSet::new();
    for _round in 0..20 {
        hit.extend(accounts.iter().filter(|account| ask(listen, "/ok", account).status != 200).cloned());
    }
    assert!(hit.len() > 3, "{hit:?}");
}
