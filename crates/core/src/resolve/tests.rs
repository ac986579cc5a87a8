use proptest::prelude::*;

use super::*;
use crate::random::Rng;

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn answers_hold_for_their_time_within_bounds() {
    let (policy, mut schedule) = (Policy::default(), Schedule::default());
    for (ttl, holds) in [(0, 1), (1, 1), (30, 30), (300, 300), (301, 300), (86_400, 300)] {
        assert_eq!(schedule.answered(&policy, secs(ttl)), secs(holds), "{ttl}");
    }
}

#[test]
fn failures_wait_longer_and_longer_and_an_answer_ends_that() {
    let (policy, mut schedule, mut rng) = (Policy::default(), Schedule::default(), Rng::seeded(1));
    for bound in [1, 2, 4, 8, 10, 10, 10] {
        let wait = schedule.failed(&policy, &mut rng);
        assert!(wait <= secs(bound) && wait >= secs(bound).mul_f64(0.75), "{bound}: {wait:?}");
    }
    schedule.answered(&policy, secs(5));
    assert!(schedule.failed(&policy, &mut rng) <= secs(1));
    schedule.failures = u32::MAX;
    assert!(schedule.failed(&policy, &mut rng) <= policy.retry_cap);
}

#[test]
fn an_address_stays_while_the_answer_holds_it() {
    let mut name = Addresses::default();
    assert_eq!(name.answered(&[]), Change::Nothing);
    assert_eq!(name.answered(&[1, 2]), Change::Moved { from: None, to: 1 });
    assert_eq!(name.answered(&[2, 1]), Change::Nothing);
    assert_eq!(name.all(), [1, 2]);
    assert_eq!(name.answered(&[3, 1]), Change::Others);
    assert_eq!(name.all(), [1, 3]);
    assert_eq!(name.answered(&[]), Change::Nothing, "an empty answer is a failure, and the last one stays");
    assert_eq!(name.all(), [1, 3]);
    assert_eq!(name.answered(&[4, 3]), Change::Moved { from: Some(1), to: 4 });
    assert_eq!(name.all(), [4, 3]);
}

#[test]
fn addresses_are_tried_in_turn() {
    let mut name = Addresses::default();
    assert_eq!(name.try_next(), None);
    name.answered(&[1]);
    assert_eq!(name.try_next(), None);
    name.answered(&[1, 2, 3]);
    assert_eq!(name.try_next(), Some(&2));
    assert_eq!(name.answered(&[1, 2, 3]), Change::Nothing, "the one that was fallen back on is kept");
    assert_eq!(name.try_next(), Some(&3));
    assert_eq!(name.try_next(), Some(&1));
}

#[derive(Clone, Debug)]
enum Step {
    Answer(Vec<u8>),
    Next,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![proptest::collection::vec(0u8..50, 0..60).prop_map(Step::Answer), Just(Step::Next)]
}

proptest! {
    #[test]
    fn the_addresses_are_always_those_of_the_last_good_answer(steps in proptest::collection::vec(step(), 0..30)) {
        let mut name = Addresses::default();
        let mut last: Vec<u8> = Vec::new();
        for step in steps {
            let before = name.clone();
            match step {
                Step::Answer(answer) => {
                    let change = name.answered(&answer);
                    if answer.is_empty() {
                        prop_assert_eq!(&name, &before);
                        continue;
                    }
                    let kept = before.present().filter(|present| answer.contains(present));
                    match change {
                        Change::Nothing => prop_assert_eq!(&name, &before),
                        Change::Others => prop_assert!(kept.is_some() && name.present() == kept),
                        Change::Moved { from, to } => {
                            prop_assert!(kept.is_none());
                            prop_assert_eq!(from.as_ref(), before.present());
                            prop_assert_eq!(Some(&to), name.present());
                        }
                    }
                    last = answer;
                }
                Step::Next => {
                    name.try_next();
                }
            }
            let mut seen = name.all().to_vec();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), name.all().len());
            prop_assert!(name.all().len() <= ADDRESSES_MAX);
            prop_assert!(name.all().iter().all(|address| last.contains(address)));
            prop_assert_eq!(name.all().is_empty(), last.is_empty());
        }
    }
}
