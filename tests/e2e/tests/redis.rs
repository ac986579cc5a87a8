//! A group of Redis servers on three nodes that run the real binary.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::eventually;
use mainstay_e2e::lab::keys::{Writer, lost};
use mainstay_e2e::lab::nodes::{Engine, Nodes};
use mainstay_e2e::lab::redis::{GROUP, Redis};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_switchover_loses_nothing_and_a_dead_primary_is_replaced_and_comes_back() {
    let mut redis = Redis::start(Engine::Embedded, "timings = \"fast\"");
    let client = redis.lab().client();
    let servers: Vec<SocketAddr> = (0..3).map(|node| redis.server(node)).collect();
    let first = redis.settle();
    let writer = Writer::start(&client, &servers, 0);
    eventually("writes are taken", SOON, || writer.acknowledged().len() > 20);

    let second = (first + 1) % 3;
    let to = format!("n{second}");
    let asked = redis.nodes().command(first, &["database", "switchover", GROUP, "--to", &to, "--yes"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    eventually("a switchover", SOON, || redis.primary(2) == Some(second));
    let before = writer.acknowledged().len();
    eventually("writes are taken again", SOON, || writer.acknowledged().len() > before + 20);
    let acknowledged = writer.acknowledged();
    drop(writer);
    assert_eq!(lost(&client, servers[second], &acknowledged), 0, "of {}", acknowledged.len());
    // What comes next loses only what no replica has.
    eventually("everybody has everything", SOON, || {
        servers.iter().all(|server| lost(&client, *server, &acknowledged) == 0)
    });

    redis.signal(second, "KILL");
    eventually("another primary, and the old one's return", SOON, || {
        redis.primary(2).is_some_and(|primary| primary != second)
    });
    let third = redis.settle();
    assert_eq!(lost(&client, servers[third], &acknowledged), 0);

    redis.power_off(third);
    eventually("a primary while one is away", SOON, || redis.primary(1).is_some_and(|primary| primary != third));
    redis.power_on(third);
    let last = redis.settle();
    assert_eq!(lost(&client, servers[last], &acknowledged), 0);
    each_node_tells_the_same_of_every_change(redis.nodes(), second);
}

/// Which stands in the cluster's store, with what was found out when old primaries came back.
fn each_node_tells_the_same_of_every_change(nodes: &Nodes, second: usize) {
    eventually("the same ledger on all nodes", SOON, || {
        let told = |node: usize| {
            let told = nodes.command(node, &["ledger", "--database", GROUP, "--json"]);
            let report: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
            report["failovers"].clone()
        };
        let all: Vec<Value> = (0..3).map(told).collect();
        let Some(changes) = all[0].as_array().filter(|changes| changes.len() >= 3) else { return false };
        let has_come_back =
            |change: &Value| !change["lost"]["text"].as_str().is_none_or(|text| text.contains("unknown"));
        all.iter().all(|other| *other == all[0]) && changes.iter().all(has_come_back) && {
            assert_eq!(changes[0]["planned"], true, "{changes:#?}");
            assert!(
                changes[1]["what"].as_str().is_some_and(|what| what.contains(&format!("n{second} to"))),
                "{changes:#?}"
            );
            let phases: Vec<&str> =
                changes[1]["phases"].as_array().into_iter().flatten().filter_map(|it| it["name"].as_str()).collect();
            assert_eq!(phases, ["lease", "detect", "fence", "elect", "promote", "route"]);
            true
        }
    });
}
