//! Opens what holds the agreement.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::etcd::{self, Etcd};
use mainstay_cluster::memory::Memory;
use mainstay_cluster::peer::directory::Directory;
use mainstay_cluster::peer::server::Handlers;
use mainstay_cluster::peer::{CallError, NodeId, Service, Transport};
use mainstay_cluster::timings::Timings;
use mainstay_gateway::spec::Node;

use crate::config::cluster::{Cluster, Engine};
use crate::failure::Failure;

/// What all keys in etcd begin with.
pub const ETCD_PREFIX: &str = "mainstay/";
/// After the engine could not be opened. It may be that the process before this one has not let go yet.
const PAUSE: Duration = Duration::from_millis(200);

/// What is opened, and with what.
#[derive(Debug)]
pub(super) struct Plan {
    engine: Engine,
    timings: Timings,
}

/// What came of it.
pub(super) struct Opened {
    pub(super) name: &'static str,
    pub(super) id: NodeId,
    pub(super) coordinator: Arc<dyn Coordinator>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) handlers: Handlers,
    pub(super) directory: Directory,
    pub(super) timings: Timings,
}

impl Plan {
    pub(super) fn name(&self) -> &'static str {
        match self.engine {
            Engine::Memory => "memory",
            Engine::Embedded => "embedded",
            Engine::Etcd { .. } => "etcd",
        }
    }
}

pub(super) fn prepare(cluster: &Cluster, _node: &Node) -> Result<Plan, Failure> {
    match &cluster.engine {
        Engine::Memory | Engine::Etcd { .. } => Ok(Plan { engine: cluster.engine.clone(), timings: cluster.timings }),
        Engine::Embedded => {
            let failure =
                Failure::usage("this version runs a cluster by etcd, or one of a single node without `data_dir`");
            Err(failure.hint("set `etcd` under [cluster], or leave `data_dir` out, or [cluster]"))
        }
    }
}

/// Opens the engine, however long that takes.
pub(super) async fn open(plan: &Plan) -> Opened {
    let mut said = String::new();
    loop {
        match try_open(plan) {
            Ok(opened) => return opened,
            Err(reason) if reason == said => {}
            Err(reason) => {
                tracing::warn!(engine = plan.name(), reason, "cluster: cannot be opened yet");
                said = reason;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn try_open(plan: &Plan) -> Result<Opened, String> {
    let alone = |id, coordinator| Opened {
        name: plan.name(),
        id,
        coordinator,
        transport: Arc::new(Alone),
        handlers: Handlers::default(),
        directory: Directory::default(),
        timings: plan.timings,
    };
    match &plan.engine {
        Engine::Memory => Ok(alone(NodeId(1), Arc::new(Memory::new()))),
        Engine::Etcd { endpoints } => {
            let options = etcd::Options {
                endpoints: endpoints.clone(),
                prefix: ETCD_PREFIX.to_owned(),
                timeout: plan.timings.rpc,
                tls: None,
                user: None,
            };
            let etcd = Etcd::new(&options).map_err(|error| error.to_string())?;
            Ok(alone(NodeId(0), Arc::new(etcd)))
        }
        Engine::Embedded => Err("not in this version".to_owned()),
    }
}

/// The transport of a node that has no others.
#[derive(Debug)]
struct Alone;

#[async_trait]
impl Transport for Alone {
    async fn call(&self, to: NodeId, _service: Service, _message: Bytes, _limit: Duration) -> Result<Bytes, CallError> {
        Err(CallError::Unreachable { to, reason: "this node has no others".to_owned() })
    }
}
