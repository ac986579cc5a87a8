//! The families about objectives. Their labels are names from the configuration.

use std::fmt;

use prometheus_client::registry::Unit;

use super::{Facts, Families};
use crate::admin::objectives::ObjectiveStatus;

impl Families<'_, '_> {
    pub(super) fn objectives(&mut self, facts: &Facts) -> fmt::Result {
        let of = &facts.objectives;
        if of.is_empty() {
            return Ok(());
        }
        let each = |read: fn(&ObjectiveStatus) -> Option<f64>| {
            of.iter().filter_map(move |of| Some(([("objective", of.name.as_str())], read(of)?)))
        };
        let name = ("mainstay_objective_target_ratio", "The share of events that is to be good.");
        self.gauge(name, None, each(|of| Some(of.target_percent / 100.0)))?;
        let name = ("mainstay_objective_good_ratio", "The share of events of the window that was good.");
        self.gauge(name, None, each(|of| Some(of.good_percent? / 100.0)))?;
        let name = ("mainstay_objective_events", "Events of the objective's window.");
        self.gauge(name, None, each(|of| Some(of.events as f64)))?;
        let name = ("mainstay_objective_bad_events", "Bad events of the objective's window.");
        self.gauge(name, None, each(|of| Some(of.bad as f64)))?;
        let name = (
            "mainstay_objective_budget_left_ratio",
            "The share of the error budget that is left; negative if overdrawn.",
        );
        self.gauge(name, None, each(|of| Some(of.budget_left_percent? / 100.0)))?;
        let name = ("mainstay_objective_coverage_ratio", "The share of the window of which something is known.");
        self.gauge(name, None, each(|of| Some(of.coverage_percent / 100.0)))?;
        let name = (
            "mainstay_objective_exhausted_in",
            "Until the budget is used up at the present pace; absent if it is not.",
        );
        self.gauge(name, Some(&Unit::Seconds), each(|of| Some(of.exhausted_in_seconds? as f64)))?;
        let burns = of.iter().flat_map(|of| {
            of.burn.iter().flat_map(|burn| {
                let row = |window, rate: Option<f64>| {
                    Some((
                        [("objective", of.name.as_str()), ("severity", burn.severity.as_str()), ("window", window)],
                        rate?,
                    ))
                };
                [row("long", burn.long), row("short", burn.short)].into_iter().flatten()
            })
        });
        let name =
            ("mainstay_objective_burn_rate", "How many times as fast as it may the budget burns, by rule and window.");
        self.gauge(name, None, burns)?;
        let firing = of.iter().flat_map(|of| {
            of.burn.iter().map(|burn| {
                let firing = f64::from(u8::from(burn.firing));
                ([("objective", of.name.as_str()), ("severity", burn.severity.as_str())], firing)
            })
        });
        self.gauge(("mainstay_objective_firing", "1 while the burn-rate rule fires."), None, firing)
    }
}
