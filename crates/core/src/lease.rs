//! Leases: how long a node may believe that something is its own.
//!
//! A node has one lease at the coordinator, its [`Session`]; each [`Role`] that it holds is a key that goes with the lease.
//! The coordinator keeps a lease for at least its time to live after it was asked for it. The node counts from the same
//! moment, a little faster than its clock does, and stops before the coordinator may give the key to another:
//!
//! ```text
//! asked                                      deadline       expiry        the coordinator ends it, at the earliest
//!   |--------------- it acts ------------------|-- it stops --|-- drift --|-- guard, then the next one acts
//!   |                                          |<stop budget >|           |
//!   |<------------------------------- time to live ---------------------->|
//! ```
//!
//! A process that is stopped passes its deadline without noticing. Whatever acts for it must therefore be ended from
//! outside at `expiry`: by the kernel (an address's lifetime), by another process, or by checking the token.

mod role;
mod session;

use std::time::Duration;

use crate::backoff;
use crate::time::Moment;

pub use role::{Role, Why};
pub use session::{Reason, Session};

/// Inputs and outputs of [`Session`].
pub mod renewal {
    pub use super::session::{Input, Output};
}

/// Inputs and outputs of [`Role`].
pub mod holding {
    pub use super::role::{Input, Output, Seen};
}

/// A fencing token: each holder's is greater than that of all before it.
pub type Token = u64;

/// The times of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How long the coordinator keeps the lease after a renewal was sent.
    pub ttl: Duration,
    /// Time between renewals.
    pub renew: Duration,
    /// How long an answer of the coordinator is waited for.
    pub rpc: Duration,
    /// By how many parts in a million two clocks may differ in their speed.
    pub drift_ppm: u32,
    /// How long it may take to stop what the lease allows.
    pub stop_budget: Duration,
    /// How long a new holder waits before it acts.
    pub guard: Duration,
    /// Waits after what failed.
    pub retry: backoff::Policy,
}

/// Drift that is allowed for: ten times what a broken crystal does.
pub const DRIFT_PPM: u32 = 5_000;

/// Why a policy makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// Three renewals and an answer do not fit into the time to live.
    RenewedTooRarely,
    /// What is left to act in after the stop budget is shorter than a renewal and its answer.
    StopsTooEarly,
    /// There is no time between renewals, so that they would never end.
    NoPause,
}

impl Policy {
    /// Whether renewals fit into the time to live, with room for two that are lost.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self) -> Result<(), Unsound> {
        let acting = self.counted(self.ttl).saturating_sub(self.stop_budget);
        if self.renew.is_zero() {
            Err(Unsound::NoPause)
        } else if self.renew.saturating_mul(3).saturating_add(self.rpc) > self.ttl {
            Err(Unsound::RenewedTooRarely)
        } else if self.renew.saturating_add(self.rpc) > acting {
            Err(Unsound::StopsTooEarly)
        } else {
            Ok(())
        }
    }

    /// When a lease that was asked for at `sent` and lives for `ttl` must no longer be acted on.
    pub fn term(&self, lease: i64, sent: Moment, ttl: Duration) -> Term {
        let counted = self.counted(ttl);
        Term {
            lease,
            deadline: sent.after(counted.saturating_sub(self.stop_budget)),
            expiry: sent.after(counted.max(self.stop_budget)),
        }
    }

    /// How often the clock is looked at while something is held, so that one that was set back is noticed before what it
    /// gives away exceeds the guard.
    fn look(&self) -> Duration {
        self.guard.clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    fn counted(&self, ttl: Duration) -> Duration {
        ttl.saturating_sub(ttl.mul_f64(f64::from(self.drift_ppm) / 1e6))
    }

    fn pause(&self, failures: u32, rng: &mut crate::random::Rng) -> Duration {
        if self.retry.cap.is_zero() {
            return Duration::ZERO;
        }
        backoff::delay(&self.retry, failures, rng).max(self.retry.base / 2)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ttl: Duration::from_millis(2600),
            renew: Duration::from_millis(500),
            rpc: Duration::from_millis(700),
            drift_ppm: DRIFT_PPM,
            stop_budget: Duration::from_millis(300),
            guard: Duration::from_millis(200),
            retry: backoff::Policy { base: Duration::from_millis(50), cap: Duration::from_millis(500) },
        }
    }
}

/// How long a lease may be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// The lease, as the coordinator names it.
    pub lease: i64,
    /// From here on nothing new is done, and what is under way is stopped.
    pub deadline: Moment,
    /// By then it has stopped. Whoever enforces the lease from outside does it here.
    pub expiry: Moment,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_term_is_counted_from_the_sending_and_ends_before_the_lease() {
        let policy = Policy::default();
        let term = policy.term(7, Moment::from_millis(1000), ms(2600));
        assert_eq!(term.expiry, Moment::from_millis(1000 + 2587));
        assert_eq!(term.deadline, Moment::from_millis(1000 + 2287));
        // One that is shorter than the stop budget allows nothing at all.
        let none = policy.term(7, Moment::from_millis(1000), ms(200));
        assert_eq!(none.deadline, Moment::from_millis(1000));
    }

    #[test]
    fn policies_that_lose_a_lease_by_one_lost_message_are_refused() {
        let sound = Policy::default();
        assert_eq!(sound.check(), Ok(()));
        for (policy, wrong) in [
            (Policy { renew: ms(700), ..sound }, Unsound::RenewedTooRarely),
            (Policy { rpc: ms(1200), ..sound }, Unsound::RenewedTooRarely),
            (Policy { stop_budget: ms(1500), ..sound }, Unsound::StopsTooEarly),
            (Policy { renew: ms(0), ..sound }, Unsound::NoPause),
        ] {
            assert_eq!(policy.check(), Err(wrong), "{policy:?}");
        }
    }
}
