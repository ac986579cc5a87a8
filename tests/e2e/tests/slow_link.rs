//! Nodes whose messages take long, and get lost, keep what they hold: slow is not dead.

use std::time::{Duration, Instant};

use mainstay_e2e::lab::nodes::{Engine, Nodes, PEERS, PORT};
use mainstay_e2e::lab::watch::Watch;
use mainstay_e2e::lab::{CLIENT, slow};
use mainstay_e2e::{eventually, soak};

/// Where the slow way to a node begins.
const WAYS: u16 = 7000;
const NODES: usize = 3;
/// Everything is lost anew with some likelihood, so that now and then several attempts are needed. Usually it is a few seconds.
const TAKEN_OVER: Duration = Duration::from_secs(60);

#[test]
fn a_hundred_milliseconds_each_way_and_five_percent_of_loss_move_no_address_until_its_holder_dies() {
    let watched = soak::or(12, 600);
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
    // Slow is not dead, but dead is: another one takes over, although everything that it takes is as slow and as often lost.
    let killed = nodes.kill(holder);
    eventually("another node holds the address", TAKEN_OVER, || {
        watch.holder().is_some_and(|other| other != holder) && watch.answered(killed).is_some()
    });
    let took = killed.elapsed();
    let other = watch.holder().expect("it was there a moment ago");
    let nowhere = watch.moved(holder, other, killed);
    println!("slow link: n{holder} was killed, n{other} answered {took:?} later; {nowhere:?} without the address");
}
