//! What a breaker says of its changes.

use super::window::Tally;
use crate::time::Moment;

/// Where a breaker stands, as people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Calls are made.
    Closed,
    /// No call is made.
    Open,
    /// A few calls are made to see how they fare.
    HalfOpen,
    /// They fared well: a growing share of the calls is made.
    Ramping,
}

impl Phase {
    /// The word for logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Ramping => "ramping",
        }
    }
}

/// Why a breaker changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// Too large a share of the window's calls failed.
    FailureRate(Tally),
    /// Too large a share of the window's calls was slow.
    SlowRate(Tally),
    /// This many calls in a row failed.
    Consecutive(u32),
    /// A call that HalfOpen let through failed or was slow.
    ProbeFailed,
    /// A call that HalfOpen let through did not end in time.
    ProbeTimeout,
    /// The time to stay open is over.
    Waited,
    /// All calls that HalfOpen let through succeeded.
    ProbesPassed,
    /// The ramp reached everything.
    RampOver,
    /// An operator closed it.
    Reset,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FailureRate(tally) => write!(f, "{} of {} calls failed", tally.failed, tally.calls),
            Self::SlowRate(tally) => write!(f, "{} of {} calls were slow", tally.slow, tally.calls),
            Self::Consecutive(failures) => write!(f, "{failures} calls in a row failed"),
            Self::ProbeFailed => f.write_str("a call that was let through to try failed"),
            Self::ProbeTimeout => f.write_str("a call that was let through to try did not end in time"),
            Self::Waited => f.write_str("its time is over; a few calls are let through to try"),
            Self::ProbesPassed => f.write_str("the calls that were let through to try succeeded"),
            Self::RampOver => f.write_str("everything is let through again"),
            Self::Reset => f.write_str("closed by an operator"),
        }
    }
}

/// A change, for logs and whoever keeps a copy of the phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Where it stood.
    pub from: Phase,
    /// Where it stands.
    pub to: Phase,
    /// Why.
    pub why: Why,
    /// When it opens for calls again, for [`Phase::Open`].
    pub until: Option<Moment>,
}
