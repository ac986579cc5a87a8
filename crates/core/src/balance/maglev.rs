//! The lookup table of Maglev (Eisenbud et al., NSDI 2016), weighted, with one change: a candidate draws the slots it would
//! like from a generator seeded with its identity, where Maglev gives it a first slot and a stride. Strides of few
//! candidates can resonate: taking one of three out of the list has been seen to move 17 % of the other two's keys. Drawn
//! wishes stay below 3 %, whatever the identities.

use std::sync::Arc;

use super::Candidate;
use crate::random::{Rng, mix};

/// Numbers of slots. Fifty for each candidate keep their shares within about two percent.
const SIZES: [usize; 3] = [1 << 13, 1 << 16, 1 << 19];
const SLOTS_EACH: usize = 50;

/// Slots that a walk looks at. With nine of ten candidates out, the chance that it finds none is below 10^-11.
const WALK: usize = 256;

/// Slots that a candidate draws for one claim before it takes the next empty one; only the last few slots come to that.
const DRAWS: usize = 512;

const EMPTY: u32 = u32::MAX;

/// Slots, each owned by a candidate (by index). Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(Arc<[u32]>);

/// A candidate while the table is filled.
struct Claimant {
    index: u32,
    weight: u64,
    /// Where it would like its slots, in this order.
    wishes: Rng,
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
                wishes: Rng::seeded(mix(candidate.identity)),
                due: 0,
            })
            .collect();
        // Turns go by identity, so that every node fills the same table whatever order its configuration has.
        claimants.sort_by_key(|claimant| (candidates[claimant.index as usize].identity, claimant.index));
        Self(fill(size, &mut claimants).into())
    }

    /// Owners of the key's slot, then of slots drawn from the key: the order in which its candidates are asked.
    ///
    /// Each key draws its own, so that the keys of a failed candidate spread over all others by their shares.
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
    // In each round at least the heaviest claims a slot, so there are no more rounds than slots.
    for round in 0..size as u64 {
        for claimant in &mut *claimants {
            if round * claimant.weight < claimant.due {
                continue;
            }
            claimant.due += heaviest;
            let Some(slot) = next_wish(&slots, &mut claimant.wishes) else { return slots };
            slots[slot] = claimant.index;
        }
    }
    slots
}

/// An empty slot; `None` if there is none.
fn next_wish(slots: &[u32], wishes: &mut Rng) -> Option<usize> {
    let mut slot = 0;
    for _draw in 0..DRAWS {
        slot = wishes.below(slots.len());
        if slots[slot] == EMPTY {
            return Some(slot);
        }
    }
    (slot..slots.len()).chain(0..slot).find(|slot| slots[*slot] == EMPTY)
}
