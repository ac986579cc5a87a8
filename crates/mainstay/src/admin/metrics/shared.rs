//! The families about what nodes share.

use std::fmt;

use super::{Facts, Families};
use crate::admin::shared::SessionsStatus;

impl Families<'_, '_> {
    fn opinions(&mut self, facts: &Facts) -> fmt::Result {
        let Some(opinions) = &facts.opinions else { return Ok(()) };
        let flag = |is: bool| [([], f64::from(u8::from(is)))];
        let live = [([], opinions.live as f64)];
        self.gauge::<0>(("mainstay_opinions_nodes", "Nodes whose verdicts are heard, this one included."), None, live)?;
        let name = ("mainstay_opinions_cut_off", "1 while this node alone sees every endpoint down.");
        self.gauge::<0>(name, None, flag(opinions.is_cut_off))?;
        let name = ("mainstay_opinions_frozen", "1 while there is no agreement on anything new.");
        self.gauge::<0>(name, None, flag(opinions.is_frozen))?;
        let down = [([], opinions.down as f64)];
        self.gauge::<0>(("mainstay_opinions_down", "Endpoints that most nodes find down."), None, down)?;
        self.counter::<0>(("mainstay_opinions_written", "Writes of this node's verdicts."), [([], opinions.written)])?;
        let name = ("mainstay_opinions_received", "Verdicts of other nodes that came by the coordinator.");
        self.counter::<0>(name, [([], opinions.received)])?;
        let name = ("mainstay_opinions_repaired", "Verdicts of other nodes that only asking them has brought.");
        self.counter::<0>(name, [([], opinions.repaired)])
    }

    pub(super) fn shared(&mut self, facts: &Facts) -> fmt::Result {
        self.shared_config(facts.shared_config.as_ref())?;
        self.opinions(facts)?;
        let tables = &facts.sessions;
        if tables.is_empty() {
            return Ok(());
        }
        let each = |read: fn(&SessionsStatus) -> u64| {
            tables.iter().map(move |table| ([("table", table.table.as_str())], read(table)))
        };
        let here = tables.iter().map(|table| ([("table", table.table.as_str())], f64::from(u8::from(table.is_here))));
        self.gauge(("mainstay_sessions_available", "1 while the table of sessions answers."), None, here)?;
        let held = tables.iter().filter_map(|it| Some(([("table", it.table.as_str())], it.sessions? as f64)));
        self.gauge(("mainstay_sessions_held", "Sessions in this node's table."), None, held)?;
        self.counter(("mainstay_sessions_evicted", "Sessions that made room for others."), each(|it| it.evicted))?;
        let name = ("mainstay_sessions_acknowledged", "Sessions that others knew before the client; Redis: answers.");
        self.counter(name, each(|it| it.acknowledged))?;
        let name = ("mainstay_sessions_unacknowledged", "Sessions whose clients were told before others knew.");
        self.counter(name, each(|it| it.unacknowledged))?;
        let name = ("mainstay_sessions_received", "Sessions that another node told of.");
        self.counter(name, each(|it| it.received))?;
        let name = ("mainstay_sessions_repaired", "Sessions that were missing here and came by a comparison.");
        self.counter(name, each(|it| it.repaired))?;
        let name = ("mainstay_sessions_refused", "Sessions that another node told of and that were not taken.");
        self.counter(name, each(|it| it.refused))?;
        let name = ("mainstay_sessions_comparisons", "Comparisons with other nodes.");
        self.counter(name, each(|it| it.comparisons))?;
        let name = ("mainstay_sessions_failures", "Messages to other nodes, or commands to Redis, without an answer.");
        self.counter(name, each(|it| it.failures))?;
        let name = ("mainstay_sessions_skipped", "Commands that Redis was not sent because it had just failed.");
        self.counter(name, each(|it| it.skipped))
    }
}
