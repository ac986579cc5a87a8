use std::collections::HashSet;

use mainstay_core::balance::{Balancer, Candidate, Policy};
use mainstay_core::random::Rng;
use proptest::prelude::*;

use crate::balance::{candidates, wanted, weights};

const KEYS: usize = 4000;

/// Which candidate each of many keys goes to, by identity.
fn owners(balancer: &mut Balancer, candidates: &[Candidate], seed: u64) -> Vec<Option<u64>> {
    let mut keys = Rng::seeded(seed);
    let mut unused = Rng::seeded(0);
    (0..KEYS)
        .map(|_key| balancer.pick(&wanted(Some(keys.next_u64()), &[]), &|_index| 0, &mut unused))
        .map(|picked| picked.map(|index| candidates[index].identity))
        .collect()
}

fn fresh_owners(candidates: &[Candidate], seed: u64) -> Vec<Option<u64>> {
    owners(&mut Balancer::new(Policy::Hash, candidates), candidates, seed)
}

fn shuffled(candidates: &[Candidate], seed: u64) -> Vec<Candidate> {
    let mut rng = Rng::seeded(seed);
    let mut shuffled = candidates.to_vec();
    for end in (1..shuffled.len()).rev() {
        shuffled.swap(end, rng.below(end + 1));
    }
    shuffled
}

proptest! {
    #![proptest_config(crate::heavy())]

    #[test]
    fn keys_spread_by_weight(weights in weights(), seed: u64) {
        let candidates = candidates(&weights, seed);
        let owners = fresh_owners(&candidates, seed);
        let total: u32 = weights.iter().sum();
        for candidate in &candidates {
            let count = owners.iter().flatten().filter(|owner| **owner == candidate.identity).count() as f64;
            let share = f64::from(candidate.weight) / f64::from(total.max(1));
            let sigma = (KEYS as f64 * share * (1.0 - share)).sqrt();
            let off = (count - share * KEYS as f64).abs();
            prop_assert!(off <= 6.5 * sigma + 0.005 * KEYS as f64, "{:?}: {} of {}", weights, count, KEYS);
        }
    }

    #[test]
    fn the_order_of_candidates_changes_nothing(weights in weights(), set: u64, seed: u64) {
        let one = candidates(&weights, seed);
        let two = shuffled(&one, set);
        let healthy: HashSet<u64> =
            one.iter().enumerate().filter(|(index, _c)| set >> index & 1 == 1).map(|(_index, c)| c.identity).collect();
        let owners = [one, two].map(|list| {
            let mut balancer = Balancer::new(Policy::Hash, &list);
            let all = owners(&mut balancer, &list, seed);
            let eligible: Vec<bool> = list.iter().map(|candidate| healthy.contains(&candidate.identity)).collect();
            balancer.set_eligible(&eligible);
            (all, owners(&mut balancer, &list, seed))
        });
        prop_assert_eq!(&owners[0], &owners[1]);
    }

    #[test]
    fn health_moves_only_the_keys_it_must(weights in weights(), sets in prop::collection::vec(any::<u64>(), 1..6), seed: u64) {
        let list = candidates(&weights, seed);
        let mut balancer = Balancer::new(Policy::Hash, &list);
        let home = owners(&mut balancer, &list, seed);
        let mut before = (home.clone(), u64::MAX);
        for set in sets {
            let eligible = |index: usize, set: u64| set >> index & 1 == 1;
            let open: Vec<bool> = (0..list.len()).map(|index| eligible(index, set)).collect();
            balancer.set_eligible(&open);
            let now = owners(&mut balancer, &list, seed);
            let is_open = |owner: &Option<u64>| list.iter().zip(&open).any(|(c, ok)| *ok && Some(c.identity) == *owner);
            for ((at_home, was), is) in home.iter().zip(&before.0).zip(&now) {
                prop_assert!(!is_open(at_home) || is == at_home, "its own candidate is well");
                // Whether nothing has come back: then a key that was well placed stays.
                let nothing_new = set & !before.1 == 0;
                prop_assert!(!nothing_new || !is_open(was) || is == was, "where it went is well");
            }
            before = (now, set);
        }
    }

    #[test]
    fn a_changed_list_moves_little_more_than_it_must(
        count in 2usize..30,
        weight in 1u32..1000,
        left_out in any::<prop::sample::Index>(),
        seed: u64,
    ) {
        let all = candidates(&vec![weight; count], seed);
        let left_out = left_out.index(count);
        let mut fewer = all.clone();
        let gone = fewer.remove(left_out).identity;
        let (before, after) = (fresh_owners(&all, seed), fresh_owners(&fewer, seed));
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is && **was != Some(gone)).count();
        prop_assert!(moved as f64 <= 0.04 * KEYS as f64, "{} of {} keys moved for one of {}", moved, KEYS, count);
    }
}
