//! `mainstay guard`: the process that ends what a node holds which is dead or frozen: floating addresses, database servers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use mainstay_cluster::coordinator::{Coordinator, LeaseId};
use mainstay_cluster::guard::{self, Keeper, Settings};
use mainstay_cluster::identity::Folder;
use mainstay_cluster::membership;
use mainstay_cluster::session::Session;
use mainstay_runtime::thread;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster::connect_to_etcd;
use crate::config::Config;
use crate::config::cluster::Engine;
use crate::config::etcd::Etcd;
use crate::failure::Failure;

/// How long it is tried to have the dead node's lease ended in etcd. By then it has expired.
const TRY_FOR: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
const ATTEMPT: Duration = Duration::from_secs(1);

/// The hidden subcommand.
pub const NAME: &str = "guard";

/// Arguments of `mainstay guard`.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The node's process, which has started this one
    parent: u32,
}

/// Who can be asked to end the lease.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Will {
    lease: Option<i64>,
    etcd: Option<Etcd>,
    nodes: Option<Nodes>,
}

/// The way to the other nodes.
#[derive(Debug, Serialize, Deserialize)]
struct Nodes {
    data_dir: PathBuf,
    /// Where nodes are, by name, if the configuration says so.
    peers: BTreeMap<String, String>,
    /// After this the lease has ended by itself.
    limit_millis: u64,
}

/// The guard of this node, which is started once something needs it.
pub fn keeper(config: &Config, session: &Session) -> Keeper {
    let settings = Settings {
        program: (PathBuf::from("/proc/self/exe"), vec![NAME.to_owned()]),
        will: will(config),
        claims: config.spec.node.data_dir.clone(),
    };
    Keeper::new(settings, session.clone())
}

/// How somebody else can be told to end this node's lease, when this node cannot.
fn will(config: &Config) -> Value {
    match config.cluster.as_ref().map(|cluster| &cluster.engine) {
        Some(Engine::Etcd(etcd)) => json!({ "etcd": etcd }),
        Some(Engine::Embedded) => embedded_will(config),
        Some(Engine::Memory) | None => json!({}),
    }
}

/// What a node leaves that keeps the agreement with others.
fn embedded_will(config: &Config) -> Value {
    let (Some(cluster), Some(data_dir)) = (&config.cluster, &config.spec.node.data_dir) else { return json!({}) };
    let limit = cluster.timings.ttl + cluster.timings.rpc;
    let nodes = Nodes {
        data_dir: data_dir.clone(),
        peers: cluster.peers.iter().map(|peer| (peer.name.clone(), peer.address.clone())).collect(),
        limit_millis: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    };
    json!({ "nodes": nodes })
}

/// Guards until the node's end.
///
/// # Errors
/// If the system refuses what a guard needs.
pub fn guard(args: &GuardArgs) -> Result<ExitCode, Failure> {
    guard::serve(args.parent, execute).map_err(|error| Failure::new(format!("cannot guard the node: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Has the lease of the dead node ended, so that others need not wait until it expires.
fn execute(will: Value) {
    let Ok(will) = serde_json::from_value::<Will>(will) else { return };
    let Some(lease) = will.lease.map(LeaseId) else { return };
    let revoked = match (will.nodes, will.etcd) {
        (Some(nodes), _) => thread::run_here(ask_nodes(nodes, lease)),
        (None, Some(etcd)) => thread::run_here(ask_etcd(etcd, lease)),
        (None, None) => return,
    };
    match revoked {
        Ok(Ok(())) => tracing::warn!("the node is dead; the guard has had its lease ended"),
        Ok(Err(error)) => tracing::warn!(error, "the node is dead; its lease expires by itself"),
        Err(error) => tracing::warn!(%error, "the node is dead; its lease expires by itself"),
    }
}

async fn ask_nodes(nodes: Nodes, lease: LeaseId) -> Result<(), String> {
    let Nodes { data_dir, peers, limit_millis } = nodes;
    let address_of = |name: &str| peers.get(name).cloned();
    membership::end_lease(&Folder::of(&data_dir), address_of, lease, Duration::from_millis(limit_millis)).await
}

async fn ask_etcd(settings: Etcd, lease: LeaseId) -> Result<(), String> {
    let etcd = connect_to_etcd(&settings, ATTEMPT).map_err(|error| error.to_string())?;
    let end = Instant::now() + TRY_FOR;
    loop {
        match etcd.revoke(lease).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= end => return Err(error.to_string()),
            Err(_not_now) => tokio::time::sleep(PAUSE).await,
        }
    }
}
