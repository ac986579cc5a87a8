//! The families about synthetic probes. Their labels are names from the configuration.

use std::fmt;

use prometheus_client::registry::Unit;

use super::{Facts, Families};
use crate::admin::probes::{ProbeStatus, StepStatus};

impl Families<'_, '_> {
    pub(super) fn probes(&mut self, facts: &Facts) -> fmt::Result {
        let of = &facts.probes;
        if of.is_empty() {
            return Ok(());
        }
        let verdict = |of: &ProbeStatus| match of.state.as_str() {
            "up" => Some(1.0),
            "degraded" => Some(0.5),
            "down" => Some(0.0),
            _unknown => None,
        };
        let rows = of.iter().filter_map(|of| Some(([("probe", of.name.as_str())], verdict(of)?)));
        let help =
            "What the nodes say of a probe together: 1 passes, 0.5 fails on a minority, 0 fails; absent if unknown.";
        self.gauge(("mainstay_probe_up", help), None, rows)?;
        let rows = of.iter().filter_map(|of| {
            let last = of.last.as_ref()?;
            Some(([("probe", of.name.as_str())], f64::from(u8::from(last.passed))))
        });
        self.gauge(("mainstay_probe_success", "1 if this node's last run of a probe passed."), None, rows)?;
        let rows =
            of.iter().filter_map(|of| Some(([("probe", of.name.as_str())], of.last.as_ref()?.duration_ms / 1e3)));
        let name = ("mainstay_probe_duration", "How long this node's last run of a probe took.");
        self.gauge(name, Some(&Unit::Seconds), rows)?;
        let runs = of.iter().flat_map(|of| {
            let row = |outcome, count| ([("probe", of.name.as_str()), ("outcome", outcome)], count);
            [row("passed", of.passed), row("failed", of.failed)]
        });
        self.counter(("mainstay_probe_runs", "Runs of a probe on this node, by outcome."), runs)?;
        let name = ("mainstay_probe_step_duration", "How long a step of this node's last run of a probe took.");
        self.gauge(name, Some(&Unit::Seconds), steps(of, |step| Some(step.duration_ms / 1e3)))?;
        let name = ("mainstay_probe_certificate_days", "Days until the certificate that a step of a probe met ends.");
        self.gauge(name, None, steps(of, |step| step.certificate_days))
    }
}

type StepRow<'a> = ([(&'static str, &'a str); 2], f64);

fn steps<'a>(
    of: &'a [ProbeStatus],
    read: impl Fn(&StepStatus) -> Option<f64> + Copy,
) -> impl Iterator<Item = StepRow<'a>> {
    of.iter().flat_map(move |of| {
        let last = of.last.iter().flat_map(|last| &last.steps).enumerate();
        last.filter_map(move |(index, step)| {
            // Two steps may have the same name; their numbers differ.
            let number = NUMBERS.get(index)?;
            Some(([("probe", of.name.as_str()), ("step", *number)], read(step)?))
        })
    })
}

/// The numbers of steps as labels.
const NUMBERS: [&str; mainstay_observe::probes::STEPS_MAX] =
    ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
