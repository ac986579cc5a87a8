//! Routes that lead to cells, as a worker sees them.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Worker;
use super::account::Purse;
use super::table::{Route, Service};
use crate::cells::Cells;
use crate::http::record;
use crate::http1::write::Ops;
use crate::state;

/// The same route to the service of each of its cells, by the cells' names. Mirrors and fallbacks do not go with cells.
pub(super) fn by_cell(
    route: &Arc<state::Route>,
    number: usize,
    services: &HashMap<String, Rc<Service>>,
) -> Vec<(String, Rc<Route>)> {
    let choices = route.spec.cells.iter().flat_map(|cells| &cells.choices);
    let to = |(cell, name): &(String, String)| {
        let made = Route {
            state: Arc::clone(route),
            service: Rc::clone(services.get(name)?),
            request_ops: Ops::new(&route.spec.request_headers),
            response_ops: Ops::new(&route.spec.response_headers),
            log_part: record::part(&[("route", &route.spec.name), ("cell", cell), ("service", name)]),
            number,
            mirror: None,
            fallback: None,
            primary: None,
            cache: None,
            purse: Purse::new(&route.retry_budget),
            cells: Vec::new(),
        };
        Some((cell.clone(), Rc::new(made)))
    };
    choices.filter_map(to).collect()
}

impl Worker {
    /// Which cell each account is in.
    pub(crate) fn cells(&self) -> Option<Arc<Cells>> {
        self.table.borrow().cells.clone()
    }
}
