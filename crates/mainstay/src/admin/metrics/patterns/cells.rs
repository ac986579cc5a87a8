//! The families about cells and their accounts.

use std::fmt;

use mainstay_gateway::state::{IsolationCounters, State};

use super::super::Families;

impl Families<'_, '_> {
    pub(super) fn cells(&mut self, state: &State) -> fmt::Result {
        let Some(cells) = &state.cells else { return Ok(()) };
        let counts = cells.counts();
        let name = ("mainstay_cell_accounts", "Accounts in the cell, or on their way to it.");
        self.gauge(name, None, counts.iter().map(|it| ([("cell", it.name.as_str())], it.accounts as f64)))?;
        let name = ("mainstay_cell_capacity", "Accounts that the cell takes.");
        self.gauge(name, None, counts.iter().map(|it| ([("cell", it.name.as_str())], it.capacity as f64)))?;
        let routes = || state.routes.iter().filter(|route| route.spec.cells.is_some());
        let rows = routes().flat_map(|route| {
            let row = |reason, read: fn(&IsolationCounters) -> u64| {
                let labels = [("route", route.spec.name.as_str()), ("reason", reason)];
                (labels, route.shards.sum(|counters| read(&counters.isolation)))
            };
            [row("full", |counters| counters.cells_full.get()), row("moving", |counters| counters.account_moving.get())]
        });
        let name = ("mainstay_cell_refused", "Requests that were refused: every cell is full, or their account moves.");
        self.counter(name, rows)
    }
}
