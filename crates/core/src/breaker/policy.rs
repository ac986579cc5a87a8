//! By what a breaker goes.

use std::time::Duration;

use super::window::Span;

/// When a breaker opens, and how it closes again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Which calls are judged.
    pub window: Span,
    /// Rates say nothing while fewer calls than this are in the window; at least 1.
    pub min_calls: u32,
    /// Share of failed calls at which it opens, 0 to 1; `None` leaves it out.
    pub failure_rate: Option<f64>,
    /// Failures in a row at which it opens; `None` leaves it out.
    pub consecutive: Option<u32>,
    /// Share of slow calls at which it opens; `None` leaves it out.
    pub slow: Option<Slow>,
    /// How long it stays open the first time; doubled each time that it opens again without having been closed for as
    /// long as it was open.
    pub open_for: Duration,
    /// It never stays open longer, jitter aside.
    pub open_max: Duration,
    /// Share of the time by which it may stay open longer, at random, so that many gateways do not probe at once; 0 to 1.
    pub jitter: f64,
    /// Calls that HalfOpen lets through, all of which must succeed; 1 to [`PROBES_MAX`].
    pub probes: u32,
    /// A call let through by HalfOpen that has not ended after this long has failed.
    pub probe_timeout: Duration,
    /// How long the share of calls grows after HalfOpen; zero lets everything through at once.
    pub ramp: Duration,
}

/// When calls are slow, and how many may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// Share of the calls at which the breaker opens, 0 to 1.
    pub rate: f64,
    /// A call that takes longer is slow.
    pub after: Duration,
}

/// Calls that HalfOpen may let through, at most.
pub const PROBES_MAX: u32 = 100;
impl Default for Policy {
    fn default() -> Self {
        Self {
            window: Span::Time(Duration::from_secs(10)),
            min_calls: 20,
            failure_rate: Some(0.5),
            consecutive: None,
            slow: None,
            open_for: Duration::from_secs(5),
            open_max: Duration::from_secs(60),
            jitter: 0.1,
            probes: 3,
            probe_timeout: Duration::from_secs(10),
            ramp: Duration::from_secs(10),
        }
    }
}

impl Policy {
    /// The textbook's: open when half of the calls fail, for one minute, then one call decides.
    pub const CLASSIC: Self = Self {
        window: Span::Time(Duration::from_secs(10)),
        min_calls: 10,
        failure_rate: Some(0.5),
        consecutive: None,
        slow: None,
        open_for: Duration::from_secs(60),
        open_max: Duration::from_secs(60),
        jitter: 0.0,
        probes: 1,
        probe_timeout: Duration::from_secs(60),
        ramp: Duration::ZERO,
    };

    pub(super) fn is_slow(&self, took: Duration) -> bool {
        self.slow.is_some_and(|slow| took > slow.after)
    }
}
