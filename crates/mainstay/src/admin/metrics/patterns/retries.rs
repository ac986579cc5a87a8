//! The families about retries beyond their number, by route.

use std::fmt;

use mainstay_gateway::state::State;

use super::super::Families;

impl Families<'_, '_> {
    pub(super) fn retries(&mut self, state: &State) -> fmt::Result {
        let refusals = state.routes.iter().map(|route| {
            let count = route.shards.sum(|counters| counters.budget_refusals.get());
            ([("route", route.spec.name.as_str())], count)
        });
        self.counter(("mainstay_route_budget_refusals", "Retries and hedges that the budget refused."), refusals)
    }
}
