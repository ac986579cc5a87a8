//! How many second attempts there may be: one budget for the retries and the hedges of a service.

use std::sync::{Arc, Mutex};

use mainstay_core::budget::Budget as Machine;
pub use mainstay_core::budget::Policy;

use crate::clock::{Clock, lock};

/// Bounds retries and hedges to a share of recent calls, plus a floor. Clones are the same budget: give one to each layer that
/// makes second attempts at the same service.
#[derive(Clone, Debug)]
pub struct Budget {
    clock: Clock,
    machine: Arc<Mutex<Machine>>,
}

impl Budget {
    /// A budget without history. By default, 20 % of the calls of the last ten seconds and three a second.
    pub fn new(policy: Policy) -> Self {
        let clock = Clock::start();
        Self { clock, machine: Arc::new(Mutex::new(Machine::new(policy, clock.now()))) }
    }

    /// A call is made for the first time.
    pub(crate) fn deposit(&self) {
        lock(&self.machine).deposit(self.clock.now(), 1);
    }

    /// Whether it may be made once more, which is then charged.
    pub(crate) fn withdraw(&self) -> bool {
        lock(&self.machine).withdraw(self.clock.now())
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}
