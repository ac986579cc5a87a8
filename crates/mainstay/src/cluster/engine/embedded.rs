//! Nodes that keep the agreement themselves: identity, port, connections, engine.

use std::net::SocketAddr;
use std::sync::Arc;

use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::embedded::{DiskError, Embedded, Peer, Settings, StartError};
use mainstay_cluster::identity::{Folder, Identity, IdentityError, Stage};
use mainstay_cluster::membership::{Door, Membership, Office, read_known};
use mainstay_cluster::peer::client;
use mainstay_cluster::peer::directory::Directory;
use mainstay_cluster::peer::server::{Handlers, Server};
use mainstay_cluster::peer::tls::Tls;
use mainstay_cluster::peer::{Service, Transport};
use mainstay_cluster::timings::Timings;
use mainstay_gateway::spec::Node;
use mainstay_runtime::task::{self, Kind};
use tokio::net::TcpListener;

use super::{OpenError, Opened};
use crate::config::cluster::Cluster;
use crate::failure::Failure;

/// What the engine keeps in the node's folder.
const LOG_FILE: &str = "raft.redb";

/// What is needed to open it.
#[derive(Debug)]
pub(super) struct Plan {
    cluster: Cluster,
    folder: Folder,
    listen: SocketAddr,
}

impl Plan {
    /// The nodes that were known last, this one among them.
    pub(super) fn nodes(&self) -> usize {
        read_known(&self.folder).len().max(1)
    }
}

/// Looks at the node's folder, so that what is wrong with it is said before anything starts.
pub(super) fn prepare(cluster: &Cluster, node: &Node) -> Result<Plan, Failure> {
    let data_dir = node.data_dir.as_ref().ok_or_else(|| Failure::usage("[cluster] needs `data_dir` under [node]"))?;
    let folder = Folder::of(data_dir);
    if !folder.has_identity() {
        let failure =
            Failure::usage(format!("this node belongs to no cluster yet: {} is empty", folder.path().display()));
        return Err(failure.hint(
            "`mainstay init -c FILE` makes a new cluster; `mainstay join TOKEN -c FILE` brings the node into one, with a \
             token that `mainstay cluster token` makes on a node of it",
        ));
    }
    let unreadable = |error: IdentityError| {
        let failure = Failure::new(format!("the node's identity cannot be used: {error}"));
        failure.hint("was the folder copied, or is it another user's? a node that has lost it joins anew")
    };
    let identity = folder.identity().map_err(unreadable)?;
    Tls::new(&identity, &folder.credentials().map_err(unreadable)?).map_err(unreadable)?;
    if identity.name != node.name {
        let failure = Failure::usage(format!(
            "this node is called `{}` in its cluster, and `{}` in the configuration",
            identity.name, node.name
        ));
        return Err(failure.hint(format!("set name = \"{}\" under [node]", identity.name)));
    }
    Ok(Plan { cluster: cluster.clone(), folder, listen: cluster.listen })
}

/// Opens port and engine.
pub(super) async fn open(plan: &Plan, timings: Timings) -> Result<Opened, OpenError> {
    let damaged = |error: IdentityError| OpenError::Never(error.to_string());
    // The address from the configuration is the one that others are told.
    let mut identity = plan.folder.identity().map_err(damaged)?;
    if let Some(address) = plan.cluster.address_of(&identity.name) {
        identity.address = address.to_owned();
    }
    let tls = Tls::new(&identity, &plan.folder.credentials().map_err(damaged)?).map_err(damaged)?;
    let listener = TcpListener::bind(plan.listen).await.map_err(|error| {
        OpenError::NotYet(format!(
            "cannot listen on {}: {error}; `listen` under [cluster] chooses another",
            plan.listen
        ))
    })?;
    let directory = Directory::default();
    directory.place(identity.node, identity.address.clone());
    for known in read_known(&plan.folder) {
        let address = plan.cluster.address_of(&known.name).map_or(known.address, str::to_owned);
        directory.place(known.node, address);
    }
    let (transport, connections) = client::start(tls.clone(), directory.clone());
    let shared: Arc<dyn Transport> = Arc::new(transport.clone());
    remembers(&plan.folder, &identity)?;
    let settings = Settings::new(identity.node, plan.folder.path(), timings, Arc::clone(&shared));
    let engine = Arc::new(Embedded::start(settings).await.map_err(failed)?);
    let handlers = Handlers::default();
    for (service, handler) in engine.handlers() {
        handlers.attach(service, handler);
    }
    begin(&engine, &plan.folder, &mut identity).await?;
    let membership = Membership {
        coordinator: Arc::clone(&engine) as Arc<dyn Coordinator>,
        engine,
        transport: Arc::clone(&shared),
        directory: directory.clone(),
        identity: Arc::new(identity),
        wants_vote: plan.cluster.voter,
        folder: plan.folder.clone(),
        tls: tls.clone(),
    };
    handlers.attach(Service::Membership, Arc::new(Office(membership.clone())));
    let doorkeeper = Some(Arc::new(Door(membership.clone())) as _);
    let server = Server { tls, directory: directory.clone(), handlers: handlers.clone(), doorkeeper };
    let port = task::spawn_local(Kind::Control, server.serve(listener)).abort_on_drop();
    Ok(Opened {
        id: membership.identity.node,
        coordinator: Arc::clone(&membership.coordinator),
        transport: shared,
        handlers,
        directory,
        timings,
        membership: Some((membership, transport)),
        tasks: vec![port, connections],
    })
}

/// Refuses to go on if the node has lost what it agreed to: it could promise the same to two.
fn remembers(folder: &Folder, identity: &Identity) -> Result<(), OpenError> {
    let log = folder.path().join(LOG_FILE);
    if identity.stage != Stage::Member || log.exists() {
        return Ok(());
    }
    Err(OpenError::Never(format!(
        "{} is gone, and with it what this node agreed to, so that it must not vote: let another node take its place with \
         `mainstay cluster add NAME --replace {}`",
        log.display(),
        identity.name
    )))
}

/// Makes the cluster if this node founds it.
async fn begin(engine: &Embedded, folder: &Folder, identity: &mut Identity) -> Result<(), OpenError> {
    if identity.stage != Stage::Founder {
        return Ok(());
    }
    let peer = Peer { name: identity.name.clone(), address: identity.address.clone(), voter: true };
    let founded = engine.initialize([(identity.node, peer)].into()).await;
    founded.map_err(|error| OpenError::NotYet(format!("the cluster cannot be made: {error}")))?;
    identity.stage = Stage::Member;
    folder.write_identity(identity).map_err(|error| OpenError::NotYet(error.to_string()))
}

fn failed(error: StartError) -> OpenError {
    match error {
        // The process before this one, perhaps, which has not ended yet.
        StartError::Disk(DiskError::InUse { .. }) | StartError::Raft(_) => OpenError::NotYet(error.to_string()),
        StartError::Disk(_) | StartError::Store(_) => OpenError::Never(error.to_string()),
    }
}
