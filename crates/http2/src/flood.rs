//! Limits on what a peer may make us do for nothing: frames that cost us work and it none.
//!
//! Each kind of abuse draws from an allowance that fills with time and with honest use: a client that mostly finishes its
//! requests may cancel some at any rate, one that only cancels may not (rapid reset, CVE-2023-44487; the floods of
//! CVE-2019-9511 to 9518; CONTINUATION, CVE-2024-27316).

use crate::frame::Code;
use crate::{ConnectionError, broken};

/// A bounded allowance.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    most: u32,
    per_second: u32,
    /// Milliseconds of the last refill.
    filled: u64,
}

impl Allowance {
    const fn new(most: u32, per_second: u32, now: u64) -> Self {
        Self { left: most, most, per_second, filled: now }
    }

    fn earn(&mut self, by: u32) {
        self.left = self.left.saturating_add(by).min(self.most);
    }

    /// Draws one. `false` if there is none left.
    fn draw(&mut self, now: u64) -> bool {
        if self.left == 0 {
            let elapsed = now.saturating_sub(self.filled).min(60_000);
            self.filled = now;
            self.earn(u32::try_from(elapsed * u64::from(self.per_second) / 1000).unwrap_or(u32::MAX));
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// CONTINUATION frames that one header block may take.
pub(crate) const MAX_CONTINUATIONS: u32 = 16;

/// The allowances of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    /// Streams that the peer resets before they are answered, or makes us reset.
    resets: Allowance,
    /// Frames without use: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, unknown ones, late ones.
    idle: Allowance,
}

impl Flood {
    pub(crate) const fn new(now: u64) -> Self {
        Self { resets: Allowance::new(200, 50, now), idle: Allowance::new(2000, 200, now) }
    }

    /// A stream ended as it should.
    pub(crate) fn finished(&mut self) {
        self.resets.earn(1);
        self.idle.earn(8);
    }

    /// Data went either way. Peers answer frames of ours with WINDOW_UPDATE and measure with PING.
    pub(crate) fn moved(&mut self) {
        self.idle.earn(4);
    }

    pub(crate) fn reset(&mut self, now: u64) -> Result<(), ConnectionError> {
        if self.resets.draw(now) { Ok(()) } else { broken(Code::ENHANCE_YOUR_CALM, "too many streams reset") }
    }

    pub(crate) fn idle(&mut self, now: u64) -> Result<(), ConnectionError> {
        if self.idle.draw(now) { Ok(()) } else { broken(Code::ENHANCE_YOUR_CALM, "too many frames without use") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_only_resets_is_stopped_and_one_that_finishes_is_not() {
        let mut flood = Flood::new(0);
        assert!((0..200).all(|_reset| flood.reset(0).is_ok()));
        assert_eq!(flood.reset(0).expect_err("no allowance is left").code, Code::ENHANCE_YOUR_CALM);
        let mut honest = Flood::new(0);
        assert!((0..10_000).all(|_request| {
            honest.finished();
            honest.reset(0).is_ok()
        }));
    }

    #[test]
    fn time_refills_the_allowance() {
        let mut flood = Flood::new(0);
        assert!((0..200).all(|_reset| flood.reset(0).is_ok()));
        assert!(flood.reset(0).is_err());
        assert!((0..50).all(|_reset| flood.reset(1000).is_ok()));
        assert!(flood.reset(1000).is_err());
    }
}
