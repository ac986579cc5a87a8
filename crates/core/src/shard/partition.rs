//! Endpoints dealt out to partitions: as many to each as possible, also of each zone, and with few moves when one comes or
//! goes.

use super::{PARTITIONS_MAX, Ranked};
use crate::random::mix;

/// The members of each of `count` partitions, by index. Every zone deals out its members in shares that differ by one at
/// most, and so do the partitions' sizes.
pub(super) fn deal(members: &[Ranked], zones: &[u64], count: usize) -> Vec<Vec<usize>> {
    let count = count.clamp(1, PARTITIONS_MAX);
    let mut partitions = vec![Vec::new(); count];
    for (number, zone) in zones.iter().enumerate() {
        let own: Vec<usize> = (0..members.len()).filter(|index| members[*index].zone == number).collect();
        let mut room = vec![own.len() / count; count];
        // What is left over goes where there is least so far.
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|partition| (partitions[*partition].len(), mix(*zone ^ mix(*partition as u64))));
        for partition in order.into_iter().take(own.len() % count) {
            room[partition] += 1;
        }
        settle(members, &own, &mut room, &mut partitions);
    }
    for partition in &mut partitions {
        partition.sort_unstable();
    }
    partitions
}

/// Gives every pair of a member and a partition a score, and takes pairs from the highest down while the member is free and
/// the partition has room. A pair stays together as long as nobody that it prefers becomes free, so that few move.
fn settle(members: &[Ranked], own: &[usize], room: &mut [usize], partitions: &mut [Vec<usize>]) {
    let mut pairs: Vec<(u64, u64, usize, usize)> = Vec::with_capacity(own.len() * room.len());
    for index in own {
        let identity = members[*index].identity;
        let scored =
            (0..room.len()).map(|partition| (mix(identity ^ mix(partition as u64)), identity, *index, partition));
        pairs.extend(scored);
    }
    pairs.sort_unstable_by(|one, other| other.cmp(one));
    let mut is_settled = vec![false; members.len()];
    for (_score, _identity, index, partition) in pairs {
        if !is_settled[index] && room[partition] > 0 {
            is_settled[index] = true;
            room[partition] -= 1;
            partitions[partition].push(index);
        }
    }
}
