use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mainstay_core::quarantine::{Policy, Quarantine, Verdict};
use mainstay_core::time::Moment;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Ask,
    Reset(u64),
    Answered,
}

fn events() -> impl Strategy<Value = Vec<(u64, u64, Event)>> {
    let event = prop_oneof![3 => Just(Event::Ask), 2 => (0u64..4).prop_map(Event::Reset), 1 => Just(Event::Answered)];
    prop::collection::vec((0u64..4000, 0u64..5, event), 0..120)
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn nothing_is_held_that_was_not_reset_by_enough_endpoints_since_its_last_answer(
        events in events(), endpoints in 1usize..4, entries in 1usize..4
    ) {
        let second = Duration::from_secs(1);
        let policy = Policy { endpoints, window: 5 * second, hold: 2 * second, cap: 8 * second, entries };
        let mut quarantine = Quarantine::new(policy);
        let mut now = Moment::ZERO;
        let mut resets: HashMap<u64, HashSet<u64>> = HashMap::new();
        for (later, fingerprint, event) in events {
            now = now.after(Duration::from_millis(later));
            match event {
                Event::Ask => {
                    let verdict = quarantine.ask(now, fingerprint);
                    let known = resets.get(&fingerprint).map_or(0, HashSet::len);
                    prop_assert!(verdict == Verdict::Pass || known >= endpoints, "{verdict:?} after {known}");
                    if let Verdict::Hold(rest) = verdict {
                        prop_assert!(rest <= policy.cap.max(policy.window));
                    }
                }
                Event::Reset(endpoint) => {
                    resets.entry(fingerprint).or_default().insert(endpoint);
                    let held = quarantine.reset(now, fingerprint, endpoint);
                    prop_assert!(held.is_none_or(|hold| (policy.hold..=policy.cap).contains(&hold)));
                    if held.is_some() {
                        prop_assert!(matches!(quarantine.ask(now, fingerprint), Verdict::Hold(_)));
                    }
                }
                Event::Answered => {
                    resets.remove(&fingerprint);
                    quarantine.answered(fingerprint);
                    prop_assert_eq!(quarantine.ask(now, fingerprint), Verdict::Pass);
                }
            }
            prop_assert!(quarantine.len() <= entries);
        }
        quarantine.sweep(now.after(Duration::from_secs(1000)));
        prop_assert!(quarantine.is_empty());
    }
}
