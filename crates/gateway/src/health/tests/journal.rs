use std::sync::Arc;
use std::sync::atomic::Ordering;

use mainstay_core::transition::{Aspect, Word};

use super::bench::*;

/// What was told of one aspect of whatever has this name, as pairs of words.
fn told(bench: &Bench, name: &str, aspect: Aspect) -> Vec<(Word, Word)> {
    let records = bench.journal.since(0, usize::MAX);
    let about = records.iter().filter(|it| it.transition.subject.name() == name);
    let changes = about.map(|it| it.transition.change).filter(|change| change.aspect == aspect);
    changes.map(|change| (change.from, change.to)).collect()
}

/// The cause and the plan behind the last change of the service's standing.
fn last_cause(bench: &Bench) -> (String, bool) {
    let records = bench.journal.since(0, usize::MAX);
    let last = records.iter().rev().find(|it| it.transition.change.aspect == Aspect::Standing).unwrap();
    (last.transition.cause.to_string(), last.transition.planned)
}

#[test]
fn an_outage_is_told_of_the_endpoint_and_of_the_service() {
    let (server, other) = (Server::new(WELL), Server::new(WELL));
    let (address, staying) = (server.address, endpoint(other.address));
    let dying = endpoint(address);
    let service = service(http_check(QUICK), &[&dying, &staying]);
    let bench = Bench::new();
    bench.apply(&[&service]);
    let standing = |expected: &[(Word, Word)]| {
        eventually(&format!("{expected:?}"), || told(&bench, "checkout", Aspect::Standing) == expected);
    };
    let mut expected = vec![(Word::Unknown, Word::Up)];
    standing(&expected);
    drop(server);
    expected.push((Word::Up, Word::Degraded));
    standing(&expected);
    assert_eq!(
        told(&bench, &dying.name, Aspect::Health),
        [(Word::Unknown, Word::Up), (Word::Up, Word::Down)],
        "each change once"
    );
    let (cause, planned) = last_cause(&bench);
    assert_eq!(cause, format!("1 of 2 endpoints amiss: {}: cannot connect: connection refused", dying.name));
    assert!(!planned);
    drop(other);
    expected.push((Word::Degraded, Word::Down));
    standing(&expected);
    let _again = Server::at(address, WELL);
    expected.push((Word::Down, Word::Degraded));
    standing(&expected);
}

#[test]
fn a_service_that_is_drained_is_down_by_plan_and_one_that_goes_is_absent() {
    let server = Server::new(WELL);
    let only = endpoint(server.address);
    let service = service(http_check(QUICK), &[&only]);
    let bench = Bench::new();
    bench.apply(&[&service]);
    eventually("it serves", || told(&bench, "checkout", Aspect::Standing) == [(Word::Unknown, Word::Up)]);
    only.drained.store(true, Ordering::Release);
    service.epoch.fetch_add(1, Ordering::Release);
    eventually("the drain", || told(&bench, &only.name, Aspect::Drain) == [(Word::Serving, Word::Draining)]);
    eventually("the standing", || told(&bench, "checkout", Aspect::Standing).contains(&(Word::Up, Word::Down)));
    assert_eq!(last_cause(&bench), ("every endpoint is drained".to_owned(), true));
    only.drained.store(false, Ordering::Release);
    service.epoch.fetch_add(1, Ordering::Release);
    eventually("its end", || told(&bench, "checkout", Aspect::Standing).contains(&(Word::Down, Word::Up)));
    assert!(last_cause(&bench).1, "its end is as planned as its beginning");
    let others: [&Arc<_>; 0] = [];
    bench.apply(&others);
    eventually("gone", || told(&bench, "checkout", Aspect::Standing).last() == Some(&(Word::Up, Word::Absent)));
}
