//! Moments for the machines, from tokio's clock, so that tests may pause it.

use mainstay_core::time::Moment;
use tokio::time::Instant;

/// A clock whose origin is when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::ZERO.after(Instant::now().saturating_duration_since(self.0))
    }
}

/// A seed that differs between layers and processes, for jitter.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Its keys come from the system's randomness.
    RandomState::new().hash_one(0u8)
}

/// Whoever panicked under the lock of a machine left it whole: its methods neither call out nor panic.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
