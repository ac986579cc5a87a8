//! The node that leads the agreement dies while a version is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::config::desk::{self, DeskError, Proposal};
use mainstay_cluster::coordinator::{Coordinator, Entry, Error, Range};
use mainstay_cluster::embedded::{Embedded, Part, Peer, Settings};
use mainstay_cluster::peer::NodeId;
use mainstay_cluster::peer::switchboard::Switchboard;
use mainstay_cluster::timings::Timings;
use mainstay_core::release::Terms;
use mainstay_runtime::task::{Kind, spawn_local};
use mainstay_runtime::thread::run_here;
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(30);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

async fn start(network: &Switchboard, dir: &std::path::Path) -> Vec<Arc<Embedded>> {
    let (mut nodes, mut members) = (Vec::new(), BTreeMap::new());
    for node in (1..=3).map(NodeId) {
        let settings = Settings::new(node, dir.join(node.to_string()), Timings::DEFAULT, network.transport(node));
        let engine = Embedded::start(settings).await.unwrap();
        for (service, handler) in engine.handlers() {
            network.attach(node, service, handler);
        }
        members.insert(node, Peer { name: format!("n{node}"), address: String::new(), voter: true });
        nodes.push(Arc::new(engine));
    }
    nodes[0].initialize(members).await.unwrap();
    nodes
}

fn leader(nodes: &[Arc<Embedded>]) -> Option<usize> {
    nodes.iter().position(|node| {
        let status = node.status();
        status.part == Part::Leader && status.quorum.reached
    })
}

/// What is there of versions, once it can be read.
async fn written(store: &Arc<dyn Coordinator>) -> Vec<Entry> {
    let mut read = Err(Error::Unavailable("not asked".to_owned()));
    let waiting = async {
        while read.is_err() {
            let range = store.range(Range::prefix("config/"), None, 0, Default::default());
            if let Ok(listing) = range.await {
                read = Ok(listing.entries);
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "no node answers");
    read.unwrap_or_default()
}

#[test]
fn what_was_acknowledged_is_there_and_all_else_is_whole_or_absent() {
    // From before the write has reached the leader to after it is done.
    for delay_ms in [0, 1, 3, 8, 30] {
        run_here(async {
            let (network, dir) = (Switchboard::default(), tempfile::tempdir().unwrap());
            let nodes = start(&network, dir.path()).await;
            until("a leader", || leader(&nodes).is_some()).await;
            let dies = leader(&nodes).unwrap();
            let asked = (dies + 1) % 3;
            let store: Arc<dyn Coordinator> = Arc::clone(&nodes[asked]) as _;
            let text = format!("# a text of some size\n{}", "x = 1\n".repeat(20_000));
            let proposal =
                Proposal { text: text.clone(), author: "me".to_owned(), note: String::new(), terms: Terms::default() };
            let (done, result) = oneshot::channel();
            let writing = Arc::clone(&store);
            spawn_local(Kind::Control, async move {
                let _waited_for = done.send(desk::propose(&writing, &proposal, None).await);
            });
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            network.detach(NodeId(dies as u64 + 1));
            nodes[dies].shutdown().await;
            let result = tokio::time::timeout(PATIENCE, result).await.unwrap().unwrap();
            let entries = written(&store).await;
            let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
            let whole = ["config/release", "config/texts/000000000001", "config/versions/000000000001"];
            assert!(keys.is_empty() || keys == whole, "after {delay_ms} ms: {keys:?}");
            match &result {
                Ok(version) => {
                    assert_eq!((*version, keys.len()), (1, 3), "acknowledged after {delay_ms} ms");
                    assert_eq!(desk::show(&store, Some(1)).await.unwrap().1, text);
                }
                Err(DeskError::Store(Error::Unknown(_))) => {}
                Err(other) => assert!(keys.is_empty(), "{other}: {keys:?}"),
            }
            println!("after {delay_ms} ms: {}", result.map_or_else(|error| error.to_string(), |it| it.to_string()));
            for node in nodes.iter().enumerate().filter(|(at, _node)| *at != dies).map(|(_at, node)| node) {
                node.shutdown().await;
            }
        })
        .unwrap();
    }
}
