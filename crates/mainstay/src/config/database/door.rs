//! Where clients of a group come in at a node.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_core::database::Engine;
use mainstay_gateway::spec::{self, Access, Listener, Protocol};

use super::super::problem::Fault;
use super::super::reader::{Item, Place, Section};
use super::super::{listener, service, words};
use super::{Database, Doors, MIB, ReadFallback, read_size};

/// How long a new connection waits for a primary, unless the configuration says otherwise.
const HOLD: Duration = Duration::from_secs(5);
/// The longest that makes sense: clients have given up then.
const HOLD_LONGEST: Duration = Duration::from_secs(60);
/// How many connections wait, unless the configuration says otherwise.
const HOLD_MAX: u64 = 1000;
/// The most.
const HOLD_MOST: u64 = 100_000;
const MILLI: Duration = Duration::from_millis(1);
const WEEK: Duration = Duration::from_secs(604_800);

/// An address that is listened on, and where it stands.
pub(super) struct Read {
    pub(super) key: &'static str,
    pub(super) bind: SocketAddr,
    pub(super) place: Place,
}

pub(super) fn read(section: &Section<'_>) -> (Doors, Vec<Read>) {
    let mut bound = Vec::new();
    let mut door = |key: &'static str| {
        let field = section.field(key, None, |item| parse_bind(item).map(Some));
        bound.extend(field.value.map(|bind| Read { key, bind, place: field.place.clone() }));
        (field.value, field.is_given)
    };
    let ((write, has_write), (read, has_read), (rest, _)) = (door("write"), door("read"), door("rest"));
    let standard = spec::Database::write("", Engine::Postgres);
    let open_most = listener::MAX_CONNECTIONS as u64;
    let words = [("primary", ReadFallback::Primary), ("refuse", ReadFallback::Refuse)];
    let doors = Doors {
        write,
        read,
        read_lag_max: read_size(section, "read_lag_max", 16 * MIB),
        read_fallback: section.field("read_fallback", ReadFallback::Primary, |item| item.one_of(&words)).value,
        hold: section.duration("hold", HOLD, Duration::ZERO..=HOLD_LONGEST).value,
        hold_max: usize::try_from(section.integer("hold_max", HOLD_MAX, 1..=HOLD_MOST).value).unwrap_or(1),
        connect_timeout: section.duration("connect_timeout", standard.connect_timeout, MILLI..=WEEK).value,
        idle_timeout: section.duration("idle_timeout", standard.idle_timeout, MILLI..=WEEK).value,
        max_connections: usize::try_from(section.integer("max_connections", open_most, 1..=10_000_000).value)
            .unwrap_or(listener::MAX_CONNECTIONS),
        tls: section.item("tls").as_ref().and_then(listener::read_tls),
        server_tls: section.item("server_tls").as_ref().and_then(service::read_tls),
        rest,
    };
    let without = |key: &str, is_there: bool, needs: &str| {
        if let (Some(item), false) = (section.item(key), is_there) {
            item.error(Fault::new(format!("`{key}` has no effect without {needs}")));
        }
    };
    without("read_lag_max", has_read, "`read`");
    without("read_fallback", has_read, "`read`");
    for key in ["hold", "hold_max", "connect_timeout", "idle_timeout", "max_connections", "tls", "server_tls"] {
        without(key, has_write || has_read, "`write` or `read`");
    }
    (doors, bound)
}

/// The listeners of a group's doors.
pub(in crate::config) fn listeners(database: &Database) -> Vec<Listener> {
    let doors = &database.doors;
    let door = |key: &str, bind: &Option<SocketAddr>, access| {
        let led = spec::Database {
            access,
            hold: doors.hold,
            hold_max: doors.hold_max,
            connect_timeout: doors.connect_timeout,
            idle_timeout: doors.idle_timeout,
            upstream_tls: doors.server_tls.clone(),
            ..spec::Database::write(&database.name, database.engine)
        };
        Some(Listener {
            name: format!("{}-{key}", database.name),
            bind: (*bind)?,
            floating: false,
            proxy_protocol: None,
            tls: doors.tls.clone(),
            max_connections: doors.max_connections,
            protocol: Protocol::Database(led),
        })
    };
    let fallback = doors.read_fallback == ReadFallback::Primary;
    let reads = Access::Read { lag_max: doors.read_lag_max, fallback, cut: false };
    [door("write", &doors.write, Access::Write), door("read", &doors.read, reads)].into_iter().flatten().collect()
}

fn parse_bind(item: &Item<'_>) -> Option<SocketAddr> {
    item.parsed(words::bind)
}
