//! Groups of database servers: what the configuration says of them, carried out by the cluster's thread.

mod confirm;
mod folders;
mod succession;
mod wards;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::session::{self, Session};
use mainstay_core::database::Engine;
use mainstay_core::random::hash;
use mainstay_failover::fence::leftover;
use mainstay_failover::fence::stonith::Hook;
use mainstay_failover::group::board::Own;
use mainstay_failover::group::handover::Handed;
use mainstay_failover::group::member::{self, Seat};
use mainstay_failover::group::planning;
use mainstay_failover::group::view::{self, Feeds, Group};
use mainstay_failover::{Peer, Settings, postgres, redis};
use mainstay_runtime::task::{self, Kind, Task};
use mainstay_runtime::user::{self, User};
use tokio::sync::watch;

use super::Context;
use crate::config::database::{Database, Member, Server};

/// After a server's files could not be prepared.
const PAUSE: Duration = Duration::from_secs(5);

/// What is left to the next process of the node, by group.
type Estate = Rc<RefCell<BTreeMap<String, Handed>>>;

pub(super) async fn run(context: Context) {
    let configured = context.handle.groups().configured();
    if configured.is_empty() {
        return tidy_ports(&context, configured);
    }
    let Some(_alone) = succession::alone(&context).await else { return };
    tidy_ports(&context, configured);
    let mut inherited = succession::take(&context);
    let guard = context.handle.groups().guard();
    let groups: Vec<Group> = configured.iter().map(|database| group(database, guard)).collect();
    let policies: BTreeMap<_, _> = groups.iter().map(|group| (group.name.clone(), group.policy.clone())).collect();
    let hook = |database: &Database| {
        let stonith = database.fencing.stonith.clone()?;
        Some((database.name.clone(), Hook { command: stonith.command, timeout: stonith.timeout }))
    };
    let hooks: BTreeMap<_, _> = configured.iter().filter_map(hook).collect();
    let feeds = Feeds::new(&groups);
    let mut failsafes = confirm::prepare(&context, configured);
    let seats: Vec<(Database, Server, Seat)> = configured
        .iter()
        .filter_map(|database| {
            let server = database.server.clone()?;
            let seat = seat(&context, database, &feeds)?;
            let (failsafe, handed) = (failsafes.remove(&database.name), inherited.remove(&database.name));
            Some((database.clone(), server, Seat { failsafe, handed, ..seat }))
        })
        .collect();
    let (depart, departed) = watch::channel(false);
    let (session, coordinator) = (Session::clone(&context.session), Arc::clone(&context.coordinator));
    let board = context.handle.databases().clone();
    let view = view::run(session.clone(), Arc::clone(&coordinator), groups, feeds, board, std::future::pending());
    let journal = context.node.journal().clone();
    let plan = planning::run(session, coordinator, policies, hooks, journal, is_set(departed));
    let viewing = task::spawn_local(Kind::Control, view);
    let planning = task::spawn_local(Kind::Control, async move {
        if let Err(error) = plan.await {
            tracing::error!(%error, "databases: this node cannot plan");
        }
    });
    let estate = Estate::default();
    let members: Vec<Task> = seats
        .into_iter()
        .map(|(database, server, seat)| {
            task::spawn_local(Kind::Control, live(context.clone(), database, server, seat, Rc::clone(&estate)))
        })
        .collect();
    context.left().await;
    let hands_over = succession::hands_over(&context);
    // Members hand their roles over before this node plans no more; servers that run on need no plan of its.
    depart.send_replace(hands_over);
    succession::ended(&context.succession, members).await;
    succession::leave(&context, estate.take());
    depart.send_replace(true);
    let limit = if hands_over { context.timings.rpc } else { Duration::MAX };
    // Who waits for the role knows it to be free at the lease's end in any case.
    let _resigned = tokio::time::timeout(limit, planning).await;
    viewing.abort();
}

/// Waits until it is true.
async fn is_set(mut said: watch::Receiver<bool>) {
    drop(said.wait_for(|is_true| *is_true).await);
}

/// What a group that is not configured any more has left in the kernel.
fn tidy_ports(context: &Context, configured: &[Database]) {
    let Some(folder) = context.data_dir.as_deref().filter(|_| user::is_root()) else { return };
    let server = |database: &Database| Some((database.name.clone(), database.member(&context.name)?.address));
    let servers: Vec<_> = configured.iter().filter_map(server).collect();
    if let Err(error) = leftover::tidy(&folder.join("port-leases"), &servers) {
        tracing::warn!(%error, "databases: the port rules of this node cannot be written down");
    }
}

fn group(database: &Database, guard: Duration) -> Group {
    Group {
        name: database.name.clone(),
        engine: database.engine,
        members: database.members.iter().map(|member| (member.node.clone(), member.address)).collect(),
        policy: database.policy(guard),
    }
}

fn seat(context: &Context, database: &Database, feeds: &Feeds) -> Option<Seat> {
    Some(Seat {
        session: Session::clone(&context.session),
        coordinator: Arc::clone(&context.coordinator),
        feed: feeds.of(&database.name)?,
        board: context.handle.databases().clone(),
        group: database.name.clone(),
        engine: database.engine,
        warden: None,
        seed: hash(context.name.as_bytes()) ^ hash(database.name.as_bytes()),
        times: session::policy(&context.timings),
        failsafe: None,
        handed: None,
    })
}

/// Keeps this node's server of a group.
async fn live(context: Context, database: Database, server: Server, mut seat: Seat, estate: Estate) {
    let mut said = String::new();
    loop {
        let opened = open(&context, &database, &server);
        let reason = match opened {
            Ok(opened) => {
                let program = if matches!(opened, Opened::Postgres(_)) { "postgres" } else { "redis-server" };
                seat.warden = Some(Box::new(wards::Wards::new(&context, &database, &server, program)));
                let left = succession::departure(&context);
                let handed = match opened {
                    Opened::Postgres(instance) => member::run(seat, *instance, left).await,
                    Opened::Redis(instance) => member::run(seat, *instance, left).await,
                };
                estate.borrow_mut().extend(handed.map(|handed| (database.name.clone(), handed)));
                return;
            }
            Err(reason) => reason,
        };
        if reason != said {
            tracing::error!(group = database.name, reason, "databases: this node's server cannot be kept");
            let own = Own { error: Some(reason.clone()), ..Own::default() };
            context.handle.databases().update(&database.name, |view| view.own = Some(own));
            said = reason;
        }
        tokio::select! {
            biased;
            () = context.left() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// A server of either kind.
enum Opened {
    Postgres(Box<postgres::Instance>),
    Redis(Box<redis::Instance>),
}

fn open(context: &Context, database: &Database, server: &Server) -> Result<Opened, String> {
    match database.engine {
        Engine::Postgres => {
            let settings = settings(context, database, server, postgres::Options { probe_rows: database.probe_rows })?;
            let instance = postgres::Instance::open(settings).map_err(|error| folders::with_causes(&error))?;
            Ok(Opened::Postgres(Box::new(instance)))
        }
        Engine::Redis => {
            let options = redis::Options {
                min_replicas: server.redis.min_replicas,
                min_replicas_lag: server.redis.min_replicas_lag,
                stale_reads: server.redis.stale_reads,
            };
            let settings = settings(context, database, server, options)?;
            let instance = redis::Instance::open(settings).map_err(|error| folders::with_causes(&error))?;
            Ok(Opened::Redis(Box::new(instance)))
        }
    }
}

/// What this node's server is set up with, once its directories can be reached.
fn settings<Options>(
    context: &Context,
    database: &Database,
    server: &Server,
    options: Options,
) -> Result<Settings<Options>, String> {
    let member = database.member(&context.name).ok_or("this node is no member of the group")?;
    let password = server.password.as_ref().ok_or("`replication_password` is missing under [database.server]")?;
    let password = password.read()?;
    let user = account(server)?;
    folders::open_way(context.data_dir.as_deref(), server, user)?;
    let peer = |other: &Member| Peer { node: other.node.clone(), address: other.address };
    Ok(Settings {
        node: context.name.clone(),
        bin_dir: server.programs(database.engine)?,
        data_dir: server.data_dir.clone(),
        state_dir: server.state_dir.clone(),
        user,
        listen: member.address,
        password,
        peers: database.others(&context.name).map(peer).collect(),
        extra: server.extra.clone(),
        options,
    })
}

/// Who runs the server.
fn account(server: &Server) -> Result<Option<User>, String> {
    let Some(name) = &server.user else { return Ok(None) };
    let found = user::find(name).map_err(|error| format!("cannot read the list of users: {error}"))?;
    let found = found.ok_or_else(|| format!("this machine has no user `{name}`: make one, or correct `user`"))?;
    if !user::is_root() {
        return Err(format!("only root can run a server as `{name}`: leave `user` out, or run Mainstay as root"));
    }
    Ok(Some(found))
}
