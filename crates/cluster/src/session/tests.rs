use std::time::Duration;

use mainstay_core::lease::Why;
use mainstay_runtime::task::AbortOnDrop;
use mainstay_runtime::thread::run_here;

use super::*;
use crate::coordinator::Coordinator;
use crate::memory::{Fault, Link, Memory};

const KEY: &str = "roles/test";

struct Node {
    session: Session,
    link: Arc<Link>,
    clock: Boottime,
    _driver: AbortOnDrop,
}

/// A node whose session no slow machine ends.
fn node(memory: &Memory, name: &str) -> Node {
    node_with(memory, name, Timings::CONSERVATIVE)
}

fn node_with(memory: &Memory, name: &str, timings: Timings) -> Node {
    let (link, clock) = (Arc::new(memory.link()), Boottime::leaping());
    let settings = Settings {
        node: name.to_owned(),
        timings,
        clock: clock.clone(),
        seed: name.len() as u64,
        journal: Journal::default(),
    };
    let coordinator: Arc<dyn Coordinator> = link.clone();
    let (session, driver) = Session::start(coordinator, settings);
    Node { session, link, clock, _driver: driver.abort_on_drop() }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    run_here(async { tokio::time::timeout(Duration::from_secs(60), future).await.unwrap() }).unwrap()
}

async fn held(session: &Session) -> Term {
    let mut standing = session.follow();
    let found = standing.wait_for(|standing| matches!(standing, Standing::Held(_))).await.unwrap();
    let Standing::Held(term) = *found else { unreachable!() };
    term
}

async fn holds(role: &Role) -> u64 {
    let mut follow = role.follow();
    loop {
        if let role::Standing::Holding { token, .. } = follow.standing() {
            return token;
        }
        assert!(follow.changed().await);
    }
}

async fn stops(role: &Role) -> (u64, Why) {
    let mut follow = role.follow();
    loop {
        if let role::Standing::Stopping { token, why, .. } = follow.standing() {
            return (token, why);
        }
        assert!(follow.changed().await);
    }
}

async fn gets(memory: &Memory, key: &str, expected: Option<&'static [u8]>) {
    let store: &dyn Coordinator = memory;
    while store.get(key).await.unwrap().as_ref().map(|entry| &entry.value[..]) != expected {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn renewals_whose_answers_are_late_but_in_time_keep_the_session() {
    run(async {
        let memory = Memory::new();
        let one = node(&memory, "one");
        let term = held(&one.session).await;
        let late = Timings::CONSERVATIVE.rpc.mul_f64(1.5);
        one.link.set(Fault::Late(late));
        one.clock.sleep_until(term.deadline.after(Duration::from_millis(500))).await;
        assert_eq!(one.session.lease(), Some(LeaseId(term.lease)));
        assert_eq!(one.session.counts().lost(), 0);
    });
}

#[test]
fn one_node_holds_and_when_it_is_cut_off_it_has_stopped_before_the_next_one_does() {
    run(async {
        for fault in [Fault::RequestsLost, Fault::AnswersLost, Fault::Refused] {
            let memory = Memory::new();
            let (one, two) = (node_with(&memory, "one", Timings::FAST), node_with(&memory, "two", Timings::FAST));
            let first = one.session.role(KEY.to_owned(), Stops::Reported).unwrap();
            let second = two.session.role(KEY.to_owned(), Stops::Reported).unwrap();
            first.want(true);
            let token = holds(&first).await;
            second.want(true);
            held(&two.session).await;
            assert_eq!(first.holds(one.session.now()), Some(token));
            one.link.set(fault);
            let cut_at = one.session.now();
            let stopped = async {
                let (stopped, why) = stops(&first).await;
                assert_eq!((stopped, why), (token, Why::SessionLost));
                assert_eq!(first.holds(one.session.now()), None);
                first.stopped(token);
                one.session.now()
            };
            let (stopped_at, taken_at) = tokio::join!(stopped, async {
                let later = holds(&second).await;
                assert!(later > token, "{later} after {token}");
                two.session.now()
            });
            assert!(stopped_at < taken_at, "{fault:?}: stopped {:?} late", stopped_at.since(taken_at));
            assert!(taken_at.since(cut_at) < Duration::from_secs(20), "{fault:?}");
            assert!(one.session.counts().lost() > 0);
            // Healed, it has a session again, and the role stays where it is.
            one.link.set(Fault::None);
            held(&one.session).await;
            assert_eq!(first.standing(), role::Standing::Outside);
        }
    });
}

#[test]
fn a_role_that_is_resigned_goes_on_once_what_acted_has_stopped() {
    run(async {
        let memory = Memory::new();
        let (one, two) = (node(&memory, "one"), node(&memory, "two"));
        let first = one.session.role(KEY.to_owned(), Stops::Reported).unwrap();
        let second = two.session.role(KEY.to_owned(), Stops::ByItself).unwrap();
        first.want(true);
        let token = holds(&first).await;
        second.want(true);
        first.want(false);
        assert_eq!(stops(&first).await, (token, Why::Resigned));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(second.standing(), role::Standing::Outside, "while the first one drains");
        first.stopped(token);
        first.resign().await;
        assert!(holds(&second).await > token);
        assert_eq!((one.session.counts().lost(), two.session.counts().lost()), (0, 0));
        // Dropped, it is given up without a report.
        drop(second);
        gets(&memory, KEY, None).await;
    });
}

#[test]
fn what_is_kept_comes_back_on_the_next_lease_and_follows_its_value() {
    run(async {
        let memory = Memory::new();
        let one = node(&memory, "one");
        let kept = one.session.keep("nodes/one".to_owned(), Bytes::from_static(b"1")).unwrap();
        gets(&memory, "nodes/one", Some(b"1")).await;
        kept.set(Bytes::from_static(b"2"));
        gets(&memory, "nodes/one", Some(b"2")).await;
        let lease = held(&one.session).await.lease;
        memory.revoke(LeaseId(lease)).await.unwrap();
        gets(&memory, "nodes/one", Some(b"2")).await;
        assert_ne!(held(&one.session).await.lease, lease);
        assert_eq!(one.session.counts().lost(), 1);
        // A write whose answer is lost is not repeated over a newer one.
        one.link.set(Fault::AnswersLost);
        kept.set(Bytes::from_static(b"3"));
        gets(&memory, "nodes/one", Some(b"3")).await;
        one.link.set(Fault::None);
        kept.set(Bytes::from_static(b"4"));
        gets(&memory, "nodes/one", Some(b"4")).await;
    });
}

#[test]
fn a_campaign_won_without_an_answer_is_found_out() {
    run(async {
        let memory = Memory::new();
        let one = node(&memory, "one");
        held(&one.session).await;
        one.link.set(Fault::AnswersLost);
        let role = one.session.role(KEY.to_owned(), Stops::ByItself).unwrap();
        role.want(true);
        gets(&memory, KEY, Some(br#"{"node":"one"}"#)).await;
        one.link.set(Fault::None);
        let store: &dyn Coordinator = &memory;
        let token = holds(&role).await;
        assert_eq!(store.get(KEY).await.unwrap().unwrap().created, token);
    });
}

#[test]
fn a_clock_that_leaps_ends_the_session_and_a_new_one_follows() {
    run(async {
        for leap_ms in [3_600_000, -3_600_000] {
            let memory = Memory::new();
            let one = node(&memory, "one");
            let role = one.session.role(KEY.to_owned(), Stops::ByItself).unwrap();
            role.want(true);
            let token = holds(&role).await;
            let lease = held(&one.session).await.lease;
            one.clock.leap(leap_ms);
            let mut follow = one.session.follow();
            follow.wait_for(|standing| !matches!(standing, Standing::Held(term) if term.lease == lease)).await.unwrap();
            while role.holds(one.session.now()).is_none_or(|now| now == token) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(one.session.counts().lost(), 1, "{leap_ms}");
        }
    });
}

#[test]
fn a_node_that_leaves_gives_everything_back() {
    run(async {
        let memory = Memory::new();
        let one = node(&memory, "one");
        let role = one.session.role(KEY.to_owned(), Stops::ByItself).unwrap();
        role.want(true);
        let _kept = one.session.keep("nodes/one".to_owned(), Bytes::from_static(b"1")).unwrap();
        holds(&role).await;
        gets(&memory, "nodes/one", Some(b"1")).await;
        let lease = held(&one.session).await.lease;
        one.session.close().await;
        assert_eq!(one.session.standing(), Standing::Closed);
        let store: &dyn Coordinator = &memory;
        assert_eq!(store.get(KEY).await.unwrap(), None);
        assert_eq!(store.get("nodes/one").await.unwrap(), None);
        assert!(store.keep_alive(LeaseId(lease)).await.is_err());
        assert_eq!(one.session.counts().lost(), 0);
    });
}

#[test]
fn handles_are_limited_and_make_room_when_they_go() {
    run(async {
        let memory = Memory::new();
        let one = node(&memory, "one");
        let kept: Result<Vec<Kept>, TooMany> =
            (0..ROLES_MAX).map(|index| one.session.keep(format!("k{index}"), Bytes::new())).collect();
        let kept = kept.unwrap();
        assert_eq!(one.session.role(KEY.to_owned(), Stops::ByItself).unwrap_err(), TooMany);
        drop(kept);
        while one.session.role(KEY.to_owned(), Stops::ByItself).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
