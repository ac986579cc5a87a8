//! Choosing an endpoint.
//!
//! A pick allocates nothing; what it needs is prepared when eligibility changes.

mod maglev;
mod turns;

use crate::random::{Rng, mix};

/// How a service spreads its requests over its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Each endpoint in turn, in proportion to weights.
    RoundRobin,
    /// At random, in proportion to weights.
    Random,
    /// The less loaded of two random choices, weighted (Mitzenmacher 2001).
    LeastRequest,
    /// Consistent hashing of a key of the request (Maglev, NSDI 2016).
    Hash,
}

/// An endpoint as a balancer sees it. Its index in the list given to [`Balancer::new`] is its identity in picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Share of traffic relative to the others; 0 receives none.
    pub weight: u32,
    /// A stable hash of the endpoint's name, so that every node builds the same table.
    pub identity: u64,
}

/// The state of one service's balancer on one worker.
#[derive(Clone, Debug)]
pub struct Balancer {
    policy: Policy,
    candidates: Vec<Candidate>,
    /// By candidate: whether it may be picked (eligible, and of some weight).
    open: Vec<bool>,
    /// The open candidates, in order.
    live: Vec<usize>,
    /// Sums of the weights of `live` up to and with each; empty if all weigh the same.
    cumulative: Vec<u64>,
    /// For [`Policy::RoundRobin`].
    turns: turns::Turns,
    /// For [`Policy::Hash`].
    table: maglev::Table,
}

/// Draws that may hit an excluded candidate before all candidates are looked at. Excluded ones are few, so that a draw
/// nearly always succeeds.
const REDRAWS: usize = 4;

impl Balancer {
    /// A balancer over `candidates`, all of them eligible.
    pub fn new(policy: Policy, candidates: &[Candidate]) -> Self {
        let mut balancer = Self {
            policy,
            candidates: candidates.to_vec(),
            open: Vec::new(),
            live: Vec::new(),
            cumulative: Vec::new(),
            turns: turns::Turns::default(),
            table: match policy {
                Policy::Hash => maglev::Table::new(candidates),
                Policy::RoundRobin | Policy::Random | Policy::LeastRequest => maglev::Table::default(),
            },
        };
        balancer.set_eligible(&vec![true; candidates.len()]);
        balancer
    }

    /// Says which candidates may be picked; one that the list does not reach may not. Called when health changes, never
    /// per request.
    pub fn set_eligible(&mut self, eligible: &[bool]) {
        let given = eligible.iter().chain(std::iter::repeat(&false));
        self.open = self.candidates.iter().zip(given).map(|(candidate, ok)| *ok && candidate.weight > 0).collect();
        self.live = (0..self.candidates.len()).filter(|index| self.open[*index]).collect();
        self.cumulative.clear();
        if !all_equal(&self.candidates, &self.live) {
            let mut sum = 0;
            self.cumulative.extend(self.live.iter().map(|index| {
                sum += u64::from(self.candidates[*index].weight);
                sum
            }));
        }
        if self.policy == Policy::RoundRobin {
            self.turns.set_live(&self.candidates, &self.live, self.cumulative.is_empty());
        }
    }

    /// Picks an eligible candidate that `excluded` does not hold; `None` if there is none.
    ///
    /// `key` is the hashed key of the request, for [`Policy::Hash`]; without one a random choice is made. `load` answers
    /// the number of requests in flight at a candidate.
    pub fn pick(
        &mut self,
        key: Option<u64>,
        load: impl Fn(usize) -> u32,
        excluded: &[usize],
        rng: &mut Rng,
    ) -> Option<usize> {
        match (self.policy, key) {
            (Policy::RoundRobin, _) => self.turns.pick(&self.live, excluded, rng),
            (Policy::LeastRequest, _) => self.less_loaded(load, excluded, rng),
            (Policy::Hash, Some(key)) => self.by_key(key, excluded),
            (Policy::Hash, None) | (Policy::Random, _) => self.draw(excluded, None, rng),
        }
    }

    /// The weights decide who is drawn, and loads relative to weights decide between two. While loads are equal the first
    /// stays, so that weights also hold when nothing is in flight.
    fn less_loaded(&self, load: impl Fn(usize) -> u32, excluded: &[usize], rng: &mut Rng) -> Option<usize> {
        let first = self.draw(excluded, None, rng)?;
        let Some(second) = self.draw(excluded, Some(first), rng) else { return Some(first) };
        // load / weight, compared without dividing.
        let scaled = |index: usize, other: usize| u64::from(load(index)) * u64::from(self.candidates[other].weight);
        Some(if scaled(second, first) < scaled(first, second) { second } else { first })
    }

    /// The owner of the key's slot; if it may not be picked, that of another slot of the key, so that its keys spread over
    /// all others while theirs stay.
    fn by_key(&self, key: u64, excluded: &[usize]) -> Option<usize> {
        let may = |index: &usize| self.open[*index] && !excluded.contains(index);
        self.table.walk(key).find(may).or_else(|| {
            // Nearly all are out. Rendezvous hashing among the rest also keeps the keys where they are.
            let rest = self.live.iter().copied().filter(may);
            rest.max_by_key(|index| mix(key ^ mix(self.candidates[*index].identity)))
        })
    }

    /// A random open candidate, in proportion to weights, that is neither `excluded` nor `besides`.
    fn draw(&self, excluded: &[usize], besides: Option<usize>, rng: &mut Rng) -> Option<usize> {
        let may = |index: &usize| Some(*index) != besides && !excluded.contains(index);
        if self.live.is_empty() {
            return None;
        }
        let drawn = (0..REDRAWS).map(|_draw| self.draw_any(rng)).find(may);
        drawn.or_else(|| {
            let rest = || self.live.iter().copied().filter(may).map(|index| (index, self.candidates[index].weight));
            let total: u64 = rest().map(|(_index, weight)| u64::from(weight)).sum();
            let mut left = rng.below(total as usize) as u64;
            for (index, weight) in rest() {
                if left < u64::from(weight) {
                    return Some(index);
                }
                left -= u64::from(weight);
            }
            None
        })
    }

    /// A random one of `live`, which is not empty.
    fn draw_any(&self, rng: &mut Rng) -> usize {
        let at = match self.cumulative.last() {
            None => rng.below(self.live.len()),
            Some(total) => {
                let point = rng.below(*total as usize) as u64;
                self.cumulative.partition_point(|sum| *sum <= point)
            }
        };
        self.live[at]
    }
}

fn all_equal(candidates: &[Candidate], live: &[usize]) -> bool {
    live.windows(2).all(|pair| candidates[pair[0]].weight == candidates[pair[1]].weight)
}

#[cfg(test)]
mod tests;
