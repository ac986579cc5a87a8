//! Machines that are network namespaces: nodes on one bridge, a client, and what befalls them. Cables are cut by nftables in
//! the node's own namespace, for frames of every protocol, in one direction or both.

mod arp;
pub mod databases;
mod etcd;
pub mod keys;
pub mod nodes;
pub mod patroni;
pub mod pgbench;
pub mod programs;
pub mod redis;
pub mod sentinel;
pub mod slow;
pub mod watch;
pub mod writer;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::Process;
use crate::tools;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The address that moves.
pub const FLOATING: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
/// Where the client is, and the service behind the gateways.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

/// Which frames a cut node loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All.
    Both,
    /// What comes to it.
    In,
    /// What it sends.
    Out,
}

/// The machines. Dropping it deletes them; processes in them are to be ended before.
#[derive(Debug)]
pub struct Lab {
    name: String,
    nodes: usize,
}

impl Lab {
    /// So many nodes, each on the bridge with an interface `eth0`, and a client.
    ///
    /// # Panics
    /// If the namespaces cannot be made: the tests need root, `ip` and `nft`.
    pub fn new(nodes: usize) -> Self {
        let name = format!("ml{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Self { name, nodes };
        let bridge = lab.namespace("b");
        ip(&["netns", "add", &bridge]);
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0"]);
        ip(&["-n", &bridge, "link", "set", "br0", "up"]);
        for node in 0..nodes {
            lab.machine(&node.to_string(), lab.address(node));
        }
        lab.machine("c", CLIENT);
        for node in 0..nodes {
            lab.observer(node);
        }
        lab
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// A node's own address.
    pub fn address(&self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 11 + u8::try_from(node).expect("a few nodes"))
    }

    /// A node's namespace.
    pub fn node(&self, node: usize) -> String {
        self.namespace(&node.to_string())
    }

    /// The client's namespace.
    pub fn client(&self) -> String {
        self.namespace("c")
    }

    /// The namespace that takes a node for the holder of the floating address, whatever anybody announces.
    pub fn observer_of(&self, node: usize) -> String {
        self.namespace(&format!("o{node}"))
    }

    /// The hardware address of a namespace's `eth0`.
    ///
    /// # Panics
    /// If it has none.
    pub fn hardware(&self, namespace: &str) -> [u8; 6] {
        let link = ip(&["-n", namespace, "-o", "link", "show", "dev", "eth0"]);
        let text = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        let bytes = text.into_iter().flat_map(|text| text.split(':'));
        let bytes: Vec<u8> = bytes.filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        bytes.try_into().expect("an Ethernet address")
    }

    /// A command that runs in a namespace.
    pub fn command(&self, namespace: &str, program: &Path) -> Command {
        let mut command = Command::new(tools::find("ip", "iproute2"));
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }

    /// Starts a program in a node's namespace; its output goes to `dir`.
    pub fn start(&self, node: usize, name: &str, dir: &Path, program: &Path, arguments: &[&str]) -> Process {
        // `ip` becomes the program, so that the process is the program's.
        Process::start(name, dir, self.command(&self.node(node), program).args(arguments), None)
    }

    /// Cuts a node's cable, in place of what was cut before.
    pub fn cut(&self, node: usize, cut: Cut) {
        self.heal(node);
        let namespace = self.node(node);
        nft(&namespace, &["add", "table", "netdev", "cut"]);
        for (hook, wanted) in [("ingress", cut != Cut::Out), ("egress", cut != Cut::In)] {
            if wanted {
                let chain = format!("{{ type filter hook {hook} device eth0 priority 0 ; policy drop ; }}");
                nft(&namespace, &["add", "chain", "netdev", "cut", hook, &chain]);
            }
        }
    }

    /// Has a node lose so many of a hundred frames that it sends, at random.
    pub fn lose(&self, node: usize, percent: u8) {
        let namespace = self.node(node);
        nft(&namespace, &["add", "table", "netdev", "loss"]);
        let chain = "{ type filter hook egress device eth0 priority 0 ; }";
        nft(&namespace, &["add", "chain", "netdev", "loss", "egress", chain]);
        let percent = percent.to_string();
        let rule = ["numgen", "random", "mod", "100", "<", &percent, "drop"];
        nft(&namespace, &[&["add", "rule", "netdev", "loss", "egress"][..], &rule].concat());
    }

    /// Loses what a node and the other nodes say to each other over TCP by way of this port, at whichever end it is.
    pub fn part(&self, node: usize, port: u16) {
        let (namespace, port) = (self.node(node), port.to_string());
        nft(&namespace, &["add", "table", "inet", "part"]);
        for (hook, end) in [("input", "saddr"), ("output", "daddr")] {
            let chain = format!("{{ type filter hook {hook} priority -10 ; }}");
            nft(&namespace, &["add", "chain", "inet", "part", hook, &chain]);
            for other in (0..self.nodes).filter(|other| *other != node) {
                let other = self.address(other).to_string();
                for side in ["sport", "dport"] {
                    let rule = ["add", "rule", "inet", "part", hook, "ip", end, &other, "tcp", side, &port, "drop"];
                    nft(&namespace, &rule);
                }
            }
        }
    }

    /// Mends a node's cable.
    pub fn heal(&self, node: usize) {
        nft(&self.node(node), &["add", "table", "inet", "part"]);
        nft(&self.node(node), &["delete", "table", "inet", "part"]);
        // Adding first makes deleting succeed whether it was cut or not.
        nft(&self.node(node), &["add", "table", "netdev", "cut"]);
        nft(&self.node(node), &["delete", "table", "netdev", "cut"]);
    }

    fn namespace(&self, of: &str) -> String {
        format!("{}-{of}", self.name)
    }

    /// A namespace whose `eth0` is plugged into the bridge.
    fn machine(&self, of: &str, address: Ipv4Addr) {
        let (namespace, bridge) = (self.namespace(of), self.namespace("b"));
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        let port = format!("p{of}");
        ip(&["-n", &bridge, "link", "add", &port, "type", "veth", "peer", "eth0", "netns", &namespace]);
        ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"]);
        ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
    }

    fn observer(&self, node: usize) {
        let of = format!("o{node}");
        let number = u8::try_from(node).expect("a few nodes");
        self.machine(&of, Ipv4Addr::new(10, 77, 0, 151 + number));
        let hardware = self.hardware(&self.node(node)).map(|byte| format!("{byte:02x}")).join(":");
        let (observer, floating) = (self.observer_of(node), FLOATING.to_string());
        ip(&["-n", &observer, "neigh", "replace", &floating, "lladdr", &hardware, "dev", "eth0", "nud", "permanent"]);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let nodes = (0..self.nodes).flat_map(|node| [node.to_string(), format!("o{node}")]);
        for of in nodes.chain(["c".to_owned(), "b".to_owned()]) {
            let _gone = Command::new("ip").args(["netns", "del", &self.namespace(&of)]).status();
        }
    }
}

/// Moves the calling thread into a namespace, for the rest of its life.
///
/// # Panics
/// If the namespace is gone.
pub fn enter(namespace: &str) {
    let handle = File::open(format!("/run/netns/{namespace}")).expect("the namespace");
    move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may change namespaces");
}

/// Runs `work` on a thread in a namespace and waits for it.
///
/// # Panics
/// If it panics.
pub fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(namespace);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How long a server of [`serve`] thinks about a request for `/slow`.
pub const SLOW: Duration = Duration::from_millis(800);

/// A server in a namespace that answers every request on this port with 200 and a line, until the process ends.
///
/// # Panics
/// If the port is taken.
pub fn serve(namespace: &str, port: u16) {
    let listener = within(namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a free port"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
}

/// Answers the requests on one connection; none of them has a body.
fn answer(mut stream: TcpStream) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut head = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        head.extend_from_slice(&buffer[..count]);
        if head.ends_with(b"\r\n\r\n") {
            if head.starts_with(b"GET /slow ") {
                std::thread::sleep(SLOW);
            }
            head.clear();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").ok()?;
        }
    }
}

/// Signals a process and its children, by their ids.
pub fn signal_tree(pid: u32, signal: &str) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all = [pid.to_string()].into_iter().chain(children.split_whitespace().map(str::to_owned));
    let all: Vec<String> = all.collect();
    let _some_are_gone = Command::new("kill").arg(format!("-{signal}")).args(&all).status();
}

fn ip(arguments: &[&str]) -> String {
    tools::run("ip", "iproute2", arguments)
}

fn nft(namespace: &str, arguments: &[&str]) {
    let nft = tools::find("nft", "nftables").display().to_string();
    ip(&[&["netns", "exec", namespace, &nft], arguments].concat());
}
