//! Opens what holds the agreement.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::memory::Memory;
use mainstay_cluster::peer::directory::Directory;
use mainstay_cluster::peer::server::Handlers;
use mainstay_cluster::peer::{CallError, NodeId, Service, Transport};
use mainstay_cluster::timings::Timings;
use mainstay_gateway::spec::Node;

use crate::config::cluster::{Cluster, Engine};
use crate::failure::Failure;

/// What is opened, and with what.
#[derive(Debug)]
pub(super) struct Plan {
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
        "memory"
    }
}

pub(super) fn prepare(cluster: &Cluster, _node: &Node) -> Result<Plan, Failure> {
    let timings = cluster.timings;
    match &cluster.engine {
        Engine::Memory => Ok(Plan { timings }),
        Engine::Embedded | Engine::Etcd { .. } => {
            Err(Failure::usage("this version runs a cluster of one without `data_dir` only")
                .hint("leave `data_dir` and `etcd` out, or leave [cluster] out"))
        }
    }
}

pub(super) async fn open(plan: &Plan) -> Opened {
    Opened {
        name: plan.name(),
        id: NodeId(1),
        coordinator: Arc::new(Memory::new()),
        transport: Arc::new(Alone),
        handlers: Handlers::default(),
        directory: Directory::default(),
        timings: plan.timings,
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
