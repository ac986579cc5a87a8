//! What is to be told to whom, and how often.

use std::time::Duration;

use super::labels::Labels;
use super::matcher::Matcher;
use super::{Condition, Millis, Severity};
use crate::backoff;

/// The alert that is always there, so that its absence tells that nobody watches any more.
pub const WATCHDOG: &str = "Watchdog";

/// How long messages about a group wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From the first alert of a group to its first message, so that alerts with one cause come together.
    pub wait: Millis,
    /// From one message to the next if something has changed.
    pub interval: Millis,
    /// From one message to the next if nothing has.
    pub repeat: Millis,
}

impl Default for Times {
    fn default() -> Self {
        Self { wait: 30_000, interval: 300_000, repeat: 4 * 3_600_000 }
    }
}

impl Times {
    /// Between messages about alerts of severity P1, at most.
    pub const PAGE_INTERVAL: Millis = 10_000;

    /// The times of alerts of this severity: pages do not wait.
    #[must_use]
    pub fn of(self, severity: Severity) -> Self {
        match severity {
            Severity::P1 => Self { wait: 0, interval: self.interval.min(Self::PAGE_INTERVAL), ..self },
            Severity::P2 | Severity::P3 | Severity::P4 => self,
        }
    }
}

/// Somebody who is told of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// Alerts of these severities.
    pub severities: Vec<Severity>,
    /// And of which all of these are true.
    pub matchers: Vec<Matcher>,
    /// Labels by which alerts come together in a message.
    pub group_by: Vec<String>,
    /// How long messages wait.
    pub times: Times,
    /// Whether it is told of ends of alerts too.
    pub resolved: bool,
}

impl Receiver {
    /// The labels by which alerts are grouped if nothing else is said.
    pub const GROUP_BY: [&'static str; 3] = ["alertname", "service", "severity"];

    /// Whether an alert is for it. The dead man's switch is only for who was named for it, and nobody is told of their own
    /// silence.
    pub fn takes(&self, severity: Severity, labels: &Labels) -> bool {
        let name = labels.get("alertname");
        name != WATCHDOG
            && !(name == "AlertDeliveryFailing" && labels.get("receiver") == self.name)
            && self.severities.contains(&severity)
            && self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
}

/// Who expects to hear regularly that somebody watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadMan {
    /// The receiver.
    pub receiver: String,
    /// How often it is told, in milliseconds.
    pub interval: Millis,
}

impl DeadMan {
    /// What is always so.
    pub(super) fn condition() -> Condition {
        Condition::new(WATCHDOG, Severity::P4, Labels::new(), "alerts are evaluated and delivered")
    }

    /// The times of its messages.
    pub(super) const fn times(&self) -> Times {
        Times { wait: 0, interval: self.interval, repeat: self.interval }
    }
}

/// Everything that the configuration says of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Who is told; names are different.
    pub receivers: Vec<Receiver>,
    /// Who expects to hear that somebody watches.
    pub dead_man: Option<DeadMan>,
    /// How long to wait before a message that failed is sent again. It never ends by itself.
    pub retry: backoff::Policy,
}

impl Policy {
    /// After so many failures in a row a receiver counts as one that cannot be reached.
    pub const FAILING: u32 = 3;
}

impl Default for Policy {
    fn default() -> Self {
        let retry = backoff::Policy { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
        Self { receivers: Vec::new(), dead_man: None, retry }
    }
}
