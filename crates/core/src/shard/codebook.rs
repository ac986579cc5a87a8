//! Sets of endpoints of which no two share more than a bound: a code of constant weight, found greedily.

use super::{Drawing, Ranked};
use crate::random::mix;

/// Sets that are tried.
const TRIED: u64 = 4096;
/// Sets that are kept, at most.
const KEPT: usize = 1024;

/// A set, with what tenants choose it by.
#[derive(Clone, Debug)]
pub(super) struct Word {
    /// Follows from the members alone.
    name: u64,
    members: Vec<usize>,
}

/// Draws sets as tenants would, and keeps each that shares at most `most` members with all that were kept before. They are
/// looked at in an order of their own, which a change of members leaves as it is for all sets that it does not touch; so
/// most of the others are kept again.
pub(super) fn write(members: &[Ranked], size: usize, most: usize, drawing: &mut Drawing) -> Vec<Word> {
    let mut tried: Vec<Word> = Vec::new();
    for seed in 0..TRIED {
        drawing.draw(members, mix(seed), size);
        let mut drawn = drawing.drawn.clone();
        drawn.sort_unstable();
        let name = drawn.iter().fold(0_u64, |name, index| name.wrapping_add(mix(members[*index].identity)));
        tried.push(Word { name: mix(name), members: drawn });
    }
    tried.sort_by(|one, other| (one.name, &one.members).cmp(&(other.name, &other.members)));
    tried.dedup_by(|one, other| one.members == other.members);
    let mut kept: Vec<Word> = Vec::new();
    for word in tried {
        if kept.len() < KEPT && kept.iter().all(|other| shared(&word.members, &other.members) <= most) {
            kept.push(word);
        }
    }
    kept
}

/// The set of `tenant`, by rendezvous hashing among them: a set that goes moves its own tenants only.
pub(super) fn of(words: &[Word], tenant: u64) -> &[usize] {
    let best = words.iter().max_by_key(|word| (mix(tenant ^ word.name), word.name));
    best.map_or(&[], |word| &word.members)
}

/// How many two sorted lists have in common.
fn shared(one: &[usize], other: &[usize]) -> usize {
    let (mut one, mut other, mut shared) = (one.iter().peekable(), other.iter().peekable(), 0);
    while let (Some(left), Some(right)) = (one.peek(), other.peek()) {
        match left.cmp(right) {
            std::cmp::Ordering::Less => drop(one.next()),
            std::cmp::Ordering::Greater => drop(other.next()),
            std::cmp::Ordering::Equal => {
                shared += 1;
                one.next();
                other.next();
            }
        }
    }
    shared
}
