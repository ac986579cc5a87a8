//! Consistent hashing with bounded loads: a candidate is passed over while it has more than its part of what is in flight
//! (Mirrokni, Thorup, Zadimoghaddam, SODA 2018).

use super::{Balancer, Loads};

/// How many requests a candidate may have in flight, for each unit of weight.
pub(super) struct Room {
    per_weight: f64,
}

impl Balancer {
    /// The bound for one more request: `factor` times the mean, by weight.
    pub(super) fn room(&self, factor: f64, loads: &impl Loads) -> Room {
        self.room_within(factor, || self.live.iter().copied(), loads)
    }

    /// The same among those listed.
    pub(super) fn room_within<I: Iterator<Item = usize>>(
        &self,
        factor: f64,
        listed: impl Fn() -> I,
        loads: &impl Loads,
    ) -> Room {
        let total: u64 = listed().map(|index| u64::from(loads.in_flight(index))).sum();
        let weight: u64 = listed().map(|index| u64::from(self.weights[index])).sum();
        Room { per_weight: factor * (total + 1) as f64 / weight.max(1) as f64 }
    }
}

impl Room {
    /// Whether one more request stays within the bound, which is rounded up: everybody may have one.
    pub(super) fn is_left_at(&self, index: usize, weight: u32, loads: &impl Loads) -> bool {
        let bound = (self.per_weight * f64::from(weight)).ceil();
        f64::from(loads.in_flight(index)) + 1.0 <= bound
    }
}
