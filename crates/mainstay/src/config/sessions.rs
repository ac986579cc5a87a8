//! `[sessions]`: how tables of sessions are kept, for services that keep theirs in one.

use std::path::PathBuf;
use std::time::Duration;

use mainstay_cluster::sessions::{Ack, Policy};

use super::keys;
use super::problem::Fault;
use super::reader::Section;
use super::words;

/// The port that Redis has unless something else is said.
const REDIS_PORT: u16 = 6379;
/// Sessions in a table, at most: some hundred bytes each.
const SESSIONS_MAX: u64 = 10_000_000;

/// What `[sessions]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// How the embedded table is kept.
    pub policy: Policy,
    /// Where Redis is.
    pub redis: Option<Redis>,
}

/// Where Redis is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The number of the database.
    pub database: u32,
    /// Who we are.
    pub username: Option<String>,
    /// A file with nothing but our password in it.
    pub password_file: Option<PathBuf>,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// The settings, or the defaults.
pub(super) fn read(root: &Section<'_>) -> Sessions {
    let mut sessions = Sessions::default();
    let Some(section) = root.item("sessions").and_then(|item| item.section(&keys::SESSIONS)) else { return sessions };
    let standard = sessions.policy;
    let max = section.integer("max", standard.max as u64, 1..=SESSIONS_MAX).value;
    let acks = [("none", Ack::None), ("one", Ack::One), ("majority", Ack::Majority)];
    let bounds = Duration::from_millis(1)..=Duration::from_secs(2);
    sessions.policy = Policy {
        max: usize::try_from(max).unwrap_or(standard.max),
        ack: section.field("ack", standard.ack, |item| item.one_of(&acks)).value,
        ack_timeout: section.duration("ack_timeout", standard.ack_timeout, bounds).value,
    };
    sessions.redis =
        section.item("redis").and_then(|item| item.section(&keys::SESSIONS_REDIS)).and_then(|it| redis(&it));
    sessions
}

fn redis(section: &Section<'_>) -> Option<Redis> {
    let address = section.required("address", "write address = \"127.0.0.1:6379\"")?;
    let (host, port) = address.parsed(place)?;
    let username = section.field("username", None, |item| item.text().map(|text| Some(text.to_owned())));
    let password = section.field("password_file", None, |item| item.path().map(Some));
    if username.is_given && !password.is_given {
        let fault = Fault::new("a `username` without `password_file`");
        section.reader.error(&username.place, fault.hint("write password_file = \"redis.password\" beside it"));
    }
    Some(Redis {
        host,
        port,
        database: u32::try_from(section.integer("database", 0, 0..=65_535).value).unwrap_or(0),
        username: username.value,
        password_file: password.value,
        timeout: section
            .duration("timeout", Duration::from_millis(100), Duration::from_millis(5)..=Duration::from_secs(2))
            .value,
    })
}

/// `HOST:PORT`, or a host alone.
fn place(text: &str) -> Result<(String, u16), Fault> {
    if text.contains("://") {
        let fault = Fault::new("this is a URL");
        return Err(
            fault.hint("write \"HOST:PORT\"; `database`, `username` and `password_file` have keys of their own")
        );
    }
    let is_bare = !text.contains(':') || text.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = if is_bare {
        (text, REDIS_PORT)
    } else {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let port = port.parse().ok().filter(|port| *port > 0);
        let fault = || Fault::new(format!("`{text}` has no port")).hint("write \"HOST:PORT\"");
        (host, port.ok_or_else(fault)?)
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.parse::<std::net::IpAddr>().is_err() {
        words::domain(host)?;
    }
    Ok((host.to_owned(), port))
}
