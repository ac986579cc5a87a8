use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mainstay_core::opinion::Quorum;
use mainstay_runtime::clock::Boottime;
use mainstay_runtime::journal::Journal;
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use mainstay_runtime::thread::run_here;

use super::*;
use crate::coordinator::Coordinator;
use crate::memory::Memory;
use crate::peer::switchboard::Switchboard;
use crate::peer::{NodeId, Service};
use crate::session::{Session, Settings};
use crate::timings::Timings;

#[derive(Clone, Default)]
struct Pretended {
    says: Rc<RefCell<HashMap<u64, Verdict>>>,
    effects: Rc<RefCell<HashMap<u64, Effect>>>,
}

impl Endpoints for Pretended {
    fn verdicts(&self) -> HashMap<u64, Verdict> {
        self.says.borrow().clone()
    }

    fn heed(&self, effect: &dyn Fn(u64, Option<Verdict>) -> Effect) -> usize {
        let says = self.says.borrow();
        let mut effects = self.effects.borrow_mut();
        let mut changed = 0;
        for (endpoint, own) in says.iter() {
            let now = effect(*endpoint, Some(*own));
            changed += usize::from(effects.insert(*endpoint, now) != Some(now));
        }
        changed
    }
}

struct Node {
    endpoints: Pretended,
    counts: Arc<Counts>,
    _running: [AbortOnDrop; 2],
}

impl Node {
    fn say(&self, endpoint: u64, verdict: Verdict) {
        self.endpoints.says.borrow_mut().insert(endpoint, verdict);
    }

    fn effect(&self, endpoint: u64) -> Option<Effect> {
        self.endpoints.effects.borrow().get(&endpoint).copied()
    }
}

fn start(store: &Memory, network: &Switchboard, id: u64, endpoints: u64) -> Node {
    let coordinator: Arc<dyn Coordinator> = Arc::new(store.clone());
    let settings = Settings {
        node: format!("n{id}"),
        timings: Timings::FAST,
        clock: Boottime::system(),
        seed: id,
        journal: Journal::default(),
    };
    let (session, renewing) = Session::start(Arc::clone(&coordinator), settings);
    let (pretended, counts, answerer) = (Pretended::default(), Arc::new(Counts::default()), Answerer::default());
    network.attach(NodeId(id), Service::Opinions, Arc::new(answerer.clone()));
    for endpoint in 0..endpoints {
        pretended.says.borrow_mut().insert(endpoint, Verdict::Up);
    }
    let exchange = Exchange {
        endpoints: pretended.clone(),
        coordinator,
        session: Arc::new(session),
        transport: network.transport(NodeId(id)),
        others: Rc::new(move || (1..=3).filter(|other| *other != id).map(NodeId).collect()),
        answerer,
        quorum: Quorum::Majority,
        pace: Pace { write: Duration::from_millis(50), compare: Duration::from_millis(400), ..Pace::default() },
        counts: Arc::clone(&counts),
    };
    let running = spawn_local(Kind::Control, exchange.run()).abort_on_drop();
    Node { endpoints: pretended, counts, _running: [running, renewing.abort_on_drop()] }
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

fn live(node: &Node) -> u64 {
    node.counts.live.load(Ordering::Relaxed)
}

#[test]
fn one_bad_path_harms_one_node_and_two_take_it_out_for_all() {
    run_here(async {
        let (store, network) = (Memory::new(), Switchboard::default());
        let mut nodes: Vec<Node> = (1..=3).map(|id| start(&store, &network, id, 4)).collect();
        until("all hear all", || nodes.iter().all(|node| live(node) == 3)).await;
        nodes[0].say(0, Verdict::Down);
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(nodes.iter().all(|node| node.effect(0) == Some(Effect::Own)), "its own affair");
        nodes[1].say(0, Verdict::Down);
        until("most say so", || nodes.iter().all(|node| node.effect(0) == Some(Effect::Down))).await;
        assert_eq!(nodes[2].effect(1), Some(Effect::Own));
        nodes[0].say(0, Verdict::Up);
        until("no longer", || nodes.iter().all(|node| node.effect(0) == Some(Effect::Own))).await;
        // One that sees nothing at all sets its own opinion aside.
        (0..4).for_each(|endpoint| nodes[2].say(endpoint, Verdict::Down));
        until("it knows", || nodes[2].counts.is_cut_off.load(Ordering::Relaxed)).await;
        assert!((1..4).all(|endpoint| nodes[2].effect(endpoint) == Some(Effect::SetAside)));
        assert!((1..4).all(|endpoint| nodes[0].effect(endpoint) == Some(Effect::Own)));
        // A node that is gone is heard no more once its lease has ended.
        nodes.pop();
        until("two are left", || nodes.iter().all(|node| live(node) == 2)).await;
        assert!(nodes.iter().any(|node| node.counts.comparisons.load(Ordering::Relaxed) > 0));
    })
    .unwrap();
}

#[test]
fn a_thousand_endpoints_that_flap_cause_a_bounded_number_of_writes() {
    run_here(async {
        let (store, network) = (Memory::new(), Switchboard::default());
        let nodes: Vec<Node> = (1..=2).map(|id| start(&store, &network, id, 1000)).collect();
        until("both hear both", || nodes.iter().all(|node| live(node) == 2)).await;
        let (before, began) = (nodes[0].counts.written.load(Ordering::Relaxed), tokio::time::Instant::now());
        let mut flaps = 0u32;
        while began.elapsed() < Duration::from_millis(1500) {
            for endpoint in 0..1000 {
                let verdict = if (u64::from(flaps) + endpoint) % 2 == 0 { Verdict::Down } else { Verdict::Up };
                nodes[0].say(endpoint, verdict);
            }
            flaps += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let written = nodes[0].counts.written.load(Ordering::Relaxed) - before;
        let allowed = began.elapsed().as_millis() / 50 + 2;
        assert!(flaps > 30 && u128::from(written) <= allowed, "{written} writes, {flaps} times a thousand changes");
        assert!(written > 2, "it does tell");
    })
    .unwrap();
}

#[test]
fn reports_are_bounded_and_the_newest_counts() {
    let mut report = Report { node: "n1".into(), started: 5, ..Report::default() };
    assert!(report.say([(1, Verdict::Up), (2, Verdict::Down)]));
    assert!(!report.say([(2, Verdict::Down), (1, Verdict::Up)]), "the same in another order");
    assert_eq!(Report::decode(&report.encode().unwrap()), Ok(report.clone()));
    let many = Report { up: (0..=ENDPOINTS_MAX as u64).collect(), ..report.clone() };
    assert!(Report::decode(&many.encode().unwrap()).is_err());
    assert!(Report::decode(b"\xc1").is_err());
    let mut board = board::Board::default();
    assert!(board.note(Report { number: 7, ..report.clone() }));
    assert!(!board.note(Report { number: 6, ..report.clone() }), "older");
    assert!(board.note(Report { started: 6, number: 1, ..report }), "of a process that started later");
}
