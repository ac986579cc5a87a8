use std::sync::atomic::AtomicU64;

use mainstay_core::session::Key;
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use mainstay_runtime::thread::run_here;

use super::super::{Ack, Found, Policy};
use super::*;
use crate::peer::Service;
use crate::peer::switchboard::Switchboard;

const TTL: u32 = 3600;

struct Node {
    store: Arc<Store>,
    _running: AbortOnDrop,
    _others: watch::Sender<Vec<NodeId>>,
}

fn start(network: &Switchboard, id: u64, of: u64, ack: Ack) -> Node {
    start_comparing(network, id, of, ack, Duration::from_millis(300))
}

fn start_comparing(network: &Switchboard, id: u64, of: u64, ack: Ack, compare: Duration) -> Node {
    let policy = Policy { ack, ack_timeout: Duration::from_millis(300), ..Policy::default() };
    let store = Store::new(policy);
    network.attach(NodeId(id), Service::Sessions, Arc::new(Answerer::new(Arc::clone(&store))));
    let (tell, others) = watch::channel((1..=of).filter(|other| *other != id).map(NodeId).collect());
    let pace = Pace {
        compare,
        tell_used: Duration::from_millis(50),
        fill: Duration::from_secs(5),
        call: Duration::from_millis(200),
    };
    let replicator = Replicator::new(Arc::clone(&store), NodeId(id), network.transport(NodeId(id)), others, pace);
    let replicator = replicator.expect("the first one");
    let running = spawn_local(Kind::Control, replicator.run()).abort_on_drop();
    Node { store, _running: running, _others: tell }
}

fn key(id: u128) -> Key {
    Key { scope: 9, id }
}

fn endpoint(store: &Store, id: u128) -> Option<Arc<str>> {
    match store.find(now(), key(id)) {
        Found::Now(found) => found,
        Found::Later(_waits) => None,
    }
}

async fn bind(store: &Store, id: u128, endpoint: &str) -> bool {
    let told = store.bind(now(), key(id), &endpoint.into(), TTL).expect("there is a way");
    tokio::time::timeout(Duration::from_secs(5), told).await.expect("in time").unwrap_or(false)
}

async fn until(what: &str, is: impl Fn() -> bool) {
    for _turn in 0..500 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within ten seconds");
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn an_acknowledged_session_is_with_another_node_already() {
    run_here(async {
        let network = Switchboard::default();
        let nodes: Vec<Node> = (1..=3).map(|id| start(&network, id, 3, Ack::One)).collect();
        for id in 0..50 {
            assert!(bind(&nodes[0].store, id, "a:1").await);
            let others = nodes[1..].iter().filter(|node| endpoint(&node.store, id).is_some()).count();
            assert!(others >= 1, "session {id} is only where it was bound");
        }
        until("all have all", || nodes.iter().all(|node| node.store.size().0 == 50)).await;
        // It moves on another node: everybody follows.
        assert!(bind(&nodes[2].store, 7, "b:1").await);
        until("all follow", || nodes.iter().all(|node| endpoint(&node.store, 7).as_deref() == Some("b:1"))).await;
        assert_eq!(count(&nodes[0].store.counts.acknowledged), 50);
        assert_eq!(count(&nodes[0].store.counts.unacknowledged), 0);
    })
    .unwrap();
}

#[test]
fn whoever_is_cut_off_holds_up_nobody_for_long_and_catches_up() {
    run_here(async {
        let network = Switchboard::default();
        let nodes: Vec<Node> = (1..=3).map(|id| start(&network, id, 3, Ack::Majority)).collect();
        assert!(bind(&nodes[0].store, 1, "a:1").await);
        for other in [1, 2] {
            network.cut(NodeId(other), NodeId(3), true);
            network.cut(NodeId(3), NodeId(other), true);
        }
        assert!(bind(&nodes[0].store, 2, "a:1").await, "two of three are a majority");
        assert!(!bind(&nodes[2].store, 3, "c:1").await, "one of three is none");
        until("it is given up", || count(&nodes[2].store.counts.failures) > 0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        for id in 100..200 {
            assert!(!bind(&nodes[2].store, id, "c:1").await);
        }
        assert!(began.elapsed() < Duration::from_secs(5), "known to be cut off: nobody waits, let alone 300 ms each");
        // Both sides move the same session: the later one is believed by all in the end.
        assert!(bind(&nodes[0].store, 1, "b:1").await);
        tokio::time::sleep(Duration::from_millis(5)).await;
        bind(&nodes[2].store, 1, "c:1").await;
        network.heal();
        until("all have all", || nodes.iter().all(|node| node.store.size().0 == 103)).await;
        until("all agree", || nodes.iter().all(|node| endpoint(&node.store, 1).as_deref() == Some("c:1"))).await;
        assert!(nodes.iter().map(|node| count(&node.store.counts.repaired)).sum::<u64>() > 0);
        until("safe again", || nodes[2].store.digest(now()) == nodes[0].store.digest(now())).await;
        assert!(bind(&nodes[2].store, 300, "c:1").await);
    })
    .unwrap();
}

#[test]
fn a_node_that_starts_has_what_the_others_have_before_it_denies_a_session() {
    run_here(async {
        let network = Switchboard::default();
        let (one, two) = (start(&network, 1, 3, Ack::One), start(&network, 2, 3, Ack::One));
        for id in 0..20_000 {
            // Not waited for one by one: the table has to be larger than a page.
            drop(one.store.bind(now(), key(id), &"a:1".into(), TTL));
            if id % 1000 == 0 {
                tokio::task::yield_now().await;
            }
        }
        until("the second has them", || two.store.size().0 == 20_000).await;
        let late = start(&network, 3, 3, Ack::One);
        tokio::task::yield_now().await;
        let found = match late.store.find(now(), key(19_999)) {
            Found::Now(found) => found,
            Found::Later(told) => told.await.expect("filled"),
        };
        assert_eq!(found.as_deref(), Some("a:1"));
        until("all of them", || late.store.size().0 == 20_000).await;
        assert!(matches!(late.store.find(now(), key(99_999)), Found::Now(None)));
    })
    .unwrap();
}

#[test]
fn what_a_dead_node_told_only_one_of_the_others_is_soon_known_to_all() {
    run_here(async {
        let network = Switchboard::default();
        // Nobody compares by the clock for as long as this lasts.
        let start = |id| start_comparing(&network, id, 3, Ack::One, Duration::from_secs(3600));
        let nodes = [start(1), start(2), start(3)];
        until("all have compared", || nodes.iter().all(|node| count(&node.store.counts.comparisons) == 2)).await;
        network.cut(NodeId(1), NodeId(3), true);
        assert!(bind(&nodes[0].store, 1, "a:1").await);
        assert_eq!(endpoint(&nodes[2].store, 1), None);
        for other in [2, 3] {
            network.cut(NodeId(1), NodeId(other), true);
            network.cut(NodeId(other), NodeId(1), true);
        }
        // The third notices when it has something to tell.
        bind(&nodes[2].store, 2, "a:1").await;
        until("the third knows", || endpoint(&nodes[2].store, 1).is_some()).await;
        assert_eq!(count(&nodes[2].store.counts.repaired), 1);
    })
    .unwrap();
}

#[test]
fn look_ups_wait_for_others_from_before_there_is_a_way_to_them() {
    let store = Store::new(Policy::default());
    store.expect_others();
    let Found::Later(mut told) = store.find(now(), key(1)) else { panic!("it does not wait") };
    store.give_up_others(now());
    assert_eq!(told.try_recv(), Ok(None), "nobody came");
    assert!(matches!(store.find(now(), key(1)), Found::Now(None)));
    let store = Store::new(Policy::default());
    store.expect_others();
    let _changes = store.connect(1).expect("the first one");
    store.give_up_others(now());
    assert!(matches!(store.find(now(), key(1)), Found::Later(_)), "it goes on as the replicator says");
}

#[test]
fn uses_are_told_without_anybody_waiting() {
    run_here(async {
        let network = Switchboard::default();
        let (one, two) = (start(&network, 1, 2, Ack::None), start(&network, 2, 2, Ack::None));
        assert!(bind(&one.store, 1, "a:1").await, "nobody is asked");
        until("told", || endpoint(&two.store, 1).is_some()).await;
        let used = |store: &Store| {
            let (sessions, _next) = store.page(now(), &[true; mainstay_core::session::BUCKETS], 0, usize::MAX);
            sessions[0].1.accessed
        };
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert!(endpoint(&one.store, 1).is_some());
        let at = used(&one.store);
        until("the use is told", || used(&two.store) >= at).await;
    })
    .unwrap();
}
