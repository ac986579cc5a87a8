use std::time::Duration;

use mainstay_core::incident::{Book, Policy};
use mainstay_core::ledger::{Entry, Mark, State, Timeline, figures};
use mainstay_core::transition::{Aspect, Record, Subject, Transition, Word};
use proptest::prelude::*;

const WORDS: [Word; 5] = [Word::Up, Word::Degraded, Word::Down, Word::Unknown, Word::Absent];

/// How long after the one before, of which of three services, and how it stands then.
fn changes() -> impl Strategy<Value = Vec<(u64, usize, usize)>> {
    prop::collection::vec((0u64..20_000, 0usize..3, 0usize..WORDS.len()), 0..80)
}

proptest! {
    #![proptest_config(crate::config())]

    /// What incidents say of down-time is what the ledger says, each service for itself.
    #[test]
    fn incidents_and_the_ledger_agree_on_down_time(changes in changes()) {
        let mut book = Book::new(Policy::default());
        let (mut now_ms, mut timelines) = (1_000u64, Vec::new());
        for _service in 0..3 {
            timelines.push(Timeline::new(0));
        }
        let mark = |ms: u64| Mark { boot: "b".to_owned(), boottime_ns: ms * 1_000_000, at_unix_ms: ms };
        let mut was = [Word::Unknown; 3];
        for (later, service, word) in changes {
            now_ms += later;
            let to = WORDS[word];
            // The journal tells only of changes.
            if was[service] == to {
                continue;
            }
            let subject = Subject::of_service(&format!("s{service}"));
            let transition = Transition::new(subject, Aspect::Standing, was[service], to);
            was[service] = to;
            let boottime_ns = now_ms * 1_000_000;
            book.take(&Record { sequence: 0, at_unix_ms: now_ms, boottime_ns, node: String::new(), transition });
            let state = match to {
                Word::Up => State::Up,
                Word::Degraded => State::Partial,
                Word::Down => State::Down,
                _unknown => State::NotObserved,
            };
            timelines[service].take(mark(now_ms), Entry::Stands { state, planned: false, cause: String::new() });
        }
        let now_ns = now_ms * 1_000_000;
        for (service, timeline) in timelines.into_iter().enumerate() {
            let by_ledger = figures(&timeline.until(mark(now_ms)));
            let name = format!("s{service}");
            let own = |incident: &&&mainstay_core::incident::Incident| incident.subject.service() == Some(&name);
            let incidents = book.incidents();
            let down: Duration = incidents.iter().filter(own).map(|incident| incident.down_until(now_ns)).sum();
            prop_assert!((down.as_secs_f64() - by_ledger.down_seconds).abs() < 1e-6, "{down:?} {by_ledger:?}");
            let open = incidents.iter().filter(own).filter(|incident| !incident.is_over()).count();
            prop_assert_eq!(open, usize::from(matches!(was[service], Word::Degraded | Word::Down)));
            for incident in incidents.iter().filter(own) {
                prop_assert!(incident.down_until(now_ns) <= incident.lasted_until(now_ns));
            }
        }
    }
}
