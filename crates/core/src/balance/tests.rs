use std::time::Duration;

use super::*;
use crate::time::Moment;

fn candidates(weights: &[u32]) -> Vec<Candidate> {
    weights
        .iter()
        .zip(0u64..)
        .map(|(weight, number)| Candidate { weight: *weight, identity: crate::random::hash(&number.to_le_bytes()) })
        .collect()
}

const ALL: [Policy; 5] = [Policy::RoundRobin, Policy::Random, Policy::LeastRequest, Policy::PeakEwma, Policy::Hash];

fn wanted(key: Option<u64>, excluded: &[usize]) -> Wanted<'_> {
    Wanted { key, excluded, within: None }
}

/// How often each candidate is picked, with nothing in flight.
fn counts(policy: Policy, weights: &[u32], picks: u64) -> Vec<u32> {
    let mut balancer = Balancer::new(policy, &candidates(weights));
    let mut rng = Rng::seeded(picks);
    let mut counts = vec![0u32; weights.len()];
    for key in 0..picks {
        counts[balancer.pick(&wanted(Some(key), &[]), &|_index| 0, &mut rng).expect("all are eligible")] += 1;
    }
    counts
}

#[test]
fn shares_follow_weights() {
    let table: [&[u32]; 6] = [&[1], &[1, 1], &[3, 1], &[5, 0, 5, 10], &[1, 2, 3, 4, 5], &[1000, 1, 1000]];
    for policy in ALL {
        for weights in table {
            let counts = counts(policy, weights, 60_000);
            let total: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let share = f64::from(*count) / 60_000.0;
                let expected = f64::from(*weight) / f64::from(total);
                assert!((share - expected).abs() < 0.015, "{policy:?} {weights:?}: {counts:?}");
                assert!(*weight > 0 || *count == 0, "{policy:?} {weights:?}: {counts:?}");
            }
        }
    }
}

#[test]
fn round_robin_goes_in_turn() {
    let table: [(&[u32], usize); 3] = [(&[1, 1, 1], 3), (&[7, 7], 2), (&[1, 2, 5], 8)];
    for (weights, round) in table {
        let mut balancer = Balancer::new(Policy::RoundRobin, &candidates(weights));
        let mut rng = Rng::seeded(3);
        for _round in 0..50 {
            let mut counts = vec![0u32; weights.len()];
            for _pick in 0..round {
                counts[balancer.pick(&Wanted::default(), &|_index| 0, &mut rng).expect("all are eligible")] += 1;
            }
            let least = weights.iter().min().copied().unwrap_or(1);
            let expected: Vec<u32> = if weights.windows(2).all(|pair| pair[0] == pair[1]) {
                weights.iter().map(|weight| weight / least).collect()
            } else {
                weights.to_vec()
            };
            assert!(counts.iter().zip(&expected).all(|(count, share)| count.abs_diff(*share) <= 1), "{counts:?}");
        }
    }
}

#[test]
fn workers_do_not_start_in_step() {
    for weights in [[1, 1, 1, 1], [1, 2, 3, 4]] {
        let first: Vec<Option<usize>> = (0..40)
            .map(|seed| {
                let mut balancer = Balancer::new(Policy::RoundRobin, &candidates(&weights));
                balancer.pick(&Wanted::default(), &|_index| 0, &mut Rng::seeded(seed))
            })
            .collect();
        assert!(first.iter().any(|pick| *pick != first[0]), "{weights:?}");
    }
}

#[test]
fn nobody_left_is_none() {
    for policy in ALL {
        let mut rng = Rng::seeded(9);
        for (weights, eligible, excluded) in [
            (vec![], vec![], vec![]),
            (vec![1], vec![false], vec![]),
            (vec![1], vec![], vec![]),
            (vec![0], vec![true], vec![]),
            (vec![1, 2], vec![true, true], vec![0, 1]),
            (vec![1, 2, 1], vec![true, false, true], vec![2, 0]),
        ] {
            let mut balancer = Balancer::new(policy, &candidates(&weights));
            balancer.set_eligible(&eligible);
            for key in [Some(1), None] {
                assert_eq!(
                    balancer.pick(&wanted(key, &excluded), &|_index| 0, &mut rng),
                    None,
                    "{policy:?} {weights:?}"
                );
            }
        }
    }
}

#[test]
fn the_less_loaded_of_two_is_picked() {
    // Weights, loads, the one that must win if there are but two.
    let table =
        [([1, 1], [0, 1], 0), ([1, 1], [9, 8], 1), ([1, 10], [2, 10], 1), ([10, 1], [10, 0], 1), ([1, 3], [1, 4], 0)];
    for (weights, loads, expected) in table {
        let mut balancer = Balancer::new(Policy::LeastRequest, &candidates(&weights));
        let mut rng = Rng::seeded(4);
        for _pick in 0..100 {
            let picked = balancer.pick(&Wanted::default(), &|index| loads[index], &mut rng);
            assert_eq!(picked, Some(expected), "{weights:?} {loads:?}");
        }
    }
}

#[test]
fn requests_that_stay_in_flight_fill_endpoints_by_weight() {
    let weights = [1, 2, 3, 4];
    let mut balancer = Balancer::new(Policy::LeastRequest, &candidates(&weights));
    let mut rng = Rng::seeded(5);
    let mut loads = [0u32; 4];
    for _request in 0..1000 {
        let picked = balancer.pick(&Wanted::default(), &|index| loads[index], &mut rng).expect("all are eligible");
        loads[picked] += 1;
    }
    for (load, weight) in loads.iter().zip(weights) {
        assert!(load.abs_diff(weight * 100) <= 8, "{loads:?}");
    }
}

#[test]
fn keys_of_a_failed_endpoint_spread_over_the_others() {
    let mut balancer = Balancer::new(Policy::Hash, &candidates(&[1; 5]));
    let mut rng = Rng::seeded(6);
    let before: Vec<_> = (0..10_000).map(|key| balancer.pick(&wanted(Some(key), &[]), &|_index| 0, &mut rng)).collect();
    balancer.set_eligible(&[true, true, false, true, true]);
    let mut moved = [0u32; 5];
    for (key, owner) in (0..).zip(&before) {
        let now = balancer.pick(&wanted(Some(key), &[]), &|_index| 0, &mut rng);
        if *owner == Some(2) {
            moved[now.expect("four are eligible")] += 1;
        } else {
            assert_eq!(now, *owner, "key {key}");
        }
    }
    assert!(moved.iter().enumerate().all(|(index, count)| (index == 2) == (*count < 350)), "{moved:?}");
    assert_eq!(moved[2], 0);
}

#[test]
fn without_a_key_hash_is_random() {
    let mut balancer = Balancer::new(Policy::Hash, &candidates(&[1, 1]));
    let mut rng = Rng::seeded(8);
    let picks: Vec<_> = (0..50).map(|_pick| balancer.pick(&Wanted::default(), &|_index| 0, &mut rng)).collect();
    assert!(picks.contains(&Some(0)) && picks.contains(&Some(1)));
}

#[test]
fn retries_do_not_bring_the_turn_back_to_a_failing_endpoint() {
    for weights in [[1, 1], [1, 2]] {
        let candidates = weights.map(|weight| Candidate { weight, identity: u64::from(weight) });
        let mut balancer = Balancer::new(Policy::RoundRobin, &candidates);
        let mut rng = Rng::seeded(1);
        let mut first = [0; 2];
        for _request in 0..30 {
            let picked = balancer.pick(&Wanted::default(), &|_| 0, &mut rng).unwrap();
            first[picked] += 1;
            // Endpoint 0 fails, and the request is tried elsewhere.
            if picked == 0 {
                assert_eq!(balancer.pick(&wanted(None, &[0]), &|_| 0, &mut rng), Some(1));
            }
        }
        assert_eq!(first, if weights == [1, 1] { [15, 15] } else { [10, 20] });
    }
}

#[test]
fn with_bounded_loads_a_popular_key_overflows_and_comes_home() {
    let mut balancer = Balancer::new(Policy::Hash, &candidates(&[1; 4])).bounded(Some(1.25));
    let mut rng = Rng::seeded(2);
    let mut loads = [0u32; 4];
    let mut pick = |loads: &[u32; 4]| {
        balancer.pick(&wanted(Some(77), &[]), &|index: usize| loads[index], &mut rng).expect("all are eligible")
    };
    let home = pick(&loads);
    for number in 1..=400u32 {
        let picked = pick(&loads);
        loads[picked] += 1;
        let bound = (1.25 * f64::from(number) / 4.0).ceil();
        assert!(loads.iter().all(|load| f64::from(*load) <= bound), "{loads:?}");
    }
    assert!(loads[home] >= 120, "its own takes as much as it may: {loads:?}");
    assert_eq!(pick(&[0; 4]), home);
}

#[test]
fn a_share_takes_a_part_of_the_keys_and_a_larger_one_the_same_and_more() {
    let mut balancer = Balancer::new(Policy::Hash, &candidates(&[1; 4]));
    let mut rng = Rng::seeded(2);
    let mut keys_of_first = |balancer: &mut Balancer, permille: u16| {
        balancer.set_shares(&[Share::permille(permille), Share::FULL, Share::FULL, Share::FULL]);
        let is_first = |key: &u64| balancer.pick(&wanted(Some(*key), &[]), &|_index| 0, &mut rng) == Some(0);
        (0..10_000u64).filter(is_first).collect::<Vec<u64>>()
    };
    let steps: Vec<Vec<u64>> =
        [0, 20, 100, 500, 1000].into_iter().map(|share| keys_of_first(&mut balancer, share)).collect();
    for pair in steps.windows(2) {
        assert!(pair[0].iter().all(|key| pair[1].contains(key)), "keys come one after another and stay");
    }
    let counts: Vec<usize> = steps.iter().map(Vec::len).collect();
    assert_eq!(counts[0], 0);
    for (count, expected) in counts.iter().zip([0.0, 50.0, 250.0, 1250.0, 2500.0]) {
        assert!((*count as f64 - expected).abs() <= expected * 0.25, "{counts:?}");
    }
}

#[test]
fn a_small_share_gets_as_much_less_traffic() {
    for policy in ALL {
        let mut balancer = Balancer::new(policy, &candidates(&[3, 3, 3]));
        balancer.set_shares(&[Share::permille(20), Share::FULL, Share::FULL]);
        let mut rng = Rng::seeded(5);
        let mut counts = [0u32; 3];
        for key in 0..50_000 {
            counts[balancer.pick(&wanted(Some(key), &[]), &|_index| 0, &mut rng).expect("all are eligible")] += 1;
        }
        let share = f64::from(counts[0]) / 50_000.0;
        assert!((0.006..0.014).contains(&share), "{policy:?}: {counts:?}");
        // Whoever takes little takes everything if there is nobody else.
        let last = balancer.pick(&wanted(Some(9), &[1, 2]), &|_index| 0, &mut rng);
        assert_eq!(last, Some(0), "{policy:?}");
    }
}

#[test]
fn within_a_list_only_its_members_are_picked_by_their_weights() {
    for policy in ALL {
        let mut balancer = Balancer::new(policy, &candidates(&[1, 5, 2, 4, 0]));
        let mut rng = Rng::seeded(5);
        let mut counts = [0u32; 5];
        for key in 0..30_000 {
            let wanted = Wanted { key: Some(key), excluded: &[], within: Some(&[3, 0, 4, 99]) };
            counts[balancer.pick(&wanted, &|_index| 0, &mut rng).expect("two are eligible")] += 1;
        }
        assert_eq!((counts[1], counts[2], counts[4]), (0, 0, 0));
        let share = f64::from(counts[0]) / 30_000.0;
        assert!((0.19..0.21).contains(&share), "{policy:?}: {counts:?}");
        for (within, excluded, expected) in
            [(&[3usize, 0][..], &[3usize][..], Some(0)), (&[3], &[3], None), (&[4], &[], None), (&[], &[], None)]
        {
            let wanted = Wanted { key: Some(1), excluded, within: Some(within) };
            assert_eq!(balancer.pick(&wanted, &|_index| 0, &mut rng), expected, "{policy:?} {within:?} {excluded:?}");
        }
    }
}

#[test]
fn what_always_loses_looks_slower_than_what_loses_now_and_then() {
    let age = Duration::from_millis(20);
    let answer = Duration::from_millis(10);
    let (mut slow, mut sound) = (PeakEwma::default(), PeakEwma::default());
    let (mut busy, mut calm) = (Penalty::default(), Penalty::default());
    let mut now = Moment::from_millis(1);
    for number in 0..200 {
        now = now.after(Duration::from_millis(10));
        slow.lose(now, age);
        busy.lose(now);
        if number % 20 == 0 {
            sound.lose(now, age);
            calm.lose(now);
        } else {
            sound.observe(now, answer);
            calm.answered();
        }
    }
    assert!(slow.cost(now, 0) > 150_000_000, "{}", slow.cost(now, 0));
    assert!(sound.cost(now, 0) < 30_000_000, "{}", sound.cost(now, 0));
    assert!(busy.load(now) > 50, "{}", busy.load(now));
    assert!(calm.load(now) <= 2, "{}", calm.load(now));
    // It is well again: its answers say so.
    for _answer in 0..40 {
        slow.observe(now, answer);
        busy.answered();
    }
    let later = now.after(Duration::from_secs(60));
    slow.lose(later, age);
    busy.lose(later);
    assert!(slow.cost(later, 0) < 30_000_000 && busy.load(later) == 1);
}
