//! The families about alerts, their delivery, and certificates.

use std::collections::BTreeMap;
use std::fmt;

use mainstay_core::alert::{Phase, Severity};
use mainstay_observe::alerts::desk::Desk;
use prometheus_client::registry::Unit;

use super::Families;
use crate::admin::certificates::CertificateStatus;

impl Families<'_, '_> {
    pub(super) fn alerts(&mut self, desk: Option<&Desk>) -> fmt::Result {
        let Some(desk) = desk else { return Ok(()) };
        let (view, outcomes) = (desk.view(), desk.outcomes());
        let states = ["pending", "firing", "resolved"];
        let word = |phase: Phase| match phase {
            Phase::Pending => "pending",
            Phase::Firing { .. } => "firing",
            Phase::Ended { .. } => "resolved",
        };
        let rows = Severity::ALL.into_iter().flat_map(|severity| {
            let view = &view;
            states.into_iter().map(move |state| {
                let alerts = view.state.alerts.values();
                let count = alerts.filter(|it| it.severity == severity && word(it.phase) == state).count();
                ([("severity", severity.word()), ("state", state)], count as f64)
            })
        });
        self.gauge(("mainstay_alerts", "Alerts, by severity and state."), None, rows)?;
        let muted = view.muted.len() as f64;
        self.gauge::<0>(
            ("mainstay_alerts_muted", "Alerts that a silence or another alert holds back."),
            None,
            [([], muted)],
        )?;
        let rows = outcomes.iter().flat_map(|(name, outcome)| {
            [("delivered", outcome.delivered), ("failed", outcome.failed)]
                .map(|(result, count)| ([("receiver", name.as_str()), ("outcome", result)], count))
        });
        self.counter(
            ("mainstay_alert_notifications", "Messages to receivers of alerts, tries that failed included."),
            rows,
        )?;
        let rows = outcomes.iter().map(|(name, outcome)| ([("receiver", name.as_str())], outcome.waiting as f64));
        self.gauge(("mainstay_alert_notifications_waiting", "Messages that are due or under way."), None, rows)
    }

    pub(super) fn certificates(&mut self, all: &[CertificateStatus]) -> fmt::Result {
        // One file may be used in several places, and then has a sample for each.
        let rows: BTreeMap<_, _> = all
            .iter()
            .filter_map(|it| Some(((it.usage.as_str(), it.subject.as_str()), it.days_left? * 86_400.0)))
            .collect();
        let rows = rows.into_iter().map(|((usage, subject), left)| ([("usage", usage), ("subject", subject)], left));
        let name = ("mainstay_certificate_time_left", "Until a certificate in use ends; negative afterwards.");
        self.gauge(name, Some(&Unit::Seconds), rows)?;
        let unreadable = all.iter().filter(|it| it.problem.is_some() && it.acme.is_none()).count() as f64;
        let name = ("mainstay_certificates_unreadable", "Files of certificates in use that cannot be read.");
        self.gauge::<0>(name, None, [([], unreadable)])
    }
}
