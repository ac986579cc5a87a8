//! The suite on the engine in the binary: one node, and three of which two others are asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::embedded::{Embedded, Peer, Settings};
use mainstay_cluster::peer::NodeId;
use mainstay_cluster::peer::switchboard::Switchboard;
use mainstay_cluster::timings::Timings;
use mainstay_runtime::thread::run_here;
use tokio::time::Instant;

use crate::bench::{Bench, SOON, forget_by_writing, run};
use crate::{leases, limits, reads, transactions, watches};

/// Starts a cluster and waits until every node serves.
async fn start(count: u64, dir: &std::path::Path) -> Vec<Arc<Embedded>> {
    let (network, mut nodes, mut members) = (Switchboard::default(), Vec::new(), BTreeMap::new());
    for node in (1..=count).map(NodeId) {
        let settings = Settings::new(node, dir.join(node.to_string()), Timings::CONSERVATIVE, network.transport(node));
        let engine = Embedded::start(settings).await.unwrap();
        for (service, handler) in engine.handlers() {
            network.attach(node, service, handler);
        }
        members.insert(node, Peer { name: format!("n{node}"), address: String::new(), voter: true });
        nodes.push(Arc::new(engine));
    }
    nodes[0].initialize(members).await.unwrap();
    let end = Instant::now() + SOON;
    for node in &nodes {
        let node: Arc<dyn Coordinator> = Arc::clone(node) as _;
        while let Err(error) = node.get("up").await {
            assert!(Instant::now() < end, "{error}");
        }
    }
    nodes
}

fn suite(count: u64) {
    let dir = tempfile::tempdir().unwrap();
    run_here(async {
        let nodes = start(count, dir.path()).await;
        // Of three the leader is most likely the first: the others pass on what they are asked.
        let store = Arc::clone(nodes.last().unwrap());
        let bench = Bench {
            other: Arc::clone(&nodes[nodes.len() / 2]) as _,
            compact: forget_by_writing(Arc::clone(&store) as _),
            store,
            ttl: Duration::from_secs(1),
        };
        for cases in [reads::CASES, transactions::CASES, limits::CASES, watches::CASES, leases::CASES] {
            run(&bench, cases).await;
        }
        for node in &nodes {
            node.shutdown().await;
        }
    })
    .unwrap();
}

#[test]
fn one_node_conforms() {
    suite(1);
}

#[test]
fn three_nodes_conform() {
    suite(3);
}
