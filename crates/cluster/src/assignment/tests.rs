use std::net::IpAddr;

use mainstay_core::assign::Address;
use mainstay_runtime::clock::Boottime;
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use mainstay_runtime::thread::run_here;

use super::*;
use crate::coordinator::LeaseId;
use crate::memory::{Fault, Link, Memory as Store};
use crate::session::{Kept, Standing};
use crate::timings::Timings;

/// Long enough for the nodes of a test to come up.
const STARTING: Duration = Duration::from_secs(4);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, last])
}

fn policy() -> Policy {
    let address = |last: u8, prefer: &[&str]| Address {
        ip: ip(last),
        prefer: prefer.iter().map(|name| (*name).to_owned()).collect(),
        preempt: None,
    };
    Policy { addresses: vec![address(1, &["a"]), address(2, &["b"])] }
}

/// A node that plans and holds, without a machine behind it.
struct Node {
    session: Session,
    link: Arc<Link>,
    holds: Vec<(IpAddr, Role)>,
    _kept: (Kept, AbortOnDrop, AbortOnDrop),
}

fn node(store: &Store, name: &str, spare: bool, settle: Duration) -> Node {
    let link = Arc::new(store.link());
    let coordinator: Arc<dyn Coordinator> = link.clone();
    let settings = crate::session::Settings {
        node: name.to_owned(),
        timings: Timings { ttl: Duration::from_secs(4), ..Timings::DEFAULT },
        clock: Boottime::system(),
        seed: name.len() as u64,
        journal: mainstay_runtime::journal::Journal::default(),
    };
    let (session, driver) = Session::start(Arc::clone(&coordinator), settings);
    let candidacy = Candidacy { ips: [ip(1), ip(2)].into(), spare };
    let kept = session.keep(keys::candidate(name), candidacy.to_bytes()).unwrap();
    let roles = [1, 2].map(|last| (ip(last), session.role(keys::holder(&ip(last)), Stops::ByItself).unwrap()));
    let settings = Settings { settle, ..Settings::new(policy()) };
    let planning = run(session.clone(), coordinator, settings, std::future::pending());
    let planner = spawn_local(Kind::Control, async { planning.await.unwrap() });
    let tied = (kept, driver.abort_on_drop(), planner.abort_on_drop());
    Node { session, link, holds: roles.into(), _kept: tied }
}

impl Node {
    /// Campaigns for what the plan says.
    fn follow(&self, plan: &Plan) {
        self.holds.iter().for_each(|(ip, role)| role.want(plan.owner(*ip) == Some(self.session.node())));
    }
}

async fn stored(store: &Store) -> Plan {
    let store: &dyn Coordinator = store;
    store.get(keys::ADDRESS_PLAN).await.unwrap().and_then(|entry| decode(&entry.value)).unwrap_or_default()
}

/// Waits until the plan and the holders are these, with every node doing what is planned.
async fn settles(store: &Store, nodes: &[&Node], owners: [&str; 2]) -> Plan {
    let coordinator: &dyn Coordinator = store;
    loop {
        let plan = stored(store).await;
        nodes.iter().for_each(|node| node.follow(&plan));
        let mut holders = Vec::new();
        for last in [1, 2] {
            let entry = coordinator.get(&keys::holder(&ip(last))).await.unwrap();
            holders
                .push(entry.and_then(|entry| crate::role::Holder::from_bytes(&entry.value)).map(|holder| holder.node));
        }
        let planned = [1, 2].map(|last| plan.owner(ip(last)));
        if planned == owners.map(Some) && holders.iter().map(Option::as_deref).eq(owners.map(Some)) {
            return plan;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn run_test<T>(future: impl Future<Output = T>) -> T {
    run_here(async { tokio::time::timeout(Duration::from_secs(60), future).await.unwrap() }).unwrap()
}

#[test]
fn addresses_go_where_they_belong_and_on_when_their_node_is_gone() {
    run_test(async {
        let store = Store::new();
        let (a, b, spare) =
            (node(&store, "a", false, STARTING), node(&store, "b", false, STARTING), node(&store, "c", true, STARTING));
        let first = settles(&store, &[&a, &b, &spare], ["a", "b"]).await;
        // The planner's own node is cut off, whoever that is.
        let plannings = {
            let coordinator: &dyn Coordinator = &store;
            coordinator.get(&keys::role(ROLE)).await.unwrap().unwrap().value
        };
        let is_a = crate::role::Holder::from_bytes(&plannings).unwrap().node == "a";
        let (gone, rest) = if is_a { (&a, &b) } else { (&b, &a) };
        gone.link.set(Fault::RequestsLost);
        let expected = if is_a { ["c", "b"] } else { ["a", "c"] };
        let second = settles(&store, &[rest, &spare], expected).await;
        assert!(second.number > first.number);
        // Back, it gets nothing back.
        gone.link.set(Fault::None);
        while !matches!(gone.session.standing(), Standing::Held(_)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(settles(&store, &[&a, &b, &spare], expected).await, second);
    });
}

#[test]
fn a_planner_that_has_just_started_does_not_wait_for_a_node_that_it_saw_go() {
    run_test(async {
        let store = Store::new();
        // Far longer than the test: whoever waits for it fails.
        let long = Duration::from_secs(3600);
        let a = node(&store, "a", false, Duration::ZERO);
        settles(&store, &[&a], ["a", "a"]).await;
        let b = node(&store, "b", false, long);
        tokio::time::sleep(LOOK * 3).await;
        // It holds the addresses and plans.
        a.link.set(Fault::RequestsLost);
        settles(&store, &[&b], ["b", "b"]).await;
    });
}

#[test]
fn an_operators_request_is_followed_once() {
    run_test(async {
        let store = Store::new();
        let coordinator: &dyn Coordinator = &store;
        let (a, b) = (node(&store, "a", false, STARTING), node(&store, "b", false, STARTING));
        settles(&store, &[&a, &b], ["a", "b"]).await;
        let token = coordinator.get(&keys::holder(&ip(1))).await.unwrap().unwrap().created;
        let ask = async |to: &str, from| {
            let request = Request { to: to.to_owned(), from };
            coordinator.put(&keys::requested_move(&ip(1)), request.to_bytes(), None).await.unwrap();
            while coordinator.get(&keys::requested_move(&ip(1))).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        ask("b", token).await;
        let moved = settles(&store, &[&a, &b], ["b", "b"]).await;
        // One that was asked for of an earlier holder, one to nowhere.
        ask("a", token).await;
        let token = coordinator.get(&keys::holder(&ip(1))).await.unwrap().unwrap().created;
        ask("nobody", token).await;
        assert_eq!(settles(&store, &[&a, &b], ["b", "b"]).await, moved);
    });
}

#[test]
fn a_node_that_is_not_ready_is_not_chosen_and_one_that_leaves_hands_over() {
    run_test(async {
        let store = Store::new();
        let coordinator: &dyn Coordinator = &store;
        coordinator.put(&keys::node("a"), Bytes::from_static(br#"{"ready":false}"#), None).await.unwrap();
        let (a, b) = (node(&store, "a", false, Duration::ZERO), node(&store, "b", false, Duration::ZERO));
        settles(&store, &[&a, &b], ["b", "b"]).await;
        coordinator.put(&keys::node("a"), Bytes::from_static(br#"{"ready":true,"zone":"z"}"#), None).await.unwrap();
        coordinator.put(&keys::node("b"), Bytes::from_static(br#"{"ready":false}"#), None).await.unwrap();
        settles(&store, &[&a, &b], ["a", "a"]).await;
    });
}

#[test]
fn a_planner_that_is_no_longer_one_writes_nothing() {
    run_test(async {
        let store = Store::new();
        let coordinator: &dyn Coordinator = &store;
        let a = node(&store, "a", false, Duration::ZERO);
        let plan = settles(&store, &[&a], ["a", "a"]).await;
        let held = coordinator.get(&keys::role(ROLE)).await.unwrap().unwrap();
        let mut late = Planner {
            session: a.session.clone(),
            coordinator: Arc::new(store.clone()),
            settings: Settings::new(Policy::default()),
            started: Moment::ZERO,
            memory: Memory::default(),
        };
        let known = late.read().await.unwrap();
        late.decide(held.created - 1, known).await.unwrap();
        assert_eq!(stored(&store).await, plan);
        // With the right token it would have.
        let known = late.read().await.unwrap();
        late.decide(held.created, known).await.unwrap();
        assert_ne!(stored(&store).await, plan);
        assert!(held.lease != Some(LeaseId(0)));
    });
}

#[test]
fn a_plan_is_read_back_as_it_was_written() {
    let owner = mainstay_core::assign::Owner { node: "lb1".to_owned(), placed: true };
    let written = Plan { number: 3, owners: [(ip(1), owner.clone()), ("2001:db8::1".parse().unwrap(), owner)].into() };
    assert_eq!(decode(&encode(&written)).unwrap(), written);
    assert_eq!(decode(b"{}"), None);
}
