//! What an endpoint's weight is lowered by just now.

use std::sync::atomic::{AtomicU16, Ordering};

use mainstay_core::balance::Share;

/// A reason for which an endpoint gets less than its weight. Each has a share of its own; they multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// It is far slower than its siblings, or fails far more.
    Gray,
    /// It has just recovered.
    SlowStart,
    /// Its checks say that it works with restrictions.
    Degraded,
}

/// The shares of an endpoint, one a [`Factor`]; all full at first.
#[derive(Debug)]
pub(super) struct Factors([AtomicU16; 3]);

impl Default for Factors {
    fn default() -> Self {
        Self([const { AtomicU16::new(Share::FULL.as_permille()) }; 3])
    }
}

impl Factors {
    fn of(&self, factor: Factor) -> &AtomicU16 {
        let [gray, slow_start, degraded] = &self.0;
        match factor {
            Factor::Gray => gray,
            Factor::SlowStart => slow_start,
            Factor::Degraded => degraded,
        }
    }

    /// Stores the factor's share and answers the one before.
    pub(super) fn set(&self, factor: Factor, share: Share) -> Share {
        Share::permille(self.of(factor).swap(share.as_permille(), Ordering::AcqRel))
    }

    pub(super) fn get(&self, factor: Factor) -> Share {
        Share::permille(self.of(factor).load(Ordering::Acquire))
    }

    /// All at once.
    pub(super) fn product(&self) -> Share {
        self.get(Factor::Gray).and(self.get(Factor::SlowStart)).and(self.get(Factor::Degraded))
    }
}
