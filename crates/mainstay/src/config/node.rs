//! `[node]`: the process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_gateway::spec::{AccessLog, CertificateFiles, Node, Resolver, Shutdown};

use super::problem::Fault;
use super::reader::{Field, Item, Place, Section};
use super::{cache, defaults, keys, units, words};

/// Worker threads, at most.
pub(super) const WORKERS_MAX: u64 = 256;

/// The longest path of a unix socket that Linux takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// When everything that is still open at a shutdown is closed, unless the configuration says otherwise.
pub(super) const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(30);

/// Requests that are remembered, unless the configuration says otherwise.
pub(super) const EXPLAIN: usize = 1024;
/// The most: each takes about 0.8 KiB.
const EXPLAIN_MAX: u64 = 1_000_000;
/// Name servers, at most.
const NAME_SERVERS_MAX: usize = 8;

/// Answers that held for less would keep name servers busier than clients keep the gateway.
const TTL_LEAST: Duration = Duration::from_millis(100);
const LOOKUP_LEAST: Duration = Duration::from_millis(100);
const LOOKUP_MOST: Duration = Duration::from_secs(60);

const NO_TIME: Duration = Duration::ZERO;
const DAY: Duration = Duration::from_secs(86_400);

/// What `[node]` says.
pub(super) struct Settings {
    pub(super) node: Node,
    pub(super) admin: Field<Option<SocketAddr>>,
    pub(super) admin_socket: Option<PathBuf>,
    /// The admin interface's certificate.
    pub(super) admin_tls: Option<CertificateFiles>,
    /// Whether it holds addresses only if no other node can.
    pub(super) spare: bool,
    /// Where the access log is set.
    pub(super) access_log: Place,
}

/// Reads `[node]`, all of which is optional.
pub(super) fn read(root: &Section<'_>) -> Settings {
    let mut node = Node {
        name: String::new(),
        zone: None,
        workers: defaults::workers(),
        access_log: AccessLog::Stdout,
        explain: EXPLAIN,
        shutdown: Shutdown { lead: NO_TIME, deadline: SHUTDOWN_DEADLINE },
        resolver: Resolver::default(),
        cache_memory: cache::MEMORY,
        data_dir: None,
    };
    let mut admin =
        Field { value: Some(defaults::ADMIN), place: root.place.below("node", 0..0), is_given: false, is_good: true };
    let mut admin_socket = None;
    let mut admin_tls = None;
    let mut spare = false;
    let mut access_log = admin.place.clone();
    if let Some(section) = root.item("node").and_then(|item| item.section(&keys::NODE)) {
        node.name = section.field("name", String::new(), |item| item.parsed(words::name)).value;
        node.zone = section.field("zone", None, |item| item.parsed(words::name).map(Some)).value;
        let workers = section.integer("workers", node.workers as u64, 1..=WORKERS_MAX).value;
        node.workers = usize::try_from(workers).unwrap_or(1);
        let log = section.field("access_log", AccessLog::Stdout, read_access_log);
        (node.access_log, access_log) = (log.value, log.place);
        node.explain = section.field("explain", EXPLAIN, read_explain).value;
        node.shutdown = read_shutdown(&section);
        node.resolver = read_resolver(&section);
        node.data_dir = section.field("data_dir", None, |item| item.path().map(Some)).value;
        spare = section.flag("spare", false).value;
        if let Some(section) = section.item("cache").and_then(|item| item.section(&keys::NODE_CACHE)) {
            let bounds = cache::MEMORY_LEAST..=cache::MEMORY_MOST;
            node.cache_memory = section.field("memory", cache::MEMORY, |item| item.size(&bounds)).value;
        }
        admin = section.field("admin", Some(defaults::ADMIN), |item| item.parsed(parse_admin));
        let socket = section.field("admin_socket", None, |item| {
            item.parsed(|text| parse_socket(text, |path| item.reader.resolve(path))).map(Some)
        });
        admin_socket = socket.value;
        admin_tls = read_admin_tls(&section);
    }
    if node.name.is_empty() {
        node.name = defaults::node_name();
    }
    let admin_socket = admin_socket.unwrap_or_else(|| Some(defaults::admin_socket()));
    Settings { node, admin, admin_socket, admin_tls, spare, access_log }
}

/// How many requests are remembered, or `off`.
fn read_explain(item: &Item<'_>) -> Option<usize> {
    if item.word() == Some("off") {
        return Some(0);
    }
    if item.number().is_none() {
        item.wrong_type("a number or \"off\"", "write explain = 1024 or explain = \"off\"");
        return None;
    }
    item.integer(&(1..=EXPLAIN_MAX)).and_then(|count| usize::try_from(count).ok())
}

fn read_access_log(item: &Item<'_>) -> Option<AccessLog> {
    item.parsed(|text| parse_access_log(text, |path| item.reader.resolve(path)))
}

/// `stdout`, `off` or a file.
pub(super) fn parse_access_log(text: &str, resolve: impl FnOnce(&str) -> PathBuf) -> Result<AccessLog, Fault> {
    match text {
        "stdout" => Ok(AccessLog::Stdout),
        "off" => Ok(AccessLog::Off),
        "stderr" => {
            Err(Fault::new("the access log cannot go to stderr").hint("that is where the operational log goes"))
        }
        "" => Err(Fault::new("\"stdout\", \"off\" or a file's path is needed here")),
        path if path.contains('\0') => Err(Fault::new("this is not a path")),
        path => Ok(AccessLog::File(resolve(path))),
    }
}

fn read_admin_tls(node: &Section<'_>) -> Option<CertificateFiles> {
    let section = node.item("admin_tls").and_then(|item| item.section(&keys::ADMIN_TLS))?;
    let cert = section.required("cert", "write cert = \"admin.pem\"").and_then(|item| item.path());
    let key = section.required("key", "write key = \"admin.key\"").and_then(|item| item.path());
    Some(CertificateFiles { cert: cert?, key: key? })
}

/// `off` or an address; whether it may be one off loopback depends on other settings.
pub(super) fn parse_admin(text: &str) -> Result<Option<SocketAddr>, Fault> {
    if text == "off" { Ok(None) } else { words::bind(text).map(Some) }
}

/// `off` or an address on loopback.
pub(super) fn parse_loopback_admin(text: &str) -> Result<Option<SocketAddr>, Fault> {
    let address = parse_admin(text)?;
    if let Some(open) = address.filter(|address| !address.ip().is_loopback()) {
        let fault = Fault::new("without a configuration file the admin interface is only served on loopback");
        return Err(fault.hint(format!("write \"127.0.0.1:{}\", or \"off\"", open.port())));
    }
    Ok(address)
}

/// `off` or the path of a unix socket.
pub(super) fn parse_socket(text: &str, resolve: impl FnOnce(&str) -> PathBuf) -> Result<Option<PathBuf>, Fault> {
    if text == "off" {
        return Ok(None);
    }
    if text.is_empty() || text.contains('\0') {
        return Err(Fault::new("a path is needed here, or \"off\""));
    }
    let path = resolve(text);
    if byte_length(&path) > SOCKET_PATH_BYTES_MAX {
        let message = format!("the path of a socket is at most {SOCKET_PATH_BYTES_MAX} bytes long");
        return Err(Fault::new(message).hint("choose a shorter folder, such as /run/mainstay"));
    }
    Ok(Some(path))
}

fn byte_length(path: &Path) -> usize {
    path.as_os_str().len()
}

fn read_resolver(node: &Section<'_>) -> Resolver {
    let default = Resolver::default();
    let Some(section) = node.item("resolver").and_then(|item| item.section(&keys::RESOLVER)) else { return default };
    let list = section.item("servers");
    let servers: Vec<SocketAddr> =
        list.iter().flat_map(Item::list).filter_map(|item| item.parsed(words::name_server)).collect();
    if let Some(list) = &list
        && list.is_list()
        && !(1..=NAME_SERVERS_MAX).contains(&list.list().len())
    {
        let fault = Fault::new(format!("1 to {NAME_SERVERS_MAX} name servers can be named here"));
        list.error(fault.hint("leave `servers` out to ask those of /etc/resolv.conf"));
    }
    let min_ttl = section.duration("min_ttl", default.min_ttl, TTL_LEAST..=DAY);
    let max_ttl = section.duration("max_ttl", default.max_ttl, TTL_LEAST..=DAY);
    if min_ttl.is_good && max_ttl.is_good && min_ttl.value > max_ttl.value {
        let fault = Fault::new(format!(
            "`min_ttl` ({}) must not be longer than `max_ttl` ({})",
            units::show_duration(min_ttl.value),
            units::show_duration(max_ttl.value)
        ));
        section.reader.error(if min_ttl.is_given { &min_ttl.place } else { &max_ttl.place }, fault);
    }
    let timeout = section.duration("timeout", default.timeout, LOOKUP_LEAST..=LOOKUP_MOST).value;
    Resolver { servers, min_ttl: min_ttl.value, max_ttl: max_ttl.value, timeout }
}

fn read_shutdown(node: &Section<'_>) -> Shutdown {
    let default = Shutdown { lead: NO_TIME, deadline: SHUTDOWN_DEADLINE };
    let Some(section) = node.item("shutdown").and_then(|item| item.section(&keys::SHUTDOWN)) else { return default };
    let lead = section.duration("lead", default.lead, NO_TIME..=DAY);
    let deadline = section.duration("deadline", default.deadline, NO_TIME..=DAY);
    if lead.is_good && deadline.is_good && lead.value >= deadline.value && lead.value > NO_TIME {
        let place = if lead.is_given { &lead.place } else { &deadline.place };
        let fault = Fault::new(format!(
            "`lead` ({}) must be shorter than `deadline` ({}), which counts from the signal too",
            units::show_duration(lead.value),
            units::show_duration(deadline.value)
        ));
        section.reader.error(place, fault);
    }
    Shutdown { lead: lead.value, deadline: deadline.value }
}
