//! Choosing an endpoint. (behaviour to be written)

use crate::random::Rng;

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
pub struct Balancer {}

impl Balancer {
    /// A balancer over `candidates`, all of them eligible.
    pub fn new(_policy: Policy, _candidates: &[Candidate]) -> Self {
        Self {}
    }

    /// Says which candidates may be picked. Called when health changes, never per request.
    pub fn set_eligible(&mut self, _eligible: &[bool]) {}

    /// Picks an eligible candidate that `excluded` does not hold; `None` if there is none.
    ///
    /// `key` is the hashed key of the request, for [`Policy::Hash`]; without one a random choice is made. `load` answers
    /// the number of requests in flight at a candidate.
    pub fn pick(
        &mut self,
        _key: Option<u64>,
        _load: impl Fn(usize) -> u32,
        _excluded: &[usize],
        _rng: &mut Rng,
    ) -> Option<usize> {
        None
    }
}
