//! `[cluster]`.

use mainstay_cluster::timings::Timings;

use super::super::Severity;
use super::super::cluster::{Cluster, Engine, parse_node_address};
use super::super::etcd::{Etcd, Tls, User};
use super::{SMALL, read};

fn cluster(node: &str, text: &str) -> Cluster {
    let text = format!("[node]\nname = \"lb1\"\n{node}\n[cluster]\n{text}\n{SMALL}");
    read(&text).unwrap_or_else(|problems| panic!("{problems:#?}")).cluster.expect("a cluster")
}

const FOLDER: &str = "data_dir = \"/var/lib/mainstay\"";

#[test]
fn a_node_is_on_its_own_unless_it_says_otherwise() {
    assert_eq!(read(SMALL).expect("correct").cluster, None);
}

#[test]
fn defaults_and_every_key() {
    let plain = cluster(FOLDER, "");
    assert_eq!(plain.engine, Engine::Embedded);
    assert_eq!((plain.listen.to_string().as_str(), plain.voter), ("0.0.0.0:7946", true));
    assert_eq!((plain.timings, plain.peers.len()), (Timings::DEFAULT, 0));
    let all = cluster(
        FOLDER,
        "peers = [\"lb1=10.0.1.1\", \"lb2=Lb2.Example:8000\", \"lb3=[fd00::3]:7946\"]\nlisten = \"0.0.0.0:8000\"\n\
         timings = \"fast\"\nvoter = false",
    );
    assert_eq!(all.address_of("lb1"), Some("10.0.1.1:7946"));
    assert_eq!(all.address_of("lb2"), Some("lb2.example:8000"));
    assert_eq!(all.address_of("lb3"), Some("[fd00::3]:7946"));
    assert_eq!((all.listen.port(), all.timings, all.voter), (8000, Timings::FAST, false));
    let own = cluster(FOLDER, "peers = [\"lb1=10.0.1.1:7000\"]");
    assert_eq!(own.listen.to_string(), "10.0.1.1:7000", "it listens where others reach it");
    let etcd = cluster("", "etcd = [\"http://10.0.0.1:2379\", \"http://etcd2.example:2379/\"]");
    let endpoints = ["http://10.0.0.1:2379", "http://etcd2.example:2379"].map(str::to_owned).to_vec();
    assert_eq!(etcd.engine, Engine::Etcd(Etcd { endpoints, tls: None, user: None }));
    let all = cluster(
        "",
        "etcd = [\"https://10.0.0.1:2379\"]\netcd_tls = { ca = \"/ca.pem\", cert = \"/node.pem\", key = \"/node.key\" }\n\
         etcd_user = { name = \"mainstay\", password_file = \"/password\" }",
    );
    let tls = Tls { ca: "/ca.pem".into(), identity: Some(("/node.pem".into(), "/node.key".into())) };
    let user = User { name: "mainstay".to_owned(), password_file: "/password".into() };
    let endpoints = vec!["https://10.0.0.1:2379".to_owned()];
    assert_eq!(all.engine, Engine::Etcd(Etcd { endpoints, tls: Some(tls), user: Some(user) }));
}

#[test]
fn alone_and_without_a_folder_is_allowed_with_a_warning() {
    let config = read(&format!("[cluster]\n{SMALL}")).expect("allowed");
    assert_eq!(config.cluster.expect("a cluster").engine, Engine::Memory);
    assert!(config.warnings[0].message.contains("a restart forgets"), "{:?}", config.warnings);
}

#[test]
fn what_is_wrong_is_said() {
    for (node, text, path, part) in [
        (FOLDER, "peers = [\"lb2=10.0.1.2:7946\"]", "cluster.peers", "this node, `lb1`, is not among them: `lb2`"),
        (FOLDER, "peers = [\"10.0.1.2:7946\"]", "cluster.peers[0]", "does not say which node is where"),
        (FOLDER, "peers = [\"lb1=10.0.1.1:0\"]", "cluster.peers[0]", ""),
        (FOLDER, "peers = [\"lb1=0.0.0.0:7946\"]", "cluster.peers[0]", "cannot reach this address"),
        (FOLDER, "peers = [\"lb1=unix:/run/x\"]", "cluster.peers[0]", "over TCP only"),
        (FOLDER, "peers = [\"lb1=a:1\", \"lb1=b:1\"]", "cluster.peers[1]", "the same name"),
        (FOLDER, "peers = [\"lb1=a:1\", \"lb2=a:1\"]", "cluster.peers[1]", "the same address"),
        ("", "peers = [\"lb1=a:1\", \"lb2=b:1\"]", "cluster", "a folder for what they agreed on"),
        (FOLDER, "etcd = []", "cluster.etcd", "1 to 16"),
        (FOLDER, "etcd = [\"10.0.0.1:2379\"]", "cluster.etcd[0]", "is not an address of etcd"),
        ("", "etcd = [\"http://e:1\"]\npeers = [\"lb1=a:1\"]", "cluster", "no effect beside `etcd`"),
        ("", "etcd = [\"http://e:1\", \"https://f:1\"]", "cluster.etcd", "some are http"),
        ("", "etcd = [\"https://e:1\"]", "cluster.etcd", "whom to trust"),
        ("", "etcd = [\"http://e:1\"]\netcd_tls = { ca = \"c\" }", "cluster.etcd_tls", "no use at http"),
        ("", "etcd = [\"https://e:1\"]\netcd_tls = { ca = \"c\", key = \"k\" }", "cluster.etcd_tls", "belong together"),
        (
            "",
            "etcd = [\"https://e:1\"]\netcd_tls = { cert = \"c\", key = \"k\" }",
            "cluster.etcd_tls",
            "`ca` is missing",
        ),
        (
            "",
            "etcd = [\"http://e:1\"]\netcd_user = { name = \"n\" }",
            "cluster.etcd_user",
            "`password_file` is missing",
        ),
        (FOLDER, "etcd_tls = { ca = \"c\" }", "cluster.etcd_tls", "without `etcd`"),
        (FOLDER, "etcd_user = { name = \"n\", password_file = \"p\" }", "cluster.etcd_user", "without `etcd`"),
        (FOLDER, "timings = \"quick\"", "cluster.timings", "is not known here"),
        (FOLDER, "listen = \"7946\"", "cluster.listen", "an address is required"),
        (FOLDER, "voters = true", "cluster.voters", "unknown key"),
    ] {
        let text = format!("[node]\nname = \"lb1\"\n{node}\n[cluster]\n{text}\n{SMALL}");
        let problems = read(&text).expect_err(&text);
        let error = problems.iter().find(|problem| problem.severity == Severity::Error && problem.path == path);
        assert!(error.is_some_and(|error| error.message.contains(part)), "{text}\n{problems:#?}");
    }
}

#[test]
fn addresses_of_nodes() {
    for (text, address) in [
        ("10.0.1.1", "10.0.1.1:7946"),
        ("10.0.1.1:1", "10.0.1.1:1"),
        ("lb1", "lb1:7946"),
        ("fd00::1", "[fd00::1]:7946"),
        ("[fd00::1]:80", "[fd00::1]:80"),
    ] {
        assert_eq!(parse_node_address(text).as_deref(), Ok(address));
    }
    for text in ["", ":7946", "0.0.0.0", "http://lb1:7946", "a b"] {
        assert!(parse_node_address(text).is_err(), "{text}");
    }
}
