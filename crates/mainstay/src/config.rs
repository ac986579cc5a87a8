//! Configuration: TOML text in, a checked [`Spec`] out, or everything that is wrong with the text at once.

pub mod access;
mod acme;
pub mod address;
mod admission;
pub mod alerting;
mod balance;
mod breaker;
mod cache;
mod cell;
pub mod cluster;
pub mod database;
pub mod defaults;
mod endpoints;
pub mod etcd;
mod events;
mod fallback;
mod files;
mod guard;
mod health;
mod hedge;
mod isolation;
mod keys;
mod listener;
mod mirror;
mod node;
mod objective;
mod otlp;
mod outlier;
mod probe;
mod problem;
mod proxy;
mod quarantine;
mod reader;
mod relations;
pub mod report;
mod restart;
mod route;
mod secret;
mod service;
pub mod sessions;
pub mod shared;
mod source;
mod sticky;
mod syntax;
#[cfg(test)]
mod tests;
mod units;
mod words;
mod zones;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_core::sampling::Rate;
use mainstay_gateway::spec::{CertificateFiles, Route, Spec};
use mainstay_observe::slo::Objective;
use toml::de::{DeTable, DeValue};

use problem::Fault;
pub use problem::{Excerpt, Problem, Severity};
pub use proxy::{Arguments, proxy};
use reader::{Field, Reader, Section};
use shared::Local;
use source::Source;

/// The longest duration that makes sense for anything here.
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 16 * 1_048_576;

/// A configuration that has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the gateway serves.
    pub spec: Spec,
    /// Where the admin interface listens.
    pub admin: Option<SocketAddr>,
    /// The admin interface's unix socket.
    pub admin_socket: Option<PathBuf>,
    /// The admin interface's certificate; without it, it speaks no TLS.
    pub admin_tls: Option<CertificateFiles>,
    /// Who may use the admin interface over TCP; without it, everybody on the machine may look.
    pub access: Option<access::Access>,
    /// The node's part in a cluster, if it has one.
    pub cluster: Option<cluster::Cluster>,
    /// How tables of sessions are kept.
    pub sessions: sessions::Sessions,
    /// Who is told of what is wrong.
    pub alerting: mainstay_observe::alerts::settings::Settings,
    /// Addresses that one node of the cluster holds at a time.
    pub addresses: Vec<address::Address>,
    /// Groups of database servers with one primary.
    pub databases: Vec<database::Database>,
    /// Whether this node holds addresses only if no other one can.
    pub spare: bool,
    /// What is to hold of routes, services and probes.
    pub objectives: Vec<Objective>,
    /// Journeys of users that are tried from the outside.
    pub probes: Vec<mainstay_observe::probes::Probe>,
    /// Certificates that authorities issue.
    pub acme: Vec<mainstay_observe::acme::settings::Settings>,
    /// Where requests and metrics are sent, if anywhere.
    pub otlp: Option<mainstay_observe::otlp::Settings>,
    /// What is allowed, but probably not meant.
    pub warnings: Vec<Problem>,
}

/// Reads a file and checks it. Files that it names are not looked at; [`check`] does that too.
///
/// # Errors
/// Everything that is wrong, warnings included; at least one of them is an error.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    read_and_examine(path, Files::Trusted)
}

/// As [`load`], and the files that the configuration names (certificates, keys, authorities) are tried too.
///
/// # Errors
/// As [`load`].
pub fn check(path: &Path) -> Result<Config, Vec<Problem>> {
    read_and_examine(path, Files::Tried)
}

/// Whether the files that a configuration names are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    Trusted,
    Tried,
}

fn read_and_examine(path: &Path, files: Files) -> Result<Config, Vec<Problem>> {
    let file = path.display().to_string();
    let text = read_file(path).map_err(|fault| vec![problem::of_file(&file, fault)])?;
    let base_dir = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(""));
    examine(&text, &file, base_dir, files)
}

fn read_file(path: &Path) -> Result<String, Fault> {
    let refused = |error: std::io::Error| Fault::new(format!("cannot read the file: {error}"));
    let size = std::fs::metadata(path).map_err(refused)?.len();
    if size > FILE_BYTES_MAX {
        return Err(Fault::new("the file is larger than 16MiB: this is hardly a configuration"));
    }
    let bytes = std::fs::read(path).map_err(refused)?;
    String::from_utf8(bytes)
        .map_err(|error| Fault::new(format!("the file is not UTF-8: byte {} is not", error.utf8_error().valid_up_to())))
}

/// Reads a duration as configurations have it, such as `30m`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|fault| match fault.hint {
        Some(hint) => format!("{}; {hint}", fault.message),
        None => fault.message,
    })
}

/// Reads a share of requests that leave a line, such as `1%`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    events::parse_rate(text).map_err(|fault| match fault.hint {
        Some(hint) => format!("{}; {hint}", fault.message),
        None => fault.message,
    })
}

/// Checks a text. `file` is what problems call it; relative paths in it are taken from `base_dir`.
///
/// # Errors
/// Everything that is wrong, warnings included; at least one of them is an error.
pub fn parse(text: &str, file: &str, base_dir: &Path) -> Result<Config, Vec<Problem>> {
    examine(text, file, base_dir, Files::Trusted)
}

fn examine(text: &str, file: &str, base_dir: &Path, files: Files) -> Result<Config, Vec<Problem>> {
    examine_with(text, file, base_dir, files, None)
}

/// With `local`, what the document says of the node is not looked at.
fn examine_with(
    text: &str,
    file: &str,
    base_dir: &Path,
    files: Files,
    local: Option<Local>,
) -> Result<Config, Vec<Problem>> {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let mut source = Source::new(text, !syntax_errors.is_empty());
    let mut secrets = Vec::new();
    find_secrets(document.get_ref(), false, &mut secrets);
    source.hide(secrets);
    let reader = Reader::new(file, base_dir, source);
    let end_of_sense = syntax::report(&reader, &syntax_errors);
    let config = read(&reader, document.get_ref(), files, local);
    let mut problems = reader.into_problems();
    problems.retain(|problem| problem.line <= end_of_sense);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    Ok(Config { warnings: problems, ..config })
}

/// Header values may be credentials, so they are kept out of everything that is shown.
fn find_secrets(table: &DeTable<'_>, is_secret: bool, found: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let is_secret = is_secret || source::is_secret_word(key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => find_secrets(table, is_secret, found),
            DeValue::Array(entries) => {
                for entry in entries.iter().filter_map(|entry| entry.get_ref().as_table()) {
                    find_secrets(entry, is_secret, found);
                }
            }
            _scalar if is_secret => found.push(value.span()),
            _scalar => {}
        }
    }
}

fn read(reader: &Reader<'_>, document: &DeTable<'_>, files: Files, local: Option<Local>) -> Config {
    let root = Section::root(reader, document);
    let is_shared = local.is_some();
    let Local { settings, cluster, addresses, databases, access } = local.unwrap_or_else(|| Local::read(&root));
    let mut listeners: Vec<_> = root.sections("listener", &keys::LISTENER).iter().map(listener::read).collect();
    let mut doors: Vec<_> = databases.iter().flat_map(|read| database::listeners(&read.database)).collect();
    let mut bound: Vec<_> = listeners.iter_mut().map(|read| &mut read.listener).chain(&mut doors).collect();
    address::relate(reader, cluster.is_some(), &addresses, &mut bound);
    database::relate(reader, &databases, &settings, &listeners, cluster.as_ref());
    let mut routes: Vec<_> = root.sections("route", &keys::ROUTE).iter().map(route::read).collect();
    let mut services: Vec<_> = root.sections("service", &keys::SERVICE).iter().map(service::read).collect();
    for read in &mut services {
        zones::settle(reader, settings.node.zone.as_deref(), &mut read.service, &read.place);
    }
    let cells: Vec<_> = root.sections("cell", &keys::CELL).iter().map(cell::read).collect();
    check_some_listener(&root, is_shared || cluster.is_none());
    let implied = if root.has("route") { None } else { implied_route(&listeners, &services) };
    routes.extend(implied.map(route::Read::implied));
    let parts = &mut relations::Parts {
        listeners: &listeners,
        routes: &mut routes,
        services: &services,
        cells: &cells,
        keeps: settings.node.data_dir.is_some(),
        admin: &settings.admin,
    };
    relations::check(reader, parts);
    let acme = acme::read_all(&root, settings.node.data_dir.is_some(), &listeners);
    let sessions = sessions::read(&root);
    sticky::check_tables(reader, &services, &sessions, cluster.as_ref());
    relations::check_objects(reader, parts.routes, settings.node.cache_memory);
    let probes = probe::read_all(&root);
    let objectives = objective::read_all(&root, parts.routes, &services, &probes, &databases);
    let otlp = otlp::read(&root);
    let alerting = alerting::read(&root);
    if files == Files::Tried {
        files::check(reader, &settings, &listeners, parts.routes, &services);
        database::check_machine(reader, &databases);
    }
    Config {
        spec: Spec {
            node: settings.node,
            listeners: listeners.into_iter().map(|read| read.listener).chain(doors).collect(),
            routes: routes.into_iter().map(|read| read.route).collect(),
            services: services.into_iter().map(|read| read.service).collect(),
            cells: cells.into_iter().map(|read| read.cell).collect(),
            acme: acme.iter().map(acme::of_the_gateway).collect(),
            telemetry: events::read(&root),
        },
        admin: settings.admin.value,
        admin_socket: settings.admin_socket,
        admin_tls: settings.admin_tls,
        access,
        cluster,
        sessions,
        alerting,
        addresses: addresses.into_iter().map(|read| read.address).collect(),
        databases: databases.into_iter().map(|read| read.database).collect(),
        spare: settings.spare,
        objectives,
        probes,
        acme,
        otlp,
        warnings: Vec::new(),
    }
}

/// A node of a cluster may get all that it serves from there, and then its own file names none.
fn check_some_listener(root: &Section<'_>, is_all: bool) {
    let has_none = root.item("listener").is_none_or(|item| item.is_list() && item.list().is_empty());
    if has_none && (is_all || root.has("service") || root.has("route")) {
        let fault = Fault::new("there is no [[listener]]: nothing would be served");
        root.reader.error_if_whole(&root.place, fault.hint("write [[listener]] with a `name` and a `bind` below it"));
    }
}

/// With no route at all and one service, that service gets everything: the smallest configuration needs no route.
fn implied_route(listeners: &[listener::Read], services: &[service::Read]) -> Option<Route> {
    let [only] = services else { return None };
    let names: Vec<String> =
        listeners.iter().filter(|read| read.takes_routes()).map(|read| read.listener.name.clone()).collect();
    (!names.is_empty()).then(|| route::default_route(&only.service.name, names))
}

/// Reads the name that every listener, route and service has.
fn read_name(section: &Section<'_>) -> Field<String> {
    section.required("name", "");
    section.field("name", String::new(), |item| item.parsed(words::name))
}
