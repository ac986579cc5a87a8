use std::collections::HashSet;

use mainstay_core::random::Rng;
use mainstay_core::shard::{Member, Policy, Shards};
use proptest::prelude::*;

const TENANTS: u64 = 300;

fn members(count: usize, zones: usize, seed: u64) -> Vec<Member> {
    let mut rng = Rng::seeded(seed);
    (0..count).map(|_member| Member { identity: rng.next_u64(), zone: rng.below(zones) as u64 }).collect()
}

/// The shard of each of many tenants, by identity.
fn shards(policy: Policy, members: &[Member], seed: u64) -> Vec<HashSet<u64>> {
    let mut shards = Shards::new(policy, members);
    let mut tenants = Rng::seeded(seed ^ 0x7e4a47);
    let mut identities =
        |tenant: u64| shards.of(tenant).iter().map(|index| members[*index].identity).collect::<HashSet<u64>>();
    (0..TENANTS).map(|_tenant| identities(tenants.next_u64())).collect()
}

fn shuffle(size: usize) -> Policy {
    Policy::Shuffle { size, max_overlap: None }
}

proptest! {
    #![proptest_config(crate::heavy())]

    #[test]
    fn only_tenants_that_touch_an_endpoint_move_when_it_leaves_or_comes(
        count in 1usize..24, zones in 1usize..5, size in 1usize..6, left in any::<prop::sample::Index>(), seed: u64
    ) {
        let all = members(count, zones, seed);
        let left = left.index(count);
        let rest: Vec<Member> = all.iter().copied().filter(|member| member.identity != all[left].identity).collect();
        let (with, without) = (shards(shuffle(size), &all, seed), shards(shuffle(size), &rest, seed));
        for (with, without) in with.iter().zip(&without) {
            if with.contains(&all[left].identity) {
                // One goes; one takes its place as long as there is another.
                prop_assert!(without.difference(with).count() <= 1);
                prop_assert!(with.difference(without).count() <= 1);
            } else {
                prop_assert_eq!(with, without);
            }
        }
    }

    #[test]
    fn shards_have_their_size_and_spread_over_zones(
        count in 1usize..24, zones in 1usize..5, size in 1usize..6, seed: u64
    ) {
        let all = members(count, zones, seed);
        let zone_of = |identity: &u64| all.iter().find(|member| member.identity == *identity).map(|member| member.zone);
        for shard in shards(shuffle(size), &all, seed) {
            prop_assert_eq!(shard.len(), size.min(count));
            for one in 0..zones as u64 {
                for other in 0..zones as u64 {
                    let has = |zone: u64| shard.iter().filter(|it| zone_of(it) == Some(zone)).count();
                    let exhausted = has(other) == all.iter().filter(|member| member.zone == other).count();
                    prop_assert!(has(one) <= has(other) + 1 || exhausted, "zones {one} and {other}: {shard:?}");
                }
            }
        }
    }

    #[test]
    fn endpoints_are_used_alike(count in 2usize..16, size in 1usize..4, seed: u64) {
        let all = members(count, 1, seed);
        let shards = shards(shuffle(size), &all, seed);
        let share = (size.min(count) as f64 / count as f64).min(1.0);
        let sigma = (TENANTS as f64 * share * (1.0 - share)).sqrt();
        for member in &all {
            let used = shards.iter().filter(|shard| shard.contains(&member.identity)).count() as f64;
            prop_assert!((used - share * TENANTS as f64).abs() <= 6.0 * sigma + 1.0, "{used} of {TENANTS} at {share}");
        }
    }

    #[test]
    fn the_order_of_endpoints_changes_nothing(
        count in 1usize..24, zones in 1usize..5, size in 1usize..6, overlap in prop::option::of(0usize..4), seed: u64
    ) {
        let all = members(count, zones, seed);
        let mut turned = all.clone();
        turned.rotate_left(count / 2);
        turned.reverse();
        for policy in [Policy::Shuffle { size, max_overlap: overlap }, Policy::Partition(size)] {
            prop_assert_eq!(shards(policy, &all, seed), shards(policy, &turned, seed));
        }
    }

    #[test]
    fn partitions_are_of_one_size(count in 1usize..40, zones in 1usize..5, partitions in 1usize..9, seed: u64) {
        let all = members(count, zones, seed);
        let mut seen: Vec<Vec<u64>> = shards(Policy::Partition(partitions), &all, seed)
            .into_iter()
            .map(|shard| {
                let mut shard: Vec<u64> = shard.into_iter().collect();
                shard.sort_unstable();
                shard
            })
            .collect();
        seen.sort();
        seen.dedup();
        for shard in &seen {
            prop_assert!((count / partitions..=count.div_ceil(partitions)).contains(&shard.len()), "{shard:?}");
        }
        let all: Vec<u64> = seen.into_iter().flatten().collect();
        let different: HashSet<u64> = all.iter().copied().collect();
        prop_assert_eq!(different.len(), all.len(), "no endpoint is in two partitions");
    }
}
