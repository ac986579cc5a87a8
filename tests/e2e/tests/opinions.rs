//! Nodes that agree on which endpoints are down: a bad path of one is no outage, and a drain reaches all. They agree by etcd.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, tools};

const SOON: Duration = Duration::from_secs(60);

/// A node that checks endpoints over a path of its own, which files stand in for.
struct Node {
    gateway: Mainstay,
    listen: SocketAddr,
    paths: tempfile::TempDir,
}

impl Node {
    fn start(name: &str, etcd: SocketAddr, origins: &[SocketAddr]) -> Self {
        let (listen, paths) = (free(), tempfile::tempdir().expect("a directory"));
        let bad = paths.path().join("bad");
        let check = format!("[\"sh\", \"-c\", \"test ! -e $0-$1\", \"{}\", \"{{port}}\"]", bad.display());
        let service = format!(
            "balance = \"round-robin\"\n\
             health = {{ command = {check}, interval = \"2s\", timeout = \"2s\", unhealthy = 1, healthy = 1 }}\n"
        );
        let cluster = format!("[cluster]\netcd = [\"http://{etcd}\"]\n");
        let config = format!("{cluster}{}", simple(listen, origins, &service));
        let gateway = Mainstay::launch(&format!("name = \"{name}\""), &config, &[]);
        Self { gateway, listen, paths }
    }

    fn set_path(&self, to: SocketAddr, works: bool) {
        let file = self.paths.path().join(format!("bad-{}", to.port()));
        if works { fs::remove_file(file) } else { fs::write(file, "") }.expect("a file");
    }

    /// Which endpoints answer a number of requests, all of which are answered well.
    fn asks(&self, count: usize) -> Vec<SocketAddr> {
        let request = "GET /ok HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
        let answers = (0..count).map(|_request| Wire::connect(self.listen).exchange(request));
        answers
            .map(|answer| {
                assert_eq!(answer.status, 200);
                answer.header("x-origin").expect("an endpoint").parse().expect("an address")
            })
            .collect()
    }

    fn uses(&self, endpoint: SocketAddr) -> bool {
        self.asks(8).contains(&endpoint)
    }

    fn value(&self, name: &str) -> f64 {
        self.gateway.metric(name, &[])
    }
}

#[test]
fn a_bad_path_of_one_node_is_no_outage_and_a_drain_reaches_all() {
    let address = free();
    let _etcd = tools::etcd(address);
    let origins = Origin::several(2);
    let (a, b) = (origins[0].address(), origins[1].address());
    let mut nodes: Vec<Node> = ["n1", "n2", "n3"].map(|name| Node::start(name, address, &[a, b])).into();
    nodes.iter_mut().for_each(|node| node.gateway.wait_until_ready());
    let heard = |node: &Node, count: f64| node.value("mainstay_opinions_nodes") == count;
    eventually("all hear all", SOON, || nodes.iter().all(|node| heard(node, 3.0)));

    nodes[0].set_path(a, false);
    eventually("the node itself stays away", SOON, || !nodes[0].uses(a));
    std::thread::sleep(Duration::from_millis(600));
    assert!(nodes[1].uses(a) && nodes[2].uses(a), "nobody else does");
    assert!(nodes.iter().all(|node| node.value("mainstay_opinions_down") == 0.0));

    nodes[1].set_path(a, false);
    eventually("two of three are enough, also for the third", SOON, || !nodes[2].uses(a));
    assert!(nodes[2].gateway.status().to_string().contains("down by the verdict of most nodes"));
    nodes[0].set_path(a, true);
    nodes[1].set_path(a, true);
    eventually("it is back for all", SOON, || nodes.iter().all(|node| node.uses(a)));

    // What one node alone sees of all endpoints is its own trouble, and it knows.
    nodes[2].set_path(a, false);
    nodes[2].set_path(b, false);
    eventually("it is cut off", SOON, || nodes[2].value("mainstay_opinions_cut_off") == 1.0);
    eventually("and goes by the others", SOON, || nodes[2].uses(a) && nodes[2].uses(b));
    let page = nodes[2].gateway.command(&["status"]);
    assert!(String::from_utf8_lossy(&page.stdout).contains("THIS NODE IS CUT OFF"));
    assert!(nodes[0].uses(a) && nodes[0].value("mainstay_opinions_cut_off") == 0.0);
    nodes[2].set_path(a, true);
    nodes[2].set_path(b, true);
    eventually("no longer", SOON, || nodes[2].value("mainstay_opinions_cut_off") == 0.0);
    // One endpoint is enough for that; what the node itself says of the other one counts for it until then.
    eventually("its own checks find both", SOON, || {
        let status = nodes[2].gateway.status();
        let endpoints = status["services"][0]["endpoints"].as_array().expect("endpoints");
        endpoints.iter().all(|endpoint| endpoint["health"] == "up")
    });

    let target = format!("app/{b}");
    let command = |arguments: &[&str]| {
        let output = nodes[0].gateway.command(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    command(&["drain", &target]);
    assert!(!nodes[0].uses(b), "at once where it was asked for");
    eventually("everywhere", SOON, || nodes.iter().all(|node| !node.uses(b)));
    command(&["drain", &target, "--undo"]);
    eventually("back everywhere", SOON, || nodes.iter().all(|node| node.uses(b)));
    command(&["drain", &target, "--local"]);
    std::thread::sleep(Duration::from_millis(600));
    assert!(!nodes[0].uses(b) && nodes[1].uses(b) && nodes[2].uses(b), "on this node alone");

    // Who is gone is heard no more; the others go on.
    nodes[2].gateway.process().kill();
    eventually("two are left", SOON, || nodes[..2].iter().all(|node| heard(node, 2.0)));
}
