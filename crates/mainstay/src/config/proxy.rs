//! A configuration without a file, for `mainstay proxy`.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_gateway::spec::{AccessLog, Endpoint, Listener, Node, Protocol, Resolver, Shutdown, Spec, Telemetry};

use super::problem::{self, Fault};
use super::reader::word_of;
use super::sessions::Sessions;
use super::{Config, Problem, balance, cache, defaults, listener, node, route, words};
use mainstay_observe::alerts::settings::Settings;

/// What the command line of `mainstay proxy` says; `None` stands for the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arguments<'a> {
    /// Where to listen; `:8080` means loopback.
    pub listen: &'a str,
    /// The endpoints.
    pub endpoints: &'a [String],
    /// How requests spread, as `service.balance`.
    pub balance: Option<&'a str>,
    /// Worker threads.
    pub workers: Option<usize>,
    /// An address on loopback, or `off`.
    pub admin: Option<&'a str>,
    /// A path, or `off`.
    pub admin_socket: Option<&'a str>,
    /// `stdout`, `off` or a path.
    pub access_log: Option<&'a str>,
}

/// One listener `proxy` and one service `default`, with every default of the configuration file.
///
/// # Errors
/// Everything that is wrong with the arguments.
pub fn proxy(arguments: &Arguments<'_>) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    let bind = keep(&mut problems, "--listen", read_listen(arguments.listen));
    let service = read_service(arguments, &mut problems);
    let admin = match arguments.admin {
        Some(text) => keep(&mut problems, "--admin", node::parse_loopback_admin(text)).flatten(),
        None => Some(defaults::ADMIN),
    };
    let admin_socket = match arguments.admin_socket {
        Some(text) => keep(&mut problems, "--admin-socket", node::parse_socket(text, |path| path.into())).flatten(),
        None => Some(defaults::admin_socket()),
    };
    let access_log = match arguments.access_log {
        Some(text) => keep(&mut problems, "--access-log", node::parse_access_log(text, |path| path.into())),
        None => Some(AccessLog::Stdout),
    };
    let workers = arguments.workers.unwrap_or_else(defaults::workers);
    if !(1..=node::WORKERS_MAX).contains(&(workers as u64)) {
        let fault = Fault::new(format!("{workers} is out of bounds"));
        let hint = format!("it must be between 1 and {}", node::WORKERS_MAX);
        keep::<()>(&mut problems, "--workers", Err(fault.hint(hint)));
    }
    let (Some(bind), Some(access_log), true) = (bind, access_log, problems.is_empty()) else {
        return Err(problems);
    };
    if admin == Some(bind) {
        let fault = Fault::new(format!("the admin interface listens on {bind} already"));
        keep::<()>(&mut problems, "--listen", Err(fault.hint("choose another port, or set --admin")));
        return Err(problems);
    }
    let listener = clear_listener(bind);
    let node = Node {
        name: defaults::node_name(),
        zone: None,
        workers,
        access_log,
        explain: node::EXPLAIN,
        shutdown: Shutdown { lead: Duration::ZERO, deadline: node::SHUTDOWN_DEADLINE },
        resolver: Resolver::default(),
        cache_memory: cache::MEMORY,
        data_dir: None,
    };
    let routes = vec![route::default_route(&service.name, vec![listener.name.clone()])];
    let (cells, acme, telemetry) = (Vec::new(), Vec::new(), Telemetry::default());
    let spec = Spec { node, listeners: vec![listener], routes, services: vec![service], cells, acme, telemetry };
    Ok(Config {
        spec,
        admin,
        admin_socket,
        cluster: None,
        sessions: Sessions::default(),
        alerting: Settings::default(),
        probes: Vec::new(),
        addresses: Vec::new(),
        databases: Vec::new(),
        access: None,
        admin_tls: None,
        spare: false,
        acme: Vec::new(),
        otlp: None,
        objectives: Vec::new(),
        warnings: Vec::new(),
    })
}

/// A listener with every default.
fn clear_listener(bind: SocketAddr) -> Listener {
    Listener {
        floating: false,
        name: "proxy".to_owned(),
        bind,
        proxy_protocol: None,
        tls: None,
        max_connections: listener::MAX_CONNECTIONS,
        protocol: Protocol::Http(listener::default_http()),
    }
}

fn read_service(arguments: &Arguments<'_>, problems: &mut Vec<Problem>) -> mainstay_gateway::spec::Service {
    let mut service = mainstay_gateway::spec::Service::new("default");
    if let Some(text) = arguments.balance
        && let Some(policy) = keep(problems, "--balance", word_of(text, balance::BALANCE))
    {
        service.balance.policy = policy;
    }
    for text in arguments.endpoints {
        let parsed = words::endpoint(text).and_then(|address| {
            let is_known = service.endpoints.iter().any(|known: &Endpoint| known.address == address);
            if is_known { Err(Fault::new(format!("endpoint `{address}` is there twice"))) } else { Ok(address) }
        });
        if let Some(address) = keep(problems, "ENDPOINT", parsed) {
            service.endpoints.push(Endpoint::new(address));
        }
    }
    if arguments.endpoints.is_empty() {
        let fault = Fault::new("name at least one endpoint")
            .hint("mainstay proxy --listen :8080 127.0.0.1:3001 127.0.0.1:3002");
        keep::<()>(problems, "ENDPOINT", Err(fault));
    }
    service
}

/// On the command line a bare port means this machine only, since the quick way must not open a port to the world.
fn read_listen(text: &str) -> Result<SocketAddr, Fault> {
    let port = text.strip_prefix(':').or_else(|| text.strip_prefix("localhost:")).unwrap_or(text);
    match port.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port))),
        Err(_) => words::bind(text),
    }
}

fn keep<T>(problems: &mut Vec<Problem>, argument: &str, read: Result<T, Fault>) -> Option<T> {
    read.map_err(|fault| {
        let problem = problem::of_file("command line", fault);
        problems.push(Problem { path: argument.to_owned(), ..problem });
    })
    .ok()
}
