//! What changes on a node and in its cluster, as data: which subject, what about it, from what to what, and why. The journal,
//! the availability ledger, incidents, alerts and whoever watches speak of changes in these words.

mod words;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use words::{Aspect, Word};

/// Bytes of a cause, at most; what is longer ends in an ellipsis.
pub const CAUSE_BYTES_MAX: usize = 512;

/// Whose state changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A node itself.
    Node {
        /// Its name.
        name: String,
    },
    /// A service as this node finds it.
    Service {
        /// Its name.
        name: String,
    },
    /// An endpoint of a service.
    Endpoint {
        /// The service.
        service: String,
        /// The endpoint's name: its address as configured.
        name: String,
    },
    /// A route.
    Route {
        /// Its name.
        name: String,
    },
    /// A listener.
    Listener {
        /// Its name.
        name: String,
    },
    /// A floating address.
    Address {
        /// The address.
        name: String,
    },
    /// A role that one node of the cluster has at a time.
    Role {
        /// Its name.
        name: String,
    },
    /// A node as a member of the cluster, seen by another.
    Member {
        /// Its name.
        name: String,
    },
    /// The cluster as this node finds it: quorum, and the node's own session.
    Cluster,
    /// The configuration: the node's own, or a version of the cluster's.
    Config {
        /// `node`, or the version's number.
        name: String,
    },
    /// A certificate.
    Certificate {
        /// Where it is used.
        name: String,
    },
    /// An alert.
    Alert {
        /// Its name and what it is about.
        name: String,
    },
    /// A synthetic probe.
    Probe {
        /// Its name.
        name: String,
    },
    /// A group of database servers, as this node finds it.
    Database {
        /// Its name.
        name: String,
    },
    /// A service level objective.
    Objective {
        /// Its name.
        name: String,
    },
}

impl Subject {
    /// The word for its kind, as in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Node { .. } => "node",
            Self::Service { .. } => "service",
            Self::Endpoint { .. } => "endpoint",
            Self::Route { .. } => "route",
            Self::Listener { .. } => "listener",
            Self::Address { .. } => "address",
            Self::Role { .. } => "role",
            Self::Member { .. } => "member",
            Self::Cluster => "cluster",
            Self::Config { .. } => "config",
            Self::Certificate { .. } => "certificate",
            Self::Alert { .. } => "alert",
            Self::Probe { .. } => "probe",
            Self::Database { .. } => "database",
            Self::Objective { .. } => "objective",
        }
    }

    /// Its name; of an endpoint without its service, of the cluster nothing.
    pub fn name(&self) -> &str {
        match self {
            Self::Node { name }
            | Self::Service { name }
            | Self::Endpoint { name, .. }
            | Self::Route { name }
            | Self::Listener { name }
            | Self::Address { name }
            | Self::Role { name }
            | Self::Member { name }
            | Self::Config { name }
            | Self::Certificate { name }
            | Self::Alert { name }
            | Self::Probe { name }
            | Self::Database { name }
            | Self::Objective { name } => name,
            Self::Cluster => "",
        }
    }

    /// The service that it is or belongs to.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Service { name } => Some(name),
            Self::Endpoint { service, .. } => Some(service),
            Self::Node { .. }
            | Self::Route { .. }
            | Self::Listener { .. }
            | Self::Address { .. }
            | Self::Role { .. }
            | Self::Member { .. }
            | Self::Cluster
            | Self::Config { .. }
            | Self::Certificate { .. }
            | Self::Alert { .. }
            | Self::Probe { .. }
            | Self::Database { .. }
            | Self::Objective { .. } => None,
        }
    }

    /// An endpoint.
    pub fn endpoint(service: &str, name: &str) -> Self {
        Self::Endpoint { service: service.to_owned(), name: name.to_owned() }
    }

    /// A service.
    pub fn of_service(name: &str) -> Self {
        Self::Service { name: name.to_owned() }
    }

    /// A node.
    pub fn node(name: &str) -> Self {
        Self::Node { name: name.to_owned() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { service, name } => write!(f, "endpoint {name} of {service}"),
            Self::Cluster => f.write_str("cluster"),
            other => write!(f, "{} {}", other.kind(), other.name()),
        }
    }
}

/// What about a subject changes, from what to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// What about it.
    pub aspect: Aspect,
    /// What it was.
    pub from: Word,
    /// What it is now.
    pub to: Word,
}

/// Why something changed, for people: at most [`CAUSE_BYTES_MAX`] bytes, on one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Cause(Box<str>);

impl Cause {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is known of it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&str> for Cause {
    fn from(text: &str) -> Self {
        let on_one_line = |text: &str| text.replace(|it: char| it.is_control(), " ").into_boxed_str();
        if text.len() <= CAUSE_BYTES_MAX {
            return Self(on_one_line(text));
        }
        let ellipsis = '…';
        let end = text.floor_char_boundary(CAUSE_BYTES_MAX - ellipsis.len_utf8());
        let mut clipped = text.get(..end).unwrap_or_default().to_owned();
        clipped.push(ellipsis);
        Self(on_one_line(&clipped))
    }
}

impl From<Cause> for String {
    fn from(cause: Cause) -> Self {
        cause.0.into_string()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One change of one subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transition {
    /// Whose state changes.
    pub subject: Subject,
    /// What about it.
    #[serde(flatten)]
    pub change: Change,
    /// Why.
    #[serde(default, skip_serializing_if = "Cause::is_empty")]
    pub cause: Cause,
    /// Whether somebody wanted it so: a drain, a restart, a configuration.
    #[serde(default)]
    pub planned: bool,
}

impl Transition {
    /// A change without a known cause that nobody planned.
    pub fn new(subject: Subject, aspect: Aspect, from: Word, to: Word) -> Self {
        Self { subject, change: Change { aspect, from, to }, cause: Cause::default(), planned: false }
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(self, cause: impl Into<Cause>) -> Self {
        Self { cause: cause.into(), ..self }
    }

    /// The same, wanted by somebody or not.
    #[must_use]
    pub fn planned(self, planned: bool) -> Self {
        Self { planned, ..self }
    }
}

/// A transition as a journal has it: who saw it, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the journal of the process that saw it: 1, 2, 3...
    pub sequence: u64,
    /// Milliseconds since 1970 by the node's wall clock: for people, and no measure of how long anything took.
    pub at_unix_ms: u64,
    /// Nanoseconds since the start of the node's machine (CLOCK_BOOTTIME): durations are differences of these, of one node and
    /// one start of its machine.
    pub boottime_ns: u64,
    /// The node that saw it.
    pub node: String,
    /// What changed.
    #[serde(flatten)]
    pub transition: Transition,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_bounded_and_on_one_line() {
        assert_eq!(Cause::from("a\nb\tc").as_str(), "a b c");
        let long = Cause::from("ä".repeat(400));
        assert!(long.as_str().len() <= CAUSE_BYTES_MAX, "{}", long.as_str().len());
        assert!(long.as_str().ends_with("ä…"));
        let exact = "x".repeat(CAUSE_BYTES_MAX);
        assert_eq!(Cause::from(exact.as_str()).as_str(), exact);
    }

    #[test]
    fn words_are_told_apart_and_fit_their_labels() {
        for (index, word) in Word::ALL.iter().enumerate() {
            assert!(Word::ALL.iter().skip(index + 1).all(|other| other.as_str() != word.as_str()), "{word}");
        }
        for (index, aspect) in Aspect::ALL.iter().enumerate() {
            assert!(Aspect::ALL.iter().skip(index + 1).all(|other| other.as_str() != aspect.as_str()), "{aspect}");
        }
    }

    #[test]
    fn a_subject_names_itself_and_its_service() {
        let endpoint = Subject::endpoint("shop", "10.0.0.1:80");
        assert_eq!(endpoint.to_string(), "endpoint 10.0.0.1:80 of shop");
        assert_eq!((endpoint.kind(), endpoint.service()), ("endpoint", Some("shop")));
        assert_eq!(Subject::Cluster.to_string(), "cluster");
        assert_eq!(Subject::node("a").service(), None);
    }
}
