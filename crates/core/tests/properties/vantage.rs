use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::time::Moment;
use mainstay_core::vantage::{Policy, Verdict, View, judge, wait};
use proptest::prelude::*;

fn moment(seconds: u64) -> Moment {
    Moment::ZERO.after(Duration::from_secs(seconds))
}

fn views() -> impl Strategy<Value = BTreeMap<u8, View>> {
    let view = (any::<bool>(), 0u64..200).prop_map(|(passed, at)| View { passed, heard: moment(at) });
    prop::collection::btree_map(0u8..9, view, 0..9)
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn a_verdict_is_that_of_more_than_half_of_the_fresh_views(views in views(), expected in 0usize..9, fresh in 1u64..200) {
        let (policy, now) = (Policy { fresh: Duration::from_secs(fresh), expected }, moment(200));
        let found = judge(&policy, now, &views);
        let young: BTreeMap<u8, View> =
            views.into_iter().filter(|(_who, view)| view.heard.after(policy.fresh) >= now).collect();
        let failing = young.values().filter(|view| !view.passed).count();
        prop_assert_eq!(found.fresh, young.len());
        prop_assert_eq!(found.failing.len(), failing);
        match found.verdict {
            Verdict::Unknown => prop_assert!(young.is_empty() || young.len() * 2 <= expected),
            Verdict::Up => prop_assert!(failing == 0 && young.len() * 2 > expected),
            Verdict::Degraded => prop_assert!(failing > 0 && failing * 2 <= young.len()),
            Verdict::Down => prop_assert!(failing * 2 > young.len() && young.len() * 2 > expected),
        }
        // Who has an old view might as well not be there.
        prop_assert_eq!(judge(&policy, now, &young), found);
    }

    #[test]
    fn one_of_three_or_more_alone_brings_nothing_down(count in 3u8..9, odd in 0u8..9, good in any::<bool>()) {
        let views = (0..count).map(|who| (who, View { passed: (who == odd) != good, heard: moment(0) })).collect();
        let policy = Policy { fresh: Duration::from_secs(1), expected: usize::from(count) };
        let verdict = judge(&policy, moment(0), &views).verdict;
        prop_assert_eq!(verdict == Verdict::Down, !good, "{:?}", verdict);
    }

    #[test]
    fn tries_are_spread_over_the_interval(
        now in 0u64..u64::MAX / 4,
        interval in 1u64..1_000_000,
        phase in any::<u64>(),
        count in 1usize..9,
    ) {
        let (now, length) = (Duration::from_millis(now), Duration::from_millis(interval));
        let mut slots: Vec<u128> = (0..count)
            .map(|index| {
                let waited = wait(now, length, phase, index, count);
                assert!(waited >= length / 20 && waited < length + length / 20, "{waited:?} of {length:?}");
                (now + waited).as_nanos() % length.as_nanos()
            })
            .collect();
        slots.sort_unstable();
        let share = length.as_nanos() / count as u128;
        for pair in slots.windows(2) {
            prop_assert!(pair[1] - pair[0] + 1 >= share, "{:?} of {:?}", slots, length);
        }
    }
}
