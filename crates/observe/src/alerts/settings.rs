//! Who is told of alerts, and by which way.

use std::time::Duration;

use mainstay_core::alert::{Condition, DeadMan, Policy, Receiver, Severity};

use crate::secret::Secret;

/// An address that may be a secret, as the webhooks of chats are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Url {
    /// Written in the configuration.
    Plain(String),
    /// Somewhere else.
    Secret(Secret),
}

impl Url {
    /// The address.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub fn read(&self) -> Result<String, String> {
        match self {
            Self::Plain(url) => Ok(url.clone()),
            Self::Secret(secret) => secret.read(),
        }
    }
}

/// How mail is protected on its way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte.
    Wrapped,
    /// STARTTLS, without which nothing is sent.
    Starttls,
    /// Not at all: only to this machine.
    Plain,
}

/// Mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is protected.
    pub tls: MailTls,
    /// Who sends.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// The user's name at the server, and the password.
    pub user: Option<(String, Secret)>,
}

/// The way to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// PagerDuty's events, version 2.
    PagerDuty {
        /// Where.
        url: Url,
        /// Which service there.
        routing_key: Secret,
    },
    /// An incoming webhook of Slack, or of what understands the same.
    Slack {
        /// Where.
        url: Url,
    },
    /// Mail.
    Mail(Mail),
    /// An Alertmanager, version 2 of its interface.
    Alertmanager {
        /// Its address, without the path.
        url: Url,
        /// The value of the header `authorization`.
        authorization: Option<Secret>,
    },
    /// Anything that takes what Alertmanager sends to webhooks.
    Webhook {
        /// Where.
        url: Url,
        /// The value of the header `authorization`.
        authorization: Option<Secret>,
    },
}

impl Way {
    /// Its name in the configuration.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::PagerDuty { .. } => "pagerduty",
            Self::Slack { .. } => "slack",
            Self::Mail(_) => "smtp",
            Self::Alertmanager { .. } => "alertmanager",
            Self::Webhook { .. } => "webhook",
        }
    }

    /// What goes this way if nothing else is said: pages for P1, the team for P2, chat and mail for P3. What is P4 is seen on
    /// the dashboard. Programs get everything.
    pub const fn severities(&self) -> &'static [Severity] {
        match self {
            Self::PagerDuty { .. } => &[Severity::P1],
            Self::Slack { .. } | Self::Mail(_) => &[Severity::P1, Severity::P2, Severity::P3],
            Self::Alertmanager { .. } | Self::Webhook { .. } => &Severity::ALL,
        }
    }
}

/// A receiver: what it is told, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// What it is told.
    pub receiver: Receiver,
    /// How.
    pub way: Way,
    /// A message that has not arrived by then has failed.
    pub timeout: Duration,
}

/// How one built-in alert differs from what is built in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Which.
    pub name: String,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// How long it must be so.
    pub hold: Option<Duration>,
    /// How long it must not be so any more before it has ended.
    pub keep: Option<Duration>,
    /// How much it matters.
    pub severity: Option<Severity>,
}

/// Everything that the configuration says of alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who is told.
    pub destinations: Vec<Destination>,
    /// Who expects to hear that somebody watches.
    pub dead_man: Option<DeadMan>,
    /// What differs from what is built in.
    pub adjustments: Vec<Adjustment>,
    /// Before the name of each alert's page, in messages.
    pub runbooks: String,
    /// Where people find the dashboard, in messages; empty if that is not said.
    pub dashboard: String,
}

impl Settings {
    /// The policy of the machine.
    pub fn policy(&self) -> Policy {
        Policy {
            receivers: self.destinations.iter().map(|it| it.receiver.clone()).collect(),
            dead_man: self.dead_man.clone(),
            ..Policy::default()
        }
    }

    /// The conditions, as they matter here.
    pub fn adjust(&self, conditions: Vec<Condition>) -> Vec<Condition> {
        let adjusted = |mut condition: Condition| {
            let Some(found) = self.adjustments.iter().find(|it| it.name == condition.name()) else {
                return Some(condition);
            };
            if let Some(severity) = found.severity {
                condition.severity = severity;
                condition.labels.set("severity", severity.word());
            }
            if let Some(hold) = found.hold {
                condition.hold = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
            }
            if let Some(keep) = found.keep {
                condition.keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
            }
            found.enabled.then_some(condition)
        };
        conditions.into_iter().filter_map(adjusted).collect()
    }
}
