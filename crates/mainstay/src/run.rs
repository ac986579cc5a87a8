//! `mainstay run`, `mainstay proxy` and `mainstay check`: from a configuration to a serving node and out again.

mod announce;
mod handover;
mod last_words;
mod notify;
mod predecessor;
mod program;
mod reload;
mod successor;
mod trial;
mod upgrading;
mod watched;
mod wishes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use mainstay_cluster::config::Kept;
use mainstay_core::transition::Word;
use mainstay_gateway::{Gateway, Inheritance, Outside, StartError};
use mainstay_observe::otlp::Exporter;
use mainstay_runtime::journal::Journal;
use mainstay_runtime::signal::{Signal, Signals};
use mainstay_runtime::thread;
use mainstay_runtime::tls::Issued;
use mainstay_runtime::watch::Files;
use rustix::process::{Pid, kill_process};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::admin::access::Access;
use crate::admin::bind::{self, Bound};
use crate::admin::upgrade::Asker;
use crate::admin::{self, Node, serve};
use crate::config::{self, Config, Problem};
use crate::doors::Doors;
use crate::failure::{Failure, chain};
use crate::run::reload::Reloader;
use crate::run::successor::Successor;
use crate::run::upgrading::{Ended, Upgrader};
use crate::sessions::Tables;
use crate::shared_config::{Board, Change};
use crate::upgrade::event::{Done, Event};
use crate::{acme, alerts, cluster, limits, logging, output, probes, shared_config, telemetry};

pub use self::predecessor::{InheritedAdmin, Predecessor};

/// The last step of an upgrade reaches who asked within this time, or they do not read.
const LAST_STEP: Duration = Duration::from_secs(1);

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

/// Serves a configuration file until a signal ends it or another process takes over. `predecessor` hands over to this one.
///
/// # Errors
/// If the file is wrong, or something that it asks for cannot be had.
pub fn run(file: &Path, predecessor: Option<Predecessor>) -> Result<ExitCode, Failure> {
    match config::load(file) {
        Ok(config) => {
            let (config, shared) = shared_config::at_start(file, config);
            serve(config, Some(file.to_owned()), shared, predecessor)
        }
        Err(problems) => Err(refused(file, problems)),
    }
}

/// Serves what the command line describes, as [`run`] does a file.
///
/// # Errors
/// If the arguments are wrong, or something that they ask for cannot be had.
pub fn proxy(args: &ProxyArgs, predecessor: Option<Predecessor>) -> Result<ExitCode, Failure> {
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
        Ok(config) => serve(config, None, None, predecessor),
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

fn serve(
    config: Config,
    file: Option<PathBuf>,
    shared: Option<Kept>,
    predecessor: Option<Predecessor>,
) -> Result<ExitCode, Failure> {
    match thread::run_here(live(config, file, shared, predecessor)) {
        Ok(result) => result,
        Err(error) => Err(Failure::new(format!("cannot start: {error}"))),
    }
}

/// A node that serves, and what it is told from.
struct Life {
    node: Arc<Node>,
    bound: Bound,
    signals: Signals,
    files: Files,
    reloader: Reloader,
    upgrader: Upgrader,
    cluster: Option<cluster::Running>,
    /// Versions of the cluster's configuration that are to be served.
    changes: UnboundedReceiver<Change>,
}

/// The life of a node, on the main thread.
async fn live(
    config: Config,
    file: Option<PathBuf>,
    shared: Option<Kept>,
    mut predecessor: Option<Predecessor>,
) -> Result<ExitCode, Failure> {
    // Caught first: a signal that comes while the node starts is then obeyed once it has.
    let signals = Signals::catch().map_err(|error| Failure::new(format!("cannot catch signals: {error}")))?;
    match limits::raise_open_files() {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
    for warning in &config.warnings {
        tracing::warn!(problem = %warning, "configuration");
    }
    let admin = predecessor.as_mut().map(|it| it.admin(&config)).unwrap_or_default();
    let inheritance = predecessor.as_mut().map(Predecessor::inheritance).unwrap_or_default();
    let plan = cluster::prepare(&config)?;
    let ready = predecessor::ready(&inheritance, &admin, &config);
    let mut bound = bind::bind(config.admin, config.admin_socket.clone(), admin)?;
    let files = Files::watch(watched::files(file.as_deref(), &config.spec));
    let tables = Tables::start(&config.sessions)?;
    let access = Access::open(&config)?;
    let admin_tls = admin::tls::Material::load(&config)?;
    if plan.as_ref().is_some_and(cluster::Plan::shares_sessions) {
        // Before the first request: the cluster's thread starts after it.
        tables.embedded().expect_others();
    }
    let journal = Journal::new(&config.spec.node.name);
    let exporter = telemetry::start(&config, &journal)?;
    let issued = Arc::default();
    let shelf = acme::shelf(&config, &issued);
    let gateway = prepare(&config, inheritance, &tables, &journal, &exporter, issued)?;
    gateway.share_with(plan.as_ref().map_or(1, cluster::Plan::nodes));
    if let Some(predecessor) = &mut predecessor {
        predecessor.await_word(&gateway, ready).await?;
        if let Some(socket) = &mut bound.unix {
            socket.own();
        }
    }
    gateway.open();
    let (ask, asked) = unbounded_channel();
    let (change, changes) = unbounded_channel();
    let board = Board::new(change, shared.as_ref().map_or(0, |shared| shared.version));
    let node = Arc::new(Node::new(&config, file.clone(), gateway, tables, ask, board, journal, access));
    node.export_through(exporter);
    node.order_through(shelf);
    serve::start(&node, &bound, admin_tls)
        .map_err(|error| Failure::new(format!("cannot start the admin thread: {error}")))?;
    announce::announce(&node, &config, &bound);
    node.tell_life(Word::Starting, Word::Serving, env!("CARGO_PKG_VERSION"));
    if plan.is_none() {
        let started = alerts::start(&node, config.spec.node.data_dir.clone());
        started.map_err(|error| Failure::new(format!("cannot start the thread of alerts: {error}")))?;
        let started = acme::start(&node);
        started.map_err(|error| Failure::new(format!("cannot start the thread of certificates: {error}")))?;
    }
    let probing = probes::start(&node);
    probing.map_err(|error| Failure::new(format!("cannot start the thread of probes: {error}")))?;
    let cluster = plan.map(|plan| cluster::start(plan, &node)).transpose();
    let cluster = cluster.map_err(|error| Failure::new(format!("cannot start the cluster's thread: {error}")))?;
    match predecessor {
        Some(predecessor) => predecessor.serving(),
        None => notify::ready(),
    }
    let upgrader = Upgrader::new(node.clone(), file.clone(), asked);
    let reloader = Reloader::new(node.clone(), file, config, shared);
    Ok(Life { node, bound, signals, files, reloader, upgrader, cluster, changes }.run().await)
}

impl Life {
    async fn run(mut self) -> ExitCode {
        loop {
            tokio::select! {
                biased;
                signal = self.signals.next() => match signal {
                    Signal::HangUp if self.upgrader.is_running() => self.upgrader.hung_up(),
                    Signal::HangUp => self.hang_up(),
                    Signal::Upgrade => self.upgrader.signalled(&self.bound),
                    Signal::Terminate | Signal::Interrupt => {
                        // A process that was about to take over ends with this.
                        drop(self.upgrader);
                        tracing::info!(signal = signal.name(), "leaving; a second signal ends the process at once");
                        notify::stopping();
                        return leave(&self.node, self.cluster, None, &mut self.signals).await;
                    }
                },
                ended = self.upgrader.next(&self.bound) => match ended {
                    Ended::Failed { hung_up: true } => self.hang_up(),
                    Ended::Failed { hung_up: false } => {}
                    Ended::Succeeded { successor, asker, hung_up } => {
                        return self.hand_over(successor, asker, hung_up).await;
                    }
                },
                // The sender lives as long as the node.
                Some(change) = self.changes.recv(), if !self.upgrader.is_running() => {
                    self.reloader.serve_shared(&mut self.files, change);
                }
                changed = self.files.changed(), if !self.upgrader.is_running() => {
                    let names: Vec<String> = changed.iter().map(|path| path.display().to_string()).collect();
                    let only_configuration = changed.iter().all(|path| self.reloader.is_configuration(path));
                    let cause = format!("changed: {}", names.join(", "));
                    self.reloader.reload(&mut self.files, &cause, !only_configuration);
                }
            }
        }
    }

    fn hang_up(&mut self) {
        self.node.gateway().reopen_access_log();
        self.reloader.reload(&mut self.files, "SIGHUP", true);
    }

    /// Leaves what is left to do to the process that serves already.
    async fn hand_over(mut self, successor: Successor, asker: Asker, hung_up: bool) -> ExitCode {
        self.node.succeed();
        if let (Some(socket), true) = (self.bound.unix.take(), successor.admin_socket) {
            socket.disown();
        }
        if let Some(cluster) = &self.cluster {
            // The new process cannot open what this one holds, and waits for it.
            cluster.hand_over(successor.pid);
        }
        notify::handed_over(successor.pid);
        if let (true, Some(pid)) = (hung_up, i32::try_from(successor.pid).ok().and_then(Pid::from_raw)) {
            // It has just said that it serves; if it is gone all the same, there is nothing to reload.
            let _gone = kill_process(pid, rustix::process::Signal::HUP);
        }
        tracing::info!(to = successor.pid, version = successor.version, "handed over; finishing connections");
        let done = Done {
            old_pid: std::process::id(),
            old_version: env!("CARGO_PKG_VERSION").to_owned(),
            new_pid: successor.pid,
            new_version: successor.version,
            connections_left: self.node.gateway().open_connections() as u64,
            deadline_seconds: self.reloader.deadline().as_secs(),
        };
        asker.tell(Event::Done(done));
        let _answered = tokio::time::timeout(LAST_STEP, asker.answered()).await;
        leave(&self.node, self.cluster, Some(successor.taken), &mut self.signals).await
    }
}

fn prepare(
    config: &Config,
    inheritance: Inheritance,
    tables: &Arc<Tables>,
    journal: &Journal,
    exporter: &Exporter,
    issued: Arc<Issued>,
) -> Result<Arc<Gateway>, Failure> {
    let outside = Outside {
        sessions: Some(tables.clone()),
        events: Some(Arc::new(exporter.clone())),
        journal: journal.clone(),
        issued,
    };
    Gateway::prepare(Doors::closed(config), inheritance, outside).map_err(|error| {
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

/// Leaves in phases; faster if another process has taken sockets over. A further signal means that somebody has lost
/// patience.
async fn leave(
    node: &Arc<Node>,
    cluster: Option<cluster::Running>,
    handed_over: Option<Vec<SocketAddr>>,
    signals: &mut Signals,
) -> ExitCode {
    node.leave();
    if let Some(cluster) = &cluster {
        // What the node holds goes to others while it still serves.
        cluster.leave();
    }
    let (done, mut finished) = oneshot::channel();
    let (gateway, history) = (node.gateway().clone(), node.history().clone());
    let exporter = node.exporter().cloned();
    let worker = thread::spawn_blocking_thread("shutdown", move || {
        let cut = match handed_over {
            Some(addresses) => gateway.shutdown_after_hand_over(addresses),
            None => gateway.shutdown(),
        };
        if let Some(cluster) = cluster {
            cluster.join();
        }
        history.close();
        if let Some(exporter) = exporter {
            exporter.flush(telemetry::LAST);
        }
        // The receiver is gone only if the process is on its way out already.
        let _receiver = done.send(cut);
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
                    logging::finish();
                    tracing::info!(connections_cut, "stopped");
                    return ExitCode::SUCCESS;
                }
                Err(_panicked) => {
                    tracing::error!("the drain ended by a defect");
                    return ExitCode::FAILURE;
                }
            },
            signal = signals.next() => match signal {
                Signal::HangUp | Signal::Upgrade => {
                    tracing::warn!(signal = signal.name(), "this signal is ignored while shutting down");
                }
                Signal::Terminate | Signal::Interrupt => {
                    tracing::warn!(signal = signal.name(), "a further signal: leaving at once");
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
