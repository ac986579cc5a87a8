//! `sticky` of services: sessions stay with an endpoint, by a signed cookie or by a table.

use std::time::Duration;

use mainstay_core::balance::Policy;
use mainstay_core::session::TTL_SECONDS;
use mainstay_gateway::spec::{Protocol, SameSite, SessionEngine, SessionTable, Sticky};

use super::cluster::{Cluster, Engine};
use super::problem::Fault;
use super::reader::{Item, Reader, Section};
use super::relations::Parts;
use super::sessions::Sessions;
use super::{keys, words};

/// A cookie that is older has better be asked for again.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// How long a session in a table lives without being used.
const TTL: Duration = Duration::from_secs(30 * 60);

/// The settings, or the defaults for `true`. `service` is the service's name.
pub(super) fn read(section: &Section<'_>, service: &str, balance: Policy) -> Option<Sticky> {
    let item = section.item("sticky")?;
    let mut sticky = Sticky {
        cookie: format!("mainstay_{service}"),
        table: None,
        key_file: None,
        max_age: None,
        path: "/".to_owned(),
        same_site: SameSite::Lax,
        http_only: true,
        secure: None,
    };
    if item.as_flag() == Some(false) {
        return None;
    }
    if item.as_flag().is_none() {
        read_table(&item, &mut sticky)?;
    }
    if balance == Policy::Hash {
        let fault = Fault::new("`sticky` and balance = \"hash\" both say where a session goes");
        item.error(fault.hint("leave one of them out"));
    }
    if sticky.key_file.is_none() && sticky.table.is_none() {
        let fault = Fault::new(
            "without `key_file` the key is drawn at each start: other nodes, and this one after a restart or an upgrade, do not know its sessions",
        );
        item.reader.warn(&item.place, fault.hint("write key_file = \"sessions.key\" with the same file on every node; `openssl rand -hex 32` makes a key"));
    }
    Some(sticky)
}

fn read_table(item: &Item<'_>, sticky: &mut Sticky) -> Option<()> {
    if !item.is_table() {
        item.wrong_type("true or a table", "write sticky = true or sticky = { key_file = \"sessions.key\" }");
        return None;
    }
    let section = item.section(&keys::STICKY)?;
    // The name of a cookie is a token, as that of a header is, but case counts.
    let name = |item: &Item<'_>| item.parsed(|text| words::header_name(text).map(|_lower| text.to_owned()));
    sticky.cookie = section.field("cookie", std::mem::take(&mut sticky.cookie), name).value;
    sticky.key_file = section.field("key_file", None, |item| item.path().map(Some)).value;
    let bounds = Duration::from_secs(1)..=YEAR;
    sticky.max_age = section.field("max_age", None, |item| item.duration(&bounds).map(Some)).value;
    sticky.table = table(&section);
    sticky.path = section.field("path", "/".to_owned(), |item| item.parsed(cookie_path)).value;
    let words = [("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];
    let same_site = section.field("same_site", SameSite::Lax, |item| item.one_of(&words));
    sticky.same_site = same_site.value;
    sticky.http_only = section.flag("http_only", true).value;
    sticky.secure = section.field("secure", None, |item| item.flag().map(Some)).value;
    if same_site.value == SameSite::None && sticky.secure == Some(false) {
        let fault = Fault::new("browsers refuse a cookie with same_site = \"none\" that is not secure");
        section.reader.error(&same_site.place, fault.hint("leave `secure` out"));
    }
    Some(())
}

/// The table, if sessions are kept in one; then the cookie holds an id, which needs no key and has no age.
fn table(section: &Section<'_>) -> Option<SessionTable> {
    let engines = [("embedded", SessionEngine::Embedded), ("redis", SessionEngine::Redis)];
    let engine = section.field("table", None, |item| item.one_of(&engines).map(Some));
    let bounds = Duration::from_secs((*TTL_SECONDS.start()).into())..=Duration::from_secs((*TTL_SECONDS.end()).into());
    let ttl = section.duration("ttl", TTL, bounds);
    let Some(found) = engine.value else {
        if ttl.is_given && !engine.is_given {
            let fault = Fault::new("`ttl` is for sessions in a table");
            section.reader.error(&ttl.place, fault.hint("write table = \"embedded\" beside it, or `max_age` instead"));
        }
        return None;
    };
    for (key, instead) in [("key_file", "leave it out"), ("max_age", "write `ttl` instead, or leave it out")] {
        if let Some(item) = section.item(key) {
            let fault =
                Fault::new(format!("`{key}` has no meaning for sessions in a table: the cookie holds only an id"));
            item.error(fault.hint(instead));
        }
    }
    Some(SessionTable { engine: found, ttl: ttl.value })
}

/// Whether sessions can be kept where services want them: in Redis if it is known where that is, in the nodes if they speak to
/// each other. Nodes that agree by etcd do not.
pub(super) fn check_tables(
    reader: &Reader<'_>,
    services: &[super::service::Read],
    sessions: &Sessions,
    cluster: Option<&Cluster>,
) {
    let keeps_in = |read: &super::service::Read, engine: SessionEngine| {
        let table = read.service.sticky.as_ref().and_then(|sticky| sticky.table);
        table.is_some_and(|table| table.engine == engine)
    };
    let is_by_etcd = cluster.is_some_and(|cluster| matches!(cluster.engine, Engine::Etcd { .. }));
    for read in services.iter().filter(|read| is_by_etcd && keeps_in(read, SessionEngine::Embedded)) {
        let fault = Fault::new(format!(
            "service `{}` keeps its sessions in each node's own table: with `cluster.etcd` nodes do not tell each other of them, \
             and a session is lost with its node",
            read.service.name
        ));
        let hint = "write table = \"redis\", or leave `cluster.etcd` out and let the nodes agree by themselves";
        reader.warn(&read.place, fault.hint(hint));
    }
    let in_redis = |read: &&super::service::Read| keeps_in(read, SessionEngine::Redis);
    for read in services.iter().filter(in_redis).filter(|_read| sessions.redis.is_none()) {
        let fault = Fault::new(format!(
            "service `{}` keeps its sessions in Redis, of which nothing is said",
            read.service.name
        ));
        reader.error_if_whole(
            &read.place,
            fault.hint("write [sessions] and below it redis = { address = \"127.0.0.1:6379\" }"),
        );
    }
}

/// A path that may stand in a cookie's attribute.
fn cookie_path(text: &str) -> Result<String, Fault> {
    let path = words::path(text)?;
    if path.contains([';', ',']) {
        return Err(Fault::new("a cookie's path cannot hold `;` or `,`"));
    }
    Ok(path)
}

/// Connections over TCP have no cookies.
pub(super) fn check_relations(reader: &Reader<'_>, parts: &Parts<'_>) {
    for read in parts.listeners {
        let Protocol::Tcp { service, .. } = &read.listener.protocol else { continue };
        if parts.services.iter().any(|it| it.service.name == *service && it.service.sticky.is_some()) {
            let fault = Fault::new(format!("`sticky` of service `{service}` has no effect on connections over TCP"));
            reader.warn(read.service.as_ref().unwrap_or(&read.place), fault);
        }
    }
}
