//! The families about resilience patterns, each for the routes or services that have it.

mod admission;
mod breakers;
mod cache;
mod cells;
mod fallback;
mod isolation;
mod mirrors;
mod retries;

use std::fmt;

use mainstay_gateway::state::State;

use super::Families;

impl Families<'_, '_> {
    pub(super) fn patterns(&mut self, state: &State) -> fmt::Result {
        self.mirrors(state)?;
        self.retries(state)?;
        self.breakers(state)?;
        self.fallbacks(state)?;
        self.isolation(state)?;
        self.quarantines(state)?;
        self.sessions(state)?;
        self.cells(state)?;
        self.admission(state)?;
        self.caches(state)
    }
}
