//! `mainstay run`, `mainstay proxy` and `mainstay check`: from a configuration to a serving node and out again.

mod reload;
mod watched;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use mainstay_gateway::{Gateway, StartError};
use mainstay_runtime::signal::{Signal, Signals};
use mainstay_runtime::thread;
use mainstay_runtime::watch::Files;
use tokio::sync::oneshot;

use crate::admin::{self, Node, serve};
use crate::config::{self, Config, Problem};
use crate::failure::{Failure, chain};
use crate::run::reload::Reloader;
use crate::{limits, output};

/// Arguments of `mainstay proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Where to listen: ADDRESS:PORT, or :PORT on 127.0.0.1
    #[arg(long, value_name = "ADDR")]
    listen: String,
    /// Where requests go: HOST:PORT, one or more
    #[arg(value_name = "ENDPOINT", required = true)]
    endpoints: Vec<String>,
    /// How requests spread: least-request, round-robin, random or hash [default: least-request]
    #[arg(long, value_name = "POLICY")]
    balance: Option<String>,
    /// Worker threads [default: number of cores]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Where the access log goes: stdout, off or a file [default: stdout]
    #[arg(long, value_name = "WHERE")]
    access_log: Option<String>,
    /// Where the admin interface listens, on loopback, or off [default: 127.0.0.1:7900]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// The admin interface's unix socket, or off
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<String>,
}

/// Serves a configuration file until a signal ends it.
///
/// # Errors
/// If the file is wrong, or something that it asks for cannot be had.
pub fn run(file: &Path) -> Result<ExitCode, Failure> {
    match config::load(file) {
        Ok(config) => serve(config, Some(file.to_owned())),
        Err(problems) => Err(refused(file, problems)),
    }
}

/// Serves what the command line describes until a signal ends it.
///
/// # Errors
/// If the arguments are wrong, or something that they ask for cannot be had.
pub fn proxy(args: &ProxyArgs) -> Result<ExitCode, Failure> {
    let arguments = config::Arguments {
        listen: &args.listen,
        endpoints: &args.endpoints,
        balance: args.balance.as_deref(),
        workers: args.workers,
        admin: args.admin.as_deref(),
        admin_socket: args.admin_socket.as_deref(),
        access_log: args.access_log.as_deref(),
    };
    match config::proxy(&arguments) {
        Ok(config) => serve(config, None),
        Err(problems) => Err(Failure::usage(described(&problems))),
    }
}

/// Prints everything that is wrong with a configuration file.
///
/// # Errors
/// If the result cannot be written.
pub fn check(file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let result = config::check(file);
    output::text(&if json {
        config::report::render_json(file, &result)
    } else {
        config::report::render_text(file, &result)
    })?;
    Ok(if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn refused(file: &Path, problems: Vec<Problem>) -> Failure {
    Failure::rendered(config::report::render_text(file, &Err(problems)))
}

fn described(problems: &[Problem]) -> String {
    problems.iter().map(|problem| problem.to_string()).collect::<Vec<_>>().join("\n  ")
}

fn serve(config: Config, file: Option<PathBuf>) -> Result<ExitCode, Failure> {
    match thread::run_here(live(config, file)) {
        Ok(result) => result,
        Err(error) => Err(Failure::new(format!("cannot start: {error}"))),
    }
}

/// The life of a node, on the main thread.
async fn live(config: Config, file: Option<PathBuf>) -> Result<ExitCode, Failure> {
    // Caught first: a signal that comes while the node starts is then obeyed once it has.
    let mut signals = Signals::catch().map_err(|error| Failure::new(format!("cannot catch signals: {error}")))?;
    match limits::raise_open_files() {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
    for warning in &config.warnings {
        tracing::warn!(problem = %warning, "configuration");
    }
    let mut bound = admin::bind(config.admin, config.admin_socket.clone())?;
    let admin_address = bound.tcp.as_ref().and_then(|listener| listener.local_addr().ok());
    let mut files = Files::watch(watched::files(file.as_deref(), &config.spec));
    let gateway = start(&config)?;
    let node = Arc::new(Node::new(config.spec.node.name.clone(), file.clone(), gateway));
    serve::start(&node, &mut bound).map_err(|error| Failure::new(format!("cannot start the admin thread: {error}")))?;
    announce(&node, &config, admin_address, bound.unix.as_ref().map(|socket| socket.path()));
    let mut reloader = Reloader::new(node.clone(), file, config);
    loop {
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Signal::HangUp => {
                    node.gateway().reopen_access_log();
                    reloader.reload(&mut files, "SIGHUP", true);
                }
                Signal::Terminate | Signal::Interrupt => return Ok(leave(&node, signal, &mut signals).await),
            },
            changed = files.changed() => {
                let names: Vec<String> = changed.iter().map(|path| path.display().to_string()).collect();
                let only_configuration = changed.iter().all(|path| reloader.is_configuration(path));
                reloader.reload(&mut files, &format!("changed: {}", names.join(", ")), !only_configuration);
            }
        }
    }
}

fn start(config: &Config) -> Result<Arc<Gateway>, Failure> {
    Gateway::start(config.spec.clone()).map_err(|error| {
        let failure = Failure::from_error(&error);
        match &error {
            StartError::Bind { hint, .. } => failure.hint(hint),
            StartError::Tls { .. } => failure.hint("`mainstay check -c FILE` looks at every file that is named"),
            StartError::Spec(_) => failure,
            StartError::Worker(_) => {
                failure.hint("lower `workers` under [node] (proxy: --workers), or raise the limit")
            }
        }
    })
}

fn announce(node: &Node, config: &Config, admin: Option<std::net::SocketAddr>, socket: Option<&Path>) {
    let state = node.gateway().state();
    let listeners: Vec<String> =
        state.listeners.iter().map(|listener| format!("{}={}", listener.spec.name, listener.spec.bind)).collect();
    let or_off = |place: Option<String>| place.unwrap_or_else(|| "off".to_owned());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.spec.node.name,
        workers = config.spec.node.workers,
        listeners = listeners.join(" "),
        routes = state.routes.len(),
        services = state.services.len(),
        admin = or_off(admin.map(|address| address.to_string())),
        admin_socket = or_off(socket.map(|path| path.display().to_string())),
        "serving"
    );
}

/// Leaves in phases. A second signal means that somebody has lost patience.
async fn leave(node: &Arc<Node>, signal: Signal, signals: &mut Signals) -> ExitCode {
    tracing::info!(signal = signal.name(), "leaving; a second signal ends the process at once");
    node.leave();
    let (done, mut finished) = oneshot::channel();
    let gateway = node.gateway().clone();
    let worker = thread::spawn_blocking_thread("shutdown", move || {
        // The receiver is gone only if the process is on its way out already.
        let _receiver = done.send(gateway.shutdown());
    });
    if let Err(error) = worker {
        tracing::error!(%error, "cannot drain");
        return ExitCode::FAILURE;
    }
    loop {
        tokio::select! {
            biased;
            cut = &mut finished => match cut {
                Ok(connections_cut) => {
                    tracing::info!(connections_cut, "stopped");
                    return ExitCode::SUCCESS;
                }
                Err(_panicked) => {
                    tracing::error!("the drain ended by a defect");
                    return ExitCode::FAILURE;
                }
            },
            signal = signals.next() => match signal {
                Signal::HangUp => tracing::warn!("SIGHUP is ignored while shutting down"),
                Signal::Terminate | Signal::Interrupt => {
                    tracing::warn!(signal = signal.name(), "second signal: leaving at once");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
}

/// An error of the gateway on one line.
fn said(error: &StartError) -> String {
    chain(error)
}
