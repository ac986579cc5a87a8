//! Alerts: from what is true of the cluster to who is told of it, when, and how often.
//!
//! Whoever watches says each second what is wrong ([`Condition`]); [`Alerts`] makes alerts of that, which wait, fire and end,
//! holds back those that are silenced or follow from others, and plans messages to receivers ([`Delivery`]). What has been told
//! to whom is a part of its state, so that another node can go on where one stopped and repeats only what was under way.
//! The words and the times of groups are those of Prometheus' Alertmanager.
//!
//! Times are milliseconds since 1970: silences are written by people, and the state goes from node to node.

mod book;
mod builtin;
mod catalogue;
mod group;
mod inhibit;
mod labels;
mod matcher;
mod policy;
mod silence;
#[cfg(test)]
mod tests;
mod watch;

use serde::{Deserialize, Serialize};

pub use book::{ALERTS_MAX, Acknowledgement, Instance, Phase};
pub use builtin::{
    AgentSeen, CertificateSeen, EndpointSeen, ListenerSeen, NodeSeen, Observation, ProbeSeen, RouteSeen, ServiceSeen,
    conditions,
};
pub use catalogue::{CATALOGUE, Rule, rule};
pub use group::{ALERTS_A_MESSAGE, Delivery, Group, Item, Reason, Told};
pub use inhibit::{Inhibition, standard as standard_inhibitions};
pub use labels::{Fingerprint, LABELS_MAX, Labels, NAME_BYTES_MAX, VALUE_BYTES_MAX};
pub use matcher::{Comparison, Matcher, Unreadable};
pub use policy::{DeadMan, Policy, Receiver, Times, WATCHDOG};
pub use silence::{Silence, SilenceState, Silences};
pub use watch::{Alerts, Muted, State};

/// Milliseconds since 1970.
pub type Millis = u64;

/// How much an alert matters, and so who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Users are not served: somebody is woken.
    P1,
    /// Users are served badly, or soon will be: the team is told.
    P2,
    /// Something should be seen to: mail or chat.
    P3,
    /// Worth knowing: the dashboard shows it.
    P4,
}

impl Severity {
    /// All, the gravest first.
    pub const ALL: [Self; 4] = [Self::P1, Self::P2, Self::P3, Self::P4];

    /// Its name, which is the value of the label `severity`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
        }
    }

    /// The severity of this name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.word() == word)
    }
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What it is called and what it is about; `alertname` and `severity` are among them.
    pub labels: Labels,
    /// A sentence with the particulars. It may change while the alert lives.
    pub summary: String,
    /// How much it matters.
    pub severity: Severity,
    /// It fires once it has been so for as long, in milliseconds.
    pub hold: Millis,
    /// It has ended once it has not been so for as long, in milliseconds.
    pub keep: Millis,
}

/// Bytes of a summary, at most.
pub const SUMMARY_BYTES_MAX: usize = 240;

impl Condition {
    /// The condition `name` about `labels`.
    pub fn new(name: &str, severity: Severity, mut labels: Labels, summary: &str) -> Self {
        labels.set("alertname", name);
        labels.set("severity", severity.word());
        let mut summary = summary.to_owned();
        summary.truncate(summary.floor_char_boundary(SUMMARY_BYTES_MAX));
        Self { labels, summary, severity, hold: 0, keep: 0 }
    }

    /// The name of the alert.
    pub fn name(&self) -> &str {
        self.labels.get("alertname")
    }
}
