//! Floating addresses, on an interface of a namespace. As far as the kernel goes, they stay for ever.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use mainstay_cluster::address::Prefixed;
use mainstay_cluster::address::kernel::Kernel;
use mainstay_cluster::guard::{self, Guard, Order, Orders};
use rustix::process::{Signal, kill_process};
use serde_json::json;

use super::cable::Cable;
use super::{LONG, Node, eventually, in_a_while, pid};

fn prefixed(text: &str) -> Prefixed {
    text.parse().expect("an address")
}

fn orders(addresses: Vec<Order>) -> Orders {
    Orders { addresses, will: Some(json!("")), ..Orders::default() }
}

/// A node in a namespace that has these addresses.
fn start(cable: &Cable, orders: Orders) -> Node {
    cable.near(|| {
        for order in &orders.addresses {
            Kernel::open().expect("works").put(order.address, &order.interface, LONG).expect("works");
        }
        Node::start(orders)
    })
}

fn order(address: Prefixed, until: u64) -> Order {
    Order { address, interface: "port".to_owned(), until }
}

fn is_there(cable: &Cable, address: Prefixed) -> bool {
    cable.near(|| {
        let held = Kernel::open().expect("works").held("port").expect("the interface's addresses");
        held.iter().any(|held| held.address == address)
    })
}

#[test]
fn a_killed_node_loses_its_addresses_at_once_and_its_will_is_done() {
    let cable = Cable::new();
    let (four, six) = (prefixed("10.0.1.100/32"), prefixed("2001:db8::100/128"));
    let addresses = vec![order(four, in_a_while(LONG)), order(six, in_a_while(LONG))];
    let node = start(&cable, orders(addresses));
    assert!(is_there(&cable, four) && is_there(&cable, six) && !node.will.exists());
    // What a service manager does to everything that it started does not end the guard.
    kill_process(pid(node.guard), Signal::TERM).unwrap();
    node.signal(Signal::KILL);
    eventually("the guard removes the addresses", || !is_there(&cable, four) && !is_there(&cable, six));
    eventually("the will is done", || node.will.exists());
    eventually("the guard ends", || node.guard_is_gone());
}

#[test]
fn a_frozen_node_loses_what_is_overdue_and_nothing_else() {
    let cable = Cable::new();
    let (due, kept) = (prefixed("10.0.1.100/32"), prefixed("10.0.1.101/32"));
    let addresses = vec![order(due, in_a_while(Duration::from_millis(1_500))), order(kept, in_a_while(LONG))];
    let node = start(&cable, orders(addresses));
    assert!(is_there(&cable, due));
    node.signal(Signal::STOP);
    eventually("the guard removes what is overdue", || !is_there(&cable, due));
    assert!(is_there(&cable, kept));
    assert!(!node.will.exists(), "a frozen node is not dead");
}

#[test]
fn a_node_that_holds_by_listening_is_killed_when_it_is_overdue() {
    let cable = Cable::new();
    let kill_at = Some(in_a_while(Duration::from_millis(500)));
    let mut node = start(&cable, Orders { kill_at, ..orders(Vec::new()) });
    node.signal(Signal::STOP);
    eventually("the node is killed", || node.child.try_wait().unwrap().is_some());
    eventually("the will is done", || node.will.exists());
}

#[test]
fn the_last_orders_count_and_a_node_that_leaves_in_order_leaves_nothing_to_do() {
    let cable = Cable::new();
    let address = prefixed("10.0.1.100/32");
    let first = orders(vec![order(address, in_a_while(LONG))]);
    let mut node = start(&cable, first);
    writeln!(node.child.stdin.as_mut().unwrap(), "{{}}").unwrap();
    drop(node.child.stdin.take());
    eventually("the node leaves", || node.child.try_wait().unwrap().is_some());
    eventually("the guard ends", || node.guard_is_gone());
    assert!(is_there(&cable, address), "the node did not ask for its removal any more");
    assert!(!node.will.exists());
}

#[test]
fn a_guard_that_is_gone_is_noticed() {
    assert!(Guard::start(Path::new("/bin/true"), &[]).is_err(), "it ends without having been ready");
    let mut guard = Guard::start(Path::new("/bin/sh"), &["-c", "echo hello; echo ready; read line"]).unwrap();
    let many =
        Orders { addresses: vec![order(prefixed("10.0.0.1"), 0); guard::ADDRESSES_MAX + 1], ..Orders::default() };
    assert_eq!(guard.tell(&many).unwrap_err().kind(), ErrorKind::InvalidInput);
    guard.tell(&Orders::default()).unwrap();
    eventually("it is noticed", || guard.tell(&Orders::default()).is_err());
    let mut stuck = Guard::start(Path::new("/bin/sh"), &["-c", "echo ready; exec sleep 60"]).unwrap();
    let will = Some(json!("x".repeat(10_000)));
    let orders = Orders { will, ..Orders::default() };
    assert!((0..20).any(|_| stuck.tell(&orders).is_err()), "one that does not read is noticed, too");
    stuck.kill();
}
