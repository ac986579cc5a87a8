//! Synthetic probes: journeys of users, tried from the outside again and again by several nodes.
//!
//! A [`Probe`] is a list of steps: requests over HTTP whose answers are looked at and from which values are taken for later
//! steps, connections over TCP and TLS, questions to name servers. [`run()`] makes one journey. The [`driver`] makes them on
//! time, on a thread of its own; what came of them, here and on other nodes ([`cluster`]), is on the [`board`], and
//! [`mainstay_core::vantage`] decides what follows from it.
//!
//! Everything has a limit: probes, steps, bytes of an answer, cookies, redirections, time. Nothing is tried twice within a
//! journey: a failure is a failure. What is said of one names no secret and no captured value.

pub mod board;
pub mod cluster;
mod cookies;
pub mod driver;
mod http;
pub mod journey;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_probe::json::Rules;
use mainstay_probe::script::{Capture, Pattern, Template};

use crate::secret::Secret;

pub use journey::{Outcome, StepOutcome, run};
pub use mainstay_probe::script::Expected;

/// Probes, at most.
pub const PROBES_MAX: usize = 100;
/// Steps of a probe, at most.
pub const STEPS_MAX: usize = 16;

/// A journey that is made again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Its unique name.
    pub name: String,
    /// Between the beginnings of two journeys of one node.
    pub interval: Duration,
    /// For a whole journey; what is not over by then has failed.
    pub timeout: Duration,
    /// The nodes that make it; all if empty.
    pub from: Vec<String>,
    /// Values for `{name}` that are not in the configuration. They are read for each journey.
    pub secrets: Vec<(String, Secret)>,
    /// Authorities in PEM in place of the system's.
    pub ca: Option<PathBuf>,
    /// What is done, in order, up to the first that fails.
    pub steps: Vec<Step>,
}

impl Probe {
    /// Whether that node makes it.
    pub fn is_made_by(&self, node: &str) -> bool {
        self.from.is_empty() || self.from.iter().any(|name| name == node)
    }
}

/// A part of a journey.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What people call it.
    pub name: String,
    /// For this step alone, if that is less than what is left for the journey.
    pub timeout: Option<Duration>,
    /// What is done.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A request over HTTP.
    Http(Box<Request>),
    /// A connection over TCP.
    Tcp(Talk),
    /// A handshake of TLS.
    Tls(Handshake),
    /// A question to a name server.
    Dns(Question),
}

/// A request over HTTP, and what is asked of its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The URL; one that begins with a slash is taken at the host of the step before.
    pub url: Template,
    /// Headers, whose names and fixed parts have been checked.
    pub headers: Vec<(String, Template)>,
    /// The body; empty for none.
    pub body: Template,
    /// Redirections that are followed, at most; 0: the redirection is the answer.
    pub follow: u8,
    /// Bytes of the answer's body, at most.
    pub body_max: usize,
    /// Which answers pass.
    pub expect: Expected,
    /// What must be found in headers, by their names in lower case; without a pattern they must be there.
    pub expect_headers: Vec<(String, Pattern)>,
    /// What must be found in the body.
    pub expect_body: Vec<Pattern>,
    /// What the body must say, if it is JSON.
    pub json: Option<Rules>,
    /// What is taken from the answer for later steps. A value that is not there fails the step.
    pub captures: Vec<Capture>,
}

/// A connection over TCP.
#[derive(Clone, Debug, PartialEq)]
pub struct Talk {
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What is sent first; empty for nothing.
    pub send: Template,
    /// What must be found in the first 64 KiB that come back.
    pub expect: Option<Pattern>,
}

/// A handshake of TLS: the certificate's chain, name and time must be right.
#[derive(Clone, Debug, PartialEq)]
pub struct Handshake {
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The name that the certificate must be for; the host, if not said.
    pub server_name: Option<String>,
    /// With fewer days left the step fails.
    pub days_min: f64,
}

/// A question to a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked about.
    pub name: String,
    /// The kind of records: `A`, `AAAA`, `CNAME`, `MX`, `NS`, `SRV`, `TXT`...
    pub kind: String,
    /// Who is asked; the system's if not said.
    pub server: Option<SocketAddr>,
    /// Data of records that must all be among the answer's; some record must be, if there are none.
    pub records: Vec<String>,
}

#[cfg(test)]
mod tests;
