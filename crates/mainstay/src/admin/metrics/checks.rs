//! The families about checks that find endpoints degraded.

use std::fmt;
use std::sync::atomic::Ordering;

use mainstay_gateway::state::State;

use super::{Families, endpoints};

impl Families<'_, '_> {
    pub(super) fn checks(&mut self, state: &State) -> fmt::Result {
        let degraded = endpoints(state)
            .map(|(labels, endpoint)| (labels, f64::from(u8::from(endpoint.degraded.load(Ordering::Acquire)))));
        let name = ("mainstay_endpoint_degraded", "1 while checks find the endpoint up but degraded.");
        self.gauge(name, None, degraded)?;
        let found =
            endpoints(state).map(|(labels, endpoint)| (labels, endpoint.probes_degraded.load(Ordering::Relaxed)));
        self.counter(("mainstay_endpoint_probes_degraded", "Active checks that found the endpoint degraded."), found)
    }
}
