//! What is worth a look now, in `/api/v1/status`: alerts that fire, incidents that last, certificates that end soon.

use mainstay_core::alert::Phase;
use mainstay_runtime::defect::{self, Noted};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::ledger::sums::Sum;

/// Of each kind, at most: whoever wants to know more asks for them.
const SHOWN_MAX: usize = 20;
/// Days before its end from which on a certificate is shown.
const DAYS: f64 = 30.0;

/// What is worth a look now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attention {
    /// Alerts that fire, the gravest first.
    pub alerts: Vec<AlertLine>,
    /// How many fire.
    pub firing: u64,
    /// Incidents that last, the youngest first, as one line each.
    pub incidents: Vec<String>,
    /// Certificates in use that end within 30 days, the next to end first.
    pub certificates: Vec<CertificateLine>,
    /// Parts of the node that have ended by a panic since it was started, with the last one; none if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defects: Option<DefectLine>,
    /// How available services and probes were over 28 days as this node saw it, the least first; empty without a ledger.
    pub availability: Vec<AvailabilityLine>,
}

/// An alert that fires.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertLine {
    /// P1 to P4.
    pub severity: String,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub summary: String,
}

/// Panics, which are defects of the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DefectLine {
    /// How many.
    pub count: u64,
    /// Where the last one happened, and what it says.
    pub last: String,
}

/// A certificate that ends soon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CertificateLine {
    /// What it is used for.
    pub usage: String,
    /// Whom it is for.
    pub subject: String,
    /// Days left; negative if it has ended.
    pub days_left: f64,
}

/// How available something was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AvailabilityLine {
    /// `service` or `probe`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Percent of the time in which somebody looked.
    pub availability_percent: Option<f64>,
    /// How often it failed, without a plan.
    pub failures: u32,
    /// How long that took to mend, on average.
    pub mttr_seconds: Option<f64>,
}

/// What is worth a look at `node`.
pub(super) fn of(node: &Node) -> Attention {
    let view = node.alerts().view();
    let mut firing: Vec<_> = view
        .state
        .alerts
        .values()
        .filter(|it| matches!(it.phase, Phase::Firing { .. }) && it.name() != "Watchdog")
        .collect();
    firing.sort_by_key(|it| it.severity);
    let alert = |it: &&mainstay_core::alert::Instance| AlertLine {
        severity: it.severity.word().to_owned(),
        name: it.name().to_owned(),
        summary: it.summary.clone(),
    };
    let certificates = node.certificates();
    let ending = certificates.iter().filter_map(|it| {
        let days_left = it.days_left.filter(|days| *days < DAYS)?;
        Some(CertificateLine { usage: it.usage.clone(), subject: it.subject.clone(), days_left })
    });
    let known = node.ledger_sums.known();
    let mut availability: Vec<AvailabilityLine> = known.sums.iter().map(line).collect();
    availability.sort_by(|a, b| {
        let key = |it: &AvailabilityLine| it.availability_percent.unwrap_or(f64::MAX);
        key(a).total_cmp(&key(b))
    });
    availability.truncate(SHOWN_MAX);
    Attention {
        defects: defects(defect::noted()),
        availability,
        firing: firing.len() as u64,
        alerts: firing.iter().take(SHOWN_MAX).map(alert).collect(),
        incidents: node.ledger().incidents(|all| {
            all.iter().filter(|it| it.ended_unix_ms.is_none()).take(SHOWN_MAX).map(|it| it.title()).collect()
        }),
        certificates: ending.take(SHOWN_MAX).collect(),
    }
}

fn defects(noted: Noted) -> Option<DefectLine> {
    let last = noted.last?;
    Some(DefectLine { count: noted.count, last: format!("{} ({}): {}", last.place, last.thread, last.message) })
}

fn line(sum: &Sum) -> AvailabilityLine {
    AvailabilityLine {
        kind: sum.kind.to_owned(),
        name: sum.name.clone(),
        availability_percent: sum.figures.availability_percent,
        failures: sum.figures.failures,
        mttr_seconds: sum.figures.mttr_seconds,
    }
}
