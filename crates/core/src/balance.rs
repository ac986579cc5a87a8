//! Choosing an endpoint.
//!
//! A pick allocates nothing; what it needs is prepared when eligibility changes.
//!
//! Besides its configured weight a candidate has a share of it that it gets just now ([`Share`]): one that is eased out, that
//! has just recovered or that stands in another zone gets less. A share of nothing takes it out.

mod bounded;
mod ewma;
mod lost;
mod maglev;
mod penalty;
mod share;
mod turns;
mod within;

use crate::random::{Rng, mix};

pub use ewma::PeakEwma;
pub use penalty::Penalty;
pub use share::Share;

/// How a service spreads its requests over its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Each endpoint in turn, in proportion to weights.
    RoundRobin,
    /// At random, in proportion to weights.
    Random,
    /// The less loaded of two random choices, weighted (Mitzenmacher 2001).
    LeastRequest,
    /// The cheaper of two random choices by [`PeakEwma`], weighted: recent latency times requests in flight.
    PeakEwma,
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

/// What is asked of a pick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The hashed key of the request, for [`Policy::Hash`]; without one a random choice is made.
    pub key: Option<u64>,
    /// Candidates that must not be picked.
    pub excluded: &'a [usize],
    /// The only candidates that may be picked, a short list without repetitions; `None` for all. Within such a list
    /// [`Policy::RoundRobin`] picks at random by weight, since a turn belongs to the whole service.
    pub within: Option<&'a [usize]>,
}

/// What a balancer asks about candidates while it picks.
pub trait Loads {
    /// Requests in flight at the candidate.
    fn in_flight(&self, index: usize) -> u32;

    /// What one more request there costs, in any unit: the cheaper of two is picked.
    fn cost(&self, index: usize) -> u64 {
        u64::from(self.in_flight(index))
    }
}

impl<F: Fn(usize) -> u32> Loads for F {
    fn in_flight(&self, index: usize) -> u32 {
        self(index)
    }
}

/// The state of one service's balancer on one worker.
#[derive(Clone, Debug)]
pub struct Balancer {
    policy: Policy,
    candidates: Vec<Candidate>,
    /// By candidate: the share of its weight that it gets.
    shares: Vec<Share>,
    /// By candidate: its weight times its share in thousandths; 0 if it may not be picked.
    weights: Vec<u32>,
    /// The open candidates, in order.
    live: Vec<usize>,
    /// Sums of the weights of `live` up to and with each; empty if all weigh the same.
    cumulative: Vec<u64>,
    /// For [`Policy::RoundRobin`].
    turns: turns::Turns,
    /// For [`Policy::Hash`].
    table: maglev::Table,
    /// For [`Policy::Hash`]: how far above the mean a candidate may be loaded.
    bound: Option<f64>,
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
            shares: Vec::new(),
            weights: Vec::new(),
            live: Vec::new(),
            cumulative: Vec::new(),
            turns: turns::Turns::default(),
            table: match policy {
                Policy::Hash => maglev::Table::new(candidates),
                Policy::RoundRobin | Policy::Random | Policy::LeastRequest | Policy::PeakEwma => {
                    maglev::Table::default()
                }
            },
            bound: None,
        };
        balancer.set_eligible(&vec![true; candidates.len()]);
        balancer
    }

    /// With [`Policy::Hash`], no candidate is given more than `factor` times its part of the requests in flight while another
    /// one has room (Mirrokni, Thorup, Zadimoghaddam 2018). A factor below 1 counts as 1.
    #[must_use]
    pub fn bounded(mut self, factor: Option<f64>) -> Self {
        self.bound = factor.map(|factor| factor.max(1.0));
        self
    }

    /// Says which candidates may be picked, each at its full weight; one that the list does not reach may not.
    pub fn set_eligible(&mut self, eligible: &[bool]) {
        let shares: Vec<Share> = eligible.iter().map(|ok| if *ok { Share::FULL } else { Share::NONE }).collect();
        self.set_shares(&shares);
    }

    /// Says how much of its weight each candidate gets; one that the list does not reach gets nothing. Called when health
    /// changes, never per request.
    pub fn set_shares(&mut self, shares: &[Share]) {
        self.shares.clear();
        self.shares.extend(shares.iter().take(self.candidates.len()));
        self.shares.resize(self.candidates.len(), Share::NONE);
        self.weights = self.candidates.iter().zip(&self.shares).map(|(it, share)| share.of(it.weight)).collect();
        self.live = (0..self.candidates.len()).filter(|index| self.weights[*index] > 0).collect();
        self.cumulative.clear();
        if !self.live.windows(2).all(|pair| self.weights[pair[0]] == self.weights[pair[1]]) {
            let mut sum = 0;
            self.cumulative.extend(self.live.iter().map(|index| {
                sum += u64::from(self.weights[*index]);
                sum
            }));
        }
        if self.policy == Policy::RoundRobin {
            self.turns.set_live(&self.weights, &self.live, self.cumulative.is_empty());
        }
    }

    /// Picks an eligible candidate, as `wanted` says; `None` if there is none.
    pub fn pick(&mut self, wanted: &Wanted<'_>, loads: &impl Loads, rng: &mut Rng) -> Option<usize> {
        if let Some(within) = wanted.within {
            return self.pick_within(within, wanted, loads, rng);
        }
        let excluded = wanted.excluded;
        match (self.policy, wanted.key) {
            (Policy::RoundRobin, _) => self.turns.pick(&self.live, excluded, rng),
            (Policy::LeastRequest | Policy::PeakEwma, _) => {
                let first = self.draw(excluded, None, rng)?;
                let second = self.draw(excluded, Some(first), rng);
                Some(second.map_or(first, |second| self.cheaper(first, second, loads)))
            }
            (Policy::Hash, Some(key)) => self.by_key(key, excluded, loads),
            (Policy::Hash, None) | (Policy::Random, _) => self.draw(excluded, None, rng),
        }
    }

    /// Weights decide who is drawn, and costs relative to weights decide between two. While they are equal the first stays,
    /// so that weights also hold when nothing is in flight.
    fn cheaper(&self, first: usize, second: usize, loads: &impl Loads) -> usize {
        // cost / weight, compared without dividing.
        let scaled = |cost: u64, other: usize| u128::from(cost) * u128::from(self.weights[other]);
        let (first_cost, second_cost) = (loads.cost(first), loads.cost(second));
        if scaled(second_cost, first) < scaled(first_cost, second) { second } else { first }
    }

    /// The owner of the key's slot; if it may not be picked, that of another slot of the key, so that its keys spread over
    /// all others while theirs stay.
    fn by_key(&self, key: u64, excluded: &[usize], loads: &impl Loads) -> Option<usize> {
        let may = |index: &usize| self.weights[*index] > 0 && !excluded.contains(index);
        let takes = |index: &usize| may(index) && self.shares[*index].takes(key, self.candidates[*index].identity);
        let chosen = match self.bound {
            None => self.table.walk(key).find(takes),
            Some(factor) => {
                let room = self.room(factor, loads);
                self.table.walk(key).find(|index| takes(index) && room.is_left_at(*index, self.weights[*index], loads))
            }
        };
        // Whoever takes only some of its keys, or is loaded, is better than nobody.
        let chosen = chosen.or_else(|| self.table.walk(key).find(may));
        chosen.or_else(|| {
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
        drawn.or_else(|| self.draw_among(|| self.live.iter().copied().filter(may), rng))
    }

    /// A random one of those listed, in proportion to weights.
    fn draw_among<I: Iterator<Item = usize>>(&self, listed: impl Fn() -> I, rng: &mut Rng) -> Option<usize> {
        let total: u64 = listed().map(|index| u64::from(self.weights[index])).sum();
        let mut left = rng.below(total as usize) as u64;
        for index in listed() {
            let weight = u64::from(self.weights[index]);
            if left < weight {
                return Some(index);
            }
            left -= weight;
        }
        None
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

#[cfg(test)]
mod tests;
