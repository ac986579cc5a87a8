//! A group of Redis servers on three nodes that run the real binary.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::eventually;
use mainstay_e2e::lab::keys::{Writer, lost};
use mainstay_e2e::lab::redis::{GROUP, Redis};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_switchover_loses_nothing_and_a_dead_primary_is_replaced_and_comes_back() {
    let mut redis = Redis::start("timings = \"fast\"", "");
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
}
