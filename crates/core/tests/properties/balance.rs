use std::time::Duration;

use mainstay_core::balance::{Balancer, Candidate, PeakEwma, Penalty, Policy, Share, Wanted};
use mainstay_core::random::{Rng, mix};
use mainstay_core::time::Moment;
use proptest::prelude::*;

pub(crate) const POLICIES: [Policy; 5] =
    [Policy::RoundRobin, Policy::Random, Policy::LeastRequest, Policy::PeakEwma, Policy::Hash];

/// A pick among all.
pub(crate) fn wanted(key: Option<u64>, excluded: &[usize]) -> Wanted<'_> {
    Wanted { key, excluded, within: None }
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(POLICIES.to_vec())
}

/// Candidates with these weights, told apart by `salt`.
pub(crate) fn candidates(weights: &[u32], salt: u64) -> Vec<Candidate> {
    let identity = |number: u64| mix(salt.wrapping_add(number));
    weights.iter().zip(0..).map(|(weight, number)| Candidate { weight: *weight, identity: identity(number) }).collect()
}

/// Weights as people write them: all the same, alike, or far apart; now and then 0.
pub(crate) fn weights() -> impl Strategy<Value = Vec<u32>> {
    let alike = prop::collection::vec(prop_oneof![1 => Just(0u32), 20 => 1u32..20], 1..12);
    let apart = prop::collection::vec(1u32..=1000, 1..12);
    prop_oneof![(1u32..1000, 1usize..12).prop_map(|(weight, count)| vec![weight; count]), alike, apart]
}

#[derive(Clone, Debug)]
enum Step {
    /// A bit for each candidate.
    Eligible(u64),
    /// Picks in a row without those whose bits are set.
    Pick { count: u16, excluded: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any::<u64>().prop_map(Step::Eligible),
        1 => (1u16..400).prop_map(|count| Step::Pick { count, excluded: 0 }),
        2 => (1u16..4, any::<u64>(), any::<u64>()).prop_map(|(count, a, b)| Step::Pick { count, excluded: a & b }),
    ]
}

fn bits(bits: u64, count: usize) -> Vec<bool> {
    (0..count).map(|index| bits >> index & 1 == 1).collect()
}

fn share(weights: &[u32], eligible: &[bool], index: usize) -> f64 {
    let total: u32 = weights.iter().zip(eligible).filter(|(_weight, ok)| **ok).map(|(weight, _ok)| weight).sum();
    f64::from(weights[index]) / f64::from(total)
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn only_the_eligible_and_not_excluded_are_picked(
        policy in policy(),
        weights in weights(),
        seed: u64,
        steps in prop::collection::vec(step(), 1..40),
        bound in prop::option::of(1.0f64..3.0),
    ) {
        let mut rng = Rng::seeded(seed);
        let mut balancer = Balancer::new(policy, &candidates(&weights, seed)).bounded(bound);
        let mut eligible = vec![true; weights.len()];
        for step in steps {
            match step {
                Step::Eligible(set) => {
                    eligible = bits(set, weights.len());
                    balancer.set_eligible(&eligible);
                }
                Step::Pick { count, excluded } => {
                    let excluded: Vec<usize> = (0..weights.len()).filter(|index| excluded >> index & 1 == 1).collect();
                    let may = |index: usize| eligible[index] && weights[index] > 0 && !excluded.contains(&index);
                    let anyone = (0..weights.len()).any(may);
                    for number in 0..count {
                        let key = (number % 3 > 0).then(|| rng.next_u64());
                        let load = |index: usize| (seed >> (index % 50)) as u32 % 7;
                        let picked = balancer.pick(&wanted(key, &excluded), &load, &mut rng);
                        prop_assert_eq!(picked.is_some(), anyone);
                        prop_assert!(picked.is_none_or(may), "{:?} of {:?} without {:?}", picked, eligible, excluded);
                    }
                }
            }
        }
    }

    #[test]
    fn round_robin_keeps_weights_in_every_stretch(
        weights in weights(),
        seed: u64,
        stretches in prop::collection::vec((any::<u64>(), 1u32..3000), 1..12),
    ) {
        let mut rng = Rng::seeded(seed);
        let mut balancer = Balancer::new(Policy::RoundRobin, &candidates(&weights, seed));
        for (set, picks) in stretches {
            let eligible = bits(set, weights.len());
            balancer.set_eligible(&eligible);
            let mut counts = vec![0u32; weights.len()];
            for _pick in 0..picks {
                let Some(picked) = balancer.pick(&Wanted::default(), &|_index| 0, &mut rng) else { break };
                counts[picked] += 1;
            }
            let live = eligible.iter().filter(|ok| **ok).count() as f64;
            for index in (0..weights.len()).filter(|index| counts.iter().sum::<u32>() > 0 && eligible[*index]) {
                let share = share(&weights, &eligible, index);
                // Each gets its turns to within one, and the stretch as a whole is so many turns to within one each.
                let expected = share * f64::from(picks);
                let off = (f64::from(counts[index]) - expected).abs();
                prop_assert!(off <= 1.01 + live * share, "{:?} {:?} of {}: {:?}", weights, eligible, picks, counts);
            }
        }
    }

    #[test]
    fn round_robin_is_fair_to_those_that_stay_while_others_come_and_go(
        stay in (1u32..20, 1u32..20),
        others in prop::collection::vec(1u32..20, 0..8),
        equal: bool,
        seed: u64,
        stretches in prop::collection::vec((any::<u64>(), 1u32..6), 1..300),
    ) {
        // Either all weigh the same or the first two differ, so that one way of taking turns is kept throughout.
        prop_assume!(equal || stay.0 != stay.1);
        let mut weights = vec![stay.0, stay.1];
        weights.extend(others);
        if equal {
            weights.fill(stay.0);
        }
        // The two that stay are not next to each other.
        let last = weights.len() - 1;
        weights.swap(1, last);
        let mut balancer = Balancer::new(Policy::RoundRobin, &candidates(&weights, seed));
        let mut rng = Rng::seeded(seed);
        let mut turns = vec![0u32; weights.len()];
        for (set, picks) in stretches {
            balancer.set_eligible(&bits(set | 1 | 1 << last, weights.len()));
            for _pick in 0..picks {
                let picked = balancer.pick(&Wanted::default(), &|_index| 0, &mut rng);
                turns[picked.ok_or_else(|| TestCaseError::fail("two are eligible"))?] += 1;
            }
        }
        let rounds = |index: usize| f64::from(turns[index]) / f64::from(weights[index]);
        let within = 1.001 * (1.0 / f64::from(weights[0]) + 1.0 / f64::from(weights[last]));
        let within = if equal { within / 2.0 } else { within };
        prop_assert!((rounds(0) - rounds(last)).abs() <= within, "{:?} of {:?}", turns, weights);
    }

    #[test]
    fn random_choices_keep_weights(
        policy in prop::sample::select(vec![Policy::Random, Policy::LeastRequest]),
        weights in weights(),
        set: u64,
        excluded in prop::option::of(0usize..12),
        seed: u64,
        load in 0u32..3,
    ) {
        const PICKS: u32 = 4000;
        let mut rng = Rng::seeded(seed);
        let mut balancer = Balancer::new(policy, &candidates(&weights, seed));
        let mut eligible = bits(set, weights.len());
        balancer.set_eligible(&eligible);
        let excluded: Vec<usize> = excluded.into_iter().filter(|index| *index < weights.len()).collect();
        excluded.iter().for_each(|index| eligible[*index] = false);
        let mut counts = vec![0u32; weights.len()];
        for _pick in 0..PICKS {
            // Load in proportion to weight is no reason to prefer any.
            let picked = balancer.pick(&wanted(None, &excluded), &|index| load * weights[index], &mut rng);
            picked.into_iter().for_each(|index| counts[index] += 1);
        }
        for index in (0..weights.len()).filter(|index| counts.iter().sum::<u32>() > 0 && eligible[*index]) {
            let share = share(&weights, &eligible, index);
            let sigma = (f64::from(PICKS) * share * (1.0 - share)).sqrt();
            let off = (f64::from(counts[index]) - share * f64::from(PICKS)).abs();
            // Chance alone reaches so far about once in 10^10 tries.
            prop_assert!(off <= 6.5 * sigma + 6.0, "{:?} {:?}: {:?}", weights, eligible, counts);
        }
    }

    #[test]
    fn least_request_never_takes_the_one_most_loaded(
        weights in prop::collection::vec(1u32..20, 2..10),
        loads in prop::collection::vec(0u32..50, 10),
        seed: u64,
    ) {
        let mut balancer = Balancer::new(Policy::LeastRequest, &candidates(&weights, seed));
        let mut rng = Rng::seeded(seed);
        let more = |a: usize, b: usize| loads[a] * weights[b] > loads[b] * weights[a];
        for _pick in 0..50 {
            let picked = balancer.pick(&Wanted::default(), &|index| loads[index], &mut rng);
            let picked = picked.ok_or_else(|| TestCaseError::fail("all are eligible"))?;
            let alone_on_top = (0..weights.len()).all(|other| other == picked || more(picked, other));
            prop_assert!(!alone_on_top, "{} of {:?} at {:?}", picked, weights, loads);
        }
    }

    #[test]
    fn shares_and_lists_keep_everybody_else_out(
        policy in policy(),
        weights in weights(),
        shares in prop::collection::vec(prop_oneof![Just(0u16), Just(1000u16), 1u16..1000], 12),
        list in prop::collection::vec(0usize..14, 0..6),
        excluded in prop::collection::vec(0usize..12, 0..6),
        bound in prop::option::of(1.0f64..3.0),
        seed: u64,
    ) {
        let mut balancer = Balancer::new(policy, &candidates(&weights, seed)).bounded(bound);
        let shares: Vec<Share> = shares.iter().map(|share| Share::permille(*share)).collect();
        balancer.set_shares(&shares);
        let mut rng = Rng::seeded(seed);
        for within in [None, Some(list.as_slice())] {
            let may = |index: usize| {
                index < weights.len()
                    && weights[index] > 0
                    && shares[index] > Share::NONE
                    && !excluded.contains(&index)
                    && within.is_none_or(|list| list.contains(&index))
            };
            let anyone = (0..weights.len()).any(may);
            for number in 0..30 {
                let key = (number % 3 > 0).then(|| rng.next_u64());
                let load = |index: usize| (seed >> (index % 50)) as u32 % 7;
                let picked = balancer.pick(&Wanted { key, excluded: &excluded, within }, &load, &mut rng);
                prop_assert_eq!(picked.is_some(), anyone);
                prop_assert!(picked.is_none_or(may), "{:?} of {:?} within {:?}", picked, shares, within);
            }
        }
    }

    #[test]
    fn bounded_loads_stay_bounded(
        count in 1usize..12,
        factor in 1.0f64..2.5,
        keys in 1u64..20,
        seed: u64,
    ) {
        let mut balancer = Balancer::new(Policy::Hash, &candidates(&vec![1; count], seed)).bounded(Some(factor));
        let mut rng = Rng::seeded(seed);
        let mut loads = vec![0u32; count];
        for number in 1..=200u32 {
            let key = rng.next_u64() % keys;
            let picked = balancer.pick(&wanted(Some(key), &[]), &|index: usize| loads[index], &mut rng);
            loads[picked.ok_or_else(|| TestCaseError::fail("all are eligible"))?] += 1;
            let bound = (factor * f64::from(number) / count as f64).ceil();
            prop_assert!(loads.iter().all(|load| f64::from(*load) <= bound), "{:?} over {}", loads, bound);
        }
    }

    #[test]
    fn the_average_rises_at_once_and_falls_slowly(
        samples in prop::collection::vec((0u64..3_000, 0u64..5_000), 1..60),
        in_flight in 0u32..50,
    ) {
        let mut average = PeakEwma::default();
        prop_assert_eq!(average.cost(Moment::ZERO, 0), 0, "nobody knows: it is tried");
        prop_assert!(average.cost(Moment::ZERO, 1) > 0, "by one request");
        let mut now = Moment::ZERO;
        let mut worst = 0u64;
        for (wait, millis) in samples {
            now = now.after(Duration::from_millis(wait));
            let before = average.cost(now, 0);
            average.observe(now, Duration::from_millis(millis));
            let after = average.cost(now, 0);
            let sample = (millis * 1_000_000).max(1);
            worst = worst.max(sample);
            prop_assert!(after + 1 >= sample, "a slow answer counts at once");
            prop_assert!(after <= before + sample + 1, "nothing beyond what was seen");
            prop_assert!(after <= worst + 1);
            let busy = average.cost(now, in_flight);
            prop_assert!(busy as f64 >= after as f64 * (f64::from(in_flight) + 1.0) * 0.999 - 50.0);
            prop_assert!(average.cost(now.after(Duration::from_secs(1)), 0) <= after, "it fades without answers");
        }
    }

    /// However ages and answers come: what is lost makes nobody cheaper, nor dearer than ten times the longest age or the
    /// longest answer, and what is lost without a single answer makes an endpoint dearer than its age.
    #[test]
    fn lost_attempts_raise_the_cost_within_bounds(
        attempts in prop::collection::vec((0u64..3_000, 1u64..5_000, any::<bool>()), 1..60),
    ) {
        let (mut average, mut penalty) = (PeakEwma::default(), Penalty::default());
        let mut now = Moment::from_millis(1);
        let mut worst = 0;
        for (wait, millis, is_lost) in attempts {
            now = now.after(Duration::from_millis(wait));
            let took = Duration::from_millis(millis);
            let (cost, load) = (average.cost(now, 0), penalty.load(now));
            if is_lost {
                average.lose(now, took);
                penalty.lose(now);
                worst = worst.max(millis * 10_000_000);
                prop_assert!(average.cost(now, 0) + 1 >= cost.max(millis * 1_000_000));
                prop_assert!(penalty.load(now) >= load.max(1) && penalty.load(now) <= load + 1);
            } else {
                average.observe(now, took);
                penalty.answered();
                worst = worst.max(millis * 1_000_000);
                prop_assert_eq!(penalty.load(now), load, "an answer is no penalty");
            }
            prop_assert!(average.cost(now, 0) <= worst + worst / 1000 + 1);
        }
    }

    #[test]
    fn a_penalty_fades(fails in prop::collection::vec(0u64..3_000, 1..60)) {
        let mut penalty = Penalty::default();
        prop_assert!(penalty.is_zero());
        let mut now = Moment::from_millis(5);
        for (number, wait) in (1u32..).zip(fails) {
            now = now.after(Duration::from_millis(wait));
            penalty.add(now);
            let load = penalty.load(now);
            prop_assert!((1..=number).contains(&load));
        }
        let load = penalty.load(now);
        prop_assert!(penalty.load(now.after(Penalty::HALF_LIFE)) <= load / 2 + 1);
        prop_assert_eq!(penalty.load(now.after(Duration::from_secs(60))), 0);
        prop_assert!(penalty.is_zero());
    }
}
