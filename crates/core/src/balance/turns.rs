//! Each in turn: a cursor if all weigh the same, else earliest deadline first over virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::random::Rng;

/// Virtual time between two turns of a candidate of weight 1. It is large to keep the quotients exact enough.
const STRIDE: u128 = 1 << 48;

/// Whose turn it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    /// Set at the first pick, which starts at random: workers that start together must not go in step.
    started: bool,
    order: Order,
    /// The candidate picked last.
    last: usize,
    /// Candidates taken from the heap because they are excluded, kept to use its memory again.
    aside: Vec<Turn>,
}

#[derive(Clone, Debug)]
enum Order {
    /// The next position among the live ones.
    Equal { next: usize },
    /// The next turn of each, and the virtual time now.
    Weighted { turns: BinaryHeap<Turn>, now: u128 },
}

impl Default for Order {
    fn default() -> Self {
        Self::Equal { next: 0 }
    }
}

/// The earliest is the greatest. Equal turns go by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at: Reverse<u128>,
    index: Reverse<usize>,
    stride: u128,
}

impl Turns {
    /// Takes over the live candidates. Those that stay keep their turn, or come sooner if they have gained weight.
    pub(super) fn set_live(&mut self, weights: &[u32], live: &[usize], equal: bool) {
        if equal {
            let next = live.partition_point(|index| *index <= self.last);
            self.order = Order::Equal { next: if next < live.len() { next } else { 0 } };
            return;
        }
        let (before, now) = match &self.order {
            Order::Equal { .. } => (&BinaryHeap::new(), 0),
            Order::Weighted { turns, now } => (turns, *now),
        };
        let mut known = vec![None; weights.len()];
        for turn in before {
            known[turn.index.0] = Some(*turn);
        }
        let turns: BinaryHeap<Turn> = live
            .iter()
            .map(|index| {
                let stride = STRIDE / u128::from(weights[*index].max(1));
                let fresh = now + stride;
                let at = known[*index].map_or(fresh, |turn: Turn| turn.at.0.min(fresh));
                Turn { at: Reverse(at), index: Reverse(*index), stride }
            })
            .collect();
        self.aside = Vec::with_capacity(turns.len());
        self.order = Order::Weighted { turns, now };
    }

    /// The next of `live` that is not excluded. A pick with exclusions is a retry and uses up nobody's turn: if it did, of
    /// two endpoints the failing one would come first in every request, since each retry would bring the turn back to it.
    pub(super) fn pick(&mut self, live: &[usize], excluded: &[usize], rng: &mut Rng) -> Option<usize> {
        if live.is_empty() {
            return None;
        }
        if !std::mem::replace(&mut self.started, true) {
            for _skipped in 0..rng.below(live.len()) {
                self.order.advance(live, &[], &mut self.aside);
            }
        }
        let picked = self.order.advance(live, excluded, &mut self.aside)?;
        if excluded.is_empty() {
            self.last = picked;
        }
        Some(picked)
    }
}

impl Order {
    fn advance(&mut self, live: &[usize], excluded: &[usize], aside: &mut Vec<Turn>) -> Option<usize> {
        match self {
            Self::Equal { next } => {
                let (before, after) = live.split_at(*next);
                let steps = after.iter().chain(before).position(|index| !excluded.contains(index))?;
                let at = (*next + steps) % live.len();
                if excluded.is_empty() {
                    *next = (at + 1) % live.len();
                }
                Some(live[at])
            }
            Self::Weighted { turns, now } => {
                let picked = loop {
                    let Some(mut top) = turns.peek_mut() else { break None };
                    if !excluded.contains(&top.index.0) {
                        if excluded.is_empty() {
                            *now = top.at.0;
                            top.at.0 += top.stride;
                        }
                        break Some(top.index.0);
                    }
                    aside.push(std::collections::binary_heap::PeekMut::pop(top));
                };
                // They keep their turn, and take it once they are not excluded.
                turns.extend(aside.drain(..));
                picked
            }
        }
    }
}
