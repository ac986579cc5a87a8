//! What is counted about whom.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What a series is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Requests of a route.
    Route,
    /// Requests of all routes that lead to a service; connections to its endpoints if only TCP listeners do.
    Service,
    /// Attempts at an endpoint; its name is `SERVICE/ADDRESS`.
    Endpoint,
    /// Connections of a listener.
    Listener,
    /// All requests of a node, and what its process uses.
    Node,
    /// Runs of a synthetic probe.
    Probe,
    /// Seconds of a group of databases, and what its clients waited.
    Database,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Route, Self::Service, Self::Endpoint, Self::Listener, Self::Node, Self::Probe, Self::Database];

    /// Its name in addresses and files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Service => "service",
            Self::Endpoint => "endpoint",
            Self::Listener => "listener",
            Self::Node => "node",
            Self::Probe => "probe",
            Self::Database => "database",
        }
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    pub(super) const fn number(self) -> u8 {
        self as u8
    }
}

/// What the names of the series of reads of databases end with.
const READS: &str = "/read";

/// Whether a database takes writes, or can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// By its primary.
    Write,
    /// By any of its servers.
    Read,
}

impl Access {
    /// The group and the access that a database's series of this name is about ([`Series::reads_of`]).
    pub fn of(name: &str) -> (&str, Self) {
        name.strip_suffix(READS).map_or((name, Self::Write), |group| (group, Self::Read))
    }

    /// Its name in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// A series: what it is about, and of what name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// What it is about.
    pub kind: Kind,
    /// Its name in the configuration; of endpoints `SERVICE/ADDRESS`, of reads of databases `GROUP/read`.
    pub name: Arc<str>,
}

impl Series {
    /// The series of that kind and name.
    pub fn new(kind: Kind, name: &str) -> Self {
        Self { kind, name: name.into() }
    }

    /// The seconds in which a group of databases can be read; those of writes have the group's name alone.
    pub fn reads_of(group: &str) -> Self {
        Self::new(Kind::Database, &format!("{group}{READS}"))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.word(), self.name)
    }
}

/// What is wrong with a series' text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no series: write KIND/NAME, where KIND is route, service, endpoint, listener, node, probe or database"
)]
pub struct NotASeries(String);

impl FromStr for Series {
    type Err = NotASeries;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(kind, name)| {
            let kind = Kind::ALL.into_iter().find(|it| it.word() == kind)?;
            (!name.is_empty()).then(|| Self::new(kind, name))
        });
        parsed.ok_or_else(|| NotASeries(text.chars().take(100).collect()))
    }
}
