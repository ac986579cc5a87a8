//! The lookup table of Maglev (Eisenbud et al., NSDI 2016), weighted.

use std::sync::Arc;

use super::Candidate;
use crate::random::{Rng, mix};

/// Primes for the number of slots. Fifty slots for each candidate keep their shares within about two percent.
const SIZES: [usize; 3] = [8191, 65_537, 655_373];
const SLOTS_EACH: usize = 50;

/// Slots that a walk looks at. With nine of ten candidates out, the chance that it finds none is below 10^-11.
const WALK: usize = 256;

const EMPTY: u32 = u32::MAX;

/// Slots, each owned by a candidate (by index). Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(Arc<[u32]>);

/// A candidate while the table is filled: its next slots are `at`, `at + skip`, and so on, which comes by every slot.
struct Claimant {
    index: u32,
    weight: u64,
    at: usize,
    skip: usize,
    /// It claims a slot in each round that brings `round * weight` up to this.
    due: u64,
}

impl Table {
    /// The table over all candidates that have weight, eligible or not: it depends on their identities and weights alone.
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let size = size_for(candidates.len());
        let mut claimants: Vec<Claimant> = (0..EMPTY)
            .zip(candidates)
            .filter(|(_index, candidate)| candidate.weight > 0)
            .map(|(index, candidate)| Claimant {
                index,
                weight: u64::from(candidate.weight),
                at: (mix(candidate.identity) % size as u64) as usize,
                skip: (mix(!candidate.identity) % (size as u64 - 1)) as usize + 1,
                due: 0,
            })
            .collect();
        // Turns go by identity, so that every node fills the same table whatever order its configuration has.
        claimants.sort_by_key(|claimant| (candidates[claimant.index as usize].identity, claimant.index));
        Self(fill(size, &mut claimants).into())
    }

    /// Owners of the key's slot, then of slots drawn from the key: the order in which its candidates are asked.
    ///
    /// The slots next to the first would not do. Slots are claimed at regular distances, so that one candidate can follow
    /// another far more often than its share, and would inherit most of the other's keys.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let slots = if self.0.is_empty() { 0 } else { WALK };
        let mut draws = Rng::seeded(mix(key));
        (0..slots).map(move |_slot| self.0[draws.below(self.0.len())] as usize)
    }
}

fn size_for(candidates: usize) -> usize {
    let wanted = candidates.saturating_mul(SLOTS_EACH);
    SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(SIZES[SIZES.len() - 1])
}

fn fill(size: usize, claimants: &mut [Claimant]) -> Vec<u32> {
    let Some(heaviest) = claimants.iter().map(|claimant| claimant.weight).max() else { return Vec::new() };
    let mut slots = vec![EMPTY; size];
    let mut filled = 0;
    // In each round at least the heaviest claims a slot, so there are no more rounds than slots.
    for round in 0..size as u64 {
        for claimant in &mut *claimants {
            if round * claimant.weight < claimant.due {
                continue;
            }
            claimant.due += heaviest;
            while slots[claimant.at] != EMPTY {
                claimant.at = (claimant.at + claimant.skip) % size;
            }
            slots[claimant.at] = claimant.index;
            filled += 1;
            if filled == size {
                return slots;
            }
        }
    }
    slots
}
