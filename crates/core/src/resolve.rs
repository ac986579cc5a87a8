//! Names of endpoints: which of its addresses a name stands for now, which endpoints an answer makes, and when to ask again.

use std::time::Duration;

use crate::random::Rng;

pub mod members;

/// Addresses of a name that are kept, at most. An answer may hold more; nobody tries that many in turn.
pub const ADDRESSES_MAX: usize = 32;

/// How long answers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// An answer holds at least this long, whatever its time to live says.
    pub min_ttl: Duration,
    /// And at most this long.
    pub max_ttl: Duration,
    /// The wait after the first answer in a row that was empty or failed; doubled for each further one.
    pub retry: Duration,
    /// The wait that this does not exceed.
    pub retry_cap: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            retry: Duration::from_secs(1),
            retry_cap: Duration::from_secs(10),
        }
    }
}

/// When a name is asked for again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    failures: u32,
}

impl Schedule {
    /// How long an answer with this time to live holds. Failures before it are forgotten.
    pub fn answered(&mut self, policy: &Policy, ttl: Duration) -> Duration {
        self.failures = 0;
        ttl.max(policy.min_ttl).min(policy.max_ttl)
    }

    /// How long to wait after an answer that was empty or failed. Up to a quarter is random, so that many names that fail by
    /// the same cause do not ask in step.
    pub fn failed(&mut self, policy: &Policy, rng: &mut Rng) -> Duration {
        let doubled = policy.retry.saturating_mul(1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        doubled.min(policy.retry_cap).mul_f64(0.75 + 0.25 * rng.unit())
    }
}

/// What an answer changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<A> {
    /// Nothing.
    Nothing,
    /// The present address is still there; some of the others are not the same.
    Others,
    /// Another address is the present one.
    Moved {
        /// The one before; `None` for the first answer.
        from: Option<A>,
        /// The one now.
        to: A,
    },
}

/// The addresses of a name, the present one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses<A> {
    known: Vec<A>,
}

impl<A> Default for Addresses<A> {
    fn default() -> Self {
        Self { known: Vec::new() }
    }
}

impl<A: Clone + Eq> Addresses<A> {
    /// The address in use.
    pub fn present(&self) -> Option<&A> {
        self.known.first()
    }

    /// All addresses of the last good answer, the present one first; then in the order in which they are tried.
    pub fn all(&self) -> &[A] {
        &self.known
    }

    /// Takes an answer. The present address stays for as long as it is in the answer: a name server that shuffles its answers
    /// must move nobody. An empty answer changes nothing.
    pub fn answered(&mut self, answer: &[A]) -> Change<A> {
        let mut fresh: Vec<A> = Vec::with_capacity(answer.len().min(ADDRESSES_MAX));
        let present = self.present().filter(|present| answer.contains(present)).cloned();
        for address in present.iter().chain(answer) {
            if fresh.len() < ADDRESSES_MAX && !fresh.contains(address) {
                fresh.push(address.clone());
            }
        }
        let Some(first) = fresh.first().cloned() else { return Change::Nothing };
        let from = self.present().cloned();
        let same_set = fresh.len() == self.known.len() && fresh.iter().all(|address| self.known.contains(address));
        if present.is_some() && same_set {
            // The order in which the others are tried stays too.
            return Change::Nothing;
        }
        self.known = fresh;
        if present.is_some() { Change::Others } else { Change::Moved { from, to: first } }
    }

    /// The present address cannot be reached: the next one is the present one now, and this one the last to be tried again.
    /// `None` if there is no other.
    pub fn try_next(&mut self) -> Option<&A> {
        if self.known.len() < 2 {
            return None;
        }
        self.known.rotate_left(1);
        self.present()
    }
}

#[cfg(test)]
mod tests;
