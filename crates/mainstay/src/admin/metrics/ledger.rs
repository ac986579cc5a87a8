//! The families about the availability ledger and incidents. Their labels are names from the configuration.

use std::fmt;
use std::sync::Arc;

use mainstay_core::ledger::Figures;
use mainstay_observe::ledger::{Ledger, Status};
use prometheus_client::registry::Unit;

use super::Families;
use crate::admin::ledger::sums::{Known, Sums};

/// What is told of the ledger.
#[derive(Clone, Debug, Default)]
pub struct LedgerFacts {
    status: Status,
    incidents_open: usize,
    known: Arc<Known>,
}

/// What the ledger says now.
pub fn facts(ledger: &Ledger, sums: &Sums) -> LedgerFacts {
    let open = ledger.incidents(|all| all.iter().filter(|incident| incident.ended_unix_ms.is_none()).count());
    LedgerFacts { status: ledger.status(), incidents_open: open, known: sums.known() }
}

impl Families<'_, '_> {
    pub(super) fn ledger(&mut self, facts: &LedgerFacts) -> fmt::Result {
        let (ledger, open) = (&facts.status, facts.incidents_open as f64);
        let help = "Incidents that last, as this node sees them.";
        self.gauge::<0>(("mainstay_incidents_open", help), None, [([], open)])?;
        let name = ("mainstay_ledger_lines", "Lines that this process has written to the availability ledger.");
        self.counter::<0>(name, [([], ledger.lines)])?;
        let name = ("mainstay_ledger_lost", "Lines of the ledger that could not be written, or came too fast.");
        self.counter::<0>(name, [([], ledger.lost)])?;
        let name = ("mainstay_ledger_size", "Size of all files of the ledger.");
        self.gauge::<0>(name, Some(&Unit::Bytes), [([], ledger.bytes as f64)])?;
        let rows = |read: fn(&Figures) -> Option<f64>| {
            let labels = |kind: &'static str, name| [("kind", kind), ("name", name)];
            let sums = facts.known.sums.iter();
            sums.filter_map(move |it| Some((labels(it.kind, it.name.as_str()), read(&it.figures)?))).collect::<Vec<_>>()
        };
        let help = "Share of the observed time of the last 28 days in which it served, as this node saw it.";
        let name = ("mainstay_availability_28d_ratio", help);
        self.gauge(name, None, rows(|it| it.availability_percent.map(|percent| percent / 100.0)))?;
        let help = "Share of the last 28 days in which this node looked.";
        let name = ("mainstay_availability_28d_coverage_ratio", help);
        self.gauge(name, None, rows(|it| it.coverage_percent.map(|percent| percent / 100.0)))?;
        let name = ("mainstay_failures_28d", "Failures of the last 28 days that nobody planned.");
        self.gauge(name, None, rows(|it| Some(it.failures.into())))?;
        let name = ("mainstay_mttr_28d", "How long a failure of the last 28 days took to mend, on average.");
        self.gauge(name, Some(&Unit::Seconds), rows(|it| it.mttr_seconds))?;
        let longest = facts.known.recovery.as_ref().and_then(|recovery| recovery.longest_seconds);
        let name = ("mainstay_failover_longest_28d", "The longest failover to this node in the last 28 days.");
        self.gauge::<0>(name, Some(&Unit::Seconds), longest.map(|seconds| ([], seconds)))
    }
}
