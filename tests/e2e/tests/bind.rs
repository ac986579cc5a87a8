//! An address that is held by listening (`mode = "bind"`): three nodes of one cluster on one machine, of which one listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mainstay_e2e::cluster::{Nodes, Place, SOON};
use mainstay_e2e::{Origin, Wire, eventually, free};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// All nodes listen on the same address, if they hold it, and say who they are.
fn config(place: &Place, shared: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "[cluster]\nlisten = \"{}\"\n[[address]]\nip = \"{}/32\"\nmode = \"bind\"\n\
         [[listener]]\nname = \"web\"\nbind = \"{shared}\"\n\
         [[route]]\nname = \"all\"\nservice = \"app\"\nresponse_headers = {{ set = {{ x-node = \"{}\" }} }}\n\
         [[service]]\nname = \"app\"\nendpoints = [\"{origin}\"]\n",
        place.peer,
        shared.ip(),
        place.name
    )
}

/// Who answers on the address now.
fn answering(nodes: &Nodes, shared: SocketAddr) -> Option<usize> {
    let mut wire = Wire::try_connect(shared, Duration::from_secs(1)).ok()?;
    wire.set_read_limit(Duration::from_secs(1));
    wire.send(REQUEST).ok()?;
    let response = wire.response().ok()?;
    let name = response.header("x-node")?;
    nodes.nodes.iter().position(|node| node.place.name == name)
}

/// The node that answers, once it is another one than that.
fn answering_after(nodes: &Nodes, shared: SocketAddr, before: Option<usize>) -> usize {
    let mut found = None;
    eventually("another node answers", SOON, || {
        found = answering(nodes, shared);
        found.is_some() && found != before
    });
    found.expect("it was found")
}

/// Counts sockets that listen on the address, all the time, by the kernel's own list: a process that is frozen is in it, too.
struct Listeners {
    most: Arc<AtomicUsize>,
    looks: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    fn watch(shared: SocketAddr) -> Self {
        let (most, looks, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::default());
        let watcher =
            Self { most: Arc::clone(&most), looks: Arc::clone(&looks), stop: Arc::clone(&stop), thread: None };
        let thread = thread::spawn(move || {
            let SocketAddr::V4(shared) = shared else { panic!("{shared} is not in the table of IPv4") };
            let ip = u32::from_ne_bytes(shared.ip().octets());
            let wanted = format!(" {ip:08X}:{:04X} 00000000:0000 0A ", shared.port());
            while !stop.load(Ordering::Acquire) {
                let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
                most.fetch_max(table.matches(&wanted).count(), Ordering::AcqRel);
                looks.fetch_add(1, Ordering::AcqRel);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self { thread: Some(thread), ..watcher }
    }

    fn never_two(mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("it runs").join().expect("every look was possible");
        assert!(self.looks.load(Ordering::Acquire) > 100, "it looked often");
        assert_eq!(self.most.load(Ordering::Acquire), 1, "sockets that listened at once, at most");
    }
}

#[test]
fn one_node_listens_and_another_one_when_it_is_killed_frozen_or_relieved() {
    let origin = Origin::start();
    let (shared, to) = (free(), origin.address());
    let mut nodes = Nodes::start(3, move |place| config(place, shared, to));
    let first = answering_after(&nodes, shared, None);
    let listeners = Listeners::watch(shared);

    nodes.nodes[first].kill();
    let second = answering_after(&nodes, shared, Some(first));
    nodes.nodes[first].start();
    nodes.wait_until_whole();

    nodes.nodes[second].freeze();
    let third = answering_after(&nodes, shared, Some(second));
    // The kernel would accept for it until it is thawed; its guard has ended it before anybody else listened.
    let status = nodes.nodes[second].process().wait(SOON).expect("its guard ends the frozen process");
    assert!(!status.success(), "{status}");
    nodes.nodes[second].kill();
    nodes.nodes[second].start();
    nodes.wait_until_whole();

    // A planned move: whoever is connected is told to come back, and finds the other node.
    let mut kept = Wire::connect(shared);
    let before = kept.exchange(REQUEST);
    assert_eq!((before.status, before.header("connection")), (200, None));
    let next = (third + 1) % nodes.nodes.len();
    let to = nodes.nodes[next].place.name.clone();
    let socket = nodes.nodes[third].dir().join("admin.sock").display().to_string();
    let address = shared.ip().to_string();
    // The others hear a little after it is whole that the node that was started again can hold addresses.
    eventually("it is moved", SOON, || {
        let moved = ["address", "move", &address, &to, "--admin-socket", &socket];
        nodes.nodes[third].try_command(&moved).status.success()
    });
    let last = kept.exchange(REQUEST);
    assert_eq!((last.status, last.header("connection")), (200, Some("close")), "the old holder answers once more");
    assert_eq!(last.header("x-node"), Some(nodes.nodes[third].place.name.as_str()));
    assert_eq!(answering_after(&nodes, shared, Some(third)), next);
    listeners.never_two();
    for (index, node) in nodes.nodes.iter().enumerate() {
        let metrics = node.admin("/metrics").text();
        let held = format!("mainstay_address_held{{address=\"{}\"}} {}", shared.ip(), u8::from(index == next));
        for line in [held.as_str(), "mainstay_cluster_quorum 1", "mainstay_cluster_voters 3"] {
            assert!(metrics.lines().any(|it| it.starts_with(line)), "`{line}` is not in\n{metrics}");
        }
    }
}
