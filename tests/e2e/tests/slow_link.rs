//! Nodes whose messages take long, and get lost, keep what they hold: slow is not dead.

use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::nodes::{Engine, Nodes, PEERS, PORT};
use mainstay_e2e::lab::watch::Watch;
use mainstay_e2e::lab::{CLIENT, slow};

/// Where the slow way to a node begins.
const WAYS: u16 = 7000;
const NODES: usize = 3;

#[test]
fn a_hundred_milliseconds_each_way_and_five_percent_of_loss_move_no_address() {
    let watched = if std::env::var_os("MAINSTAY_SOAK").is_some() { 600 } else { 12 };
    let way = |node: usize| format!("\"n{node}={CLIENT}:{}\"", usize::from(WAYS) + node);
    let peers: Vec<String> = (0..NODES).map(way).collect();
    let mut nodes = Nodes::start_over(NODES, Engine::Embedded, &format!("peers = [{}]", peers.join(", ")), "", |lab| {
        for (node, port) in (0..NODES).zip(WAYS..) {
            slow::delay(&lab.client(), port, (lab.address(node), PEERS).into(), Duration::from_millis(100));
        }
    });
    let watch = Watch::start(nodes.lab(), PORT);
    let holder = nodes.settled(&watch);
    for node in 0..NODES {
        nodes.lab().lose(node, 5);
    }
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(watched) {
        std::thread::sleep(Duration::from_secs(1));
        watch.stayed(holder, since);
    }
    println!("slow link: n{holder} held the address for {watched} s");
    // The watch could tell: it sees that a dead node has the address no more.
    nodes.kill(holder);
    let gone = || {
        let looked = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        watch.sightings(looked).iter().all(|sighting| sighting.node != holder)
    };
    eventually("the watch misses the dead node", Duration::from_secs(30), gone);
}
