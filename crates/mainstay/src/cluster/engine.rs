//! Opens what holds the agreement.

mod embedded;
mod etcd;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::membership::Membership;
use mainstay_cluster::memory::Memory;
use mainstay_cluster::peer::client::TlsTransport;
use mainstay_cluster::peer::directory::Directory;
use mainstay_cluster::peer::server::Handlers;
use mainstay_cluster::peer::{CallError, NodeId, Service, Transport};
use mainstay_cluster::timings::Timings;
use mainstay_gateway::spec::Node;
use mainstay_runtime::task::AbortOnDrop;

pub use etcd::connect as connect_to_etcd;

use super::handle::Handle;
use crate::config::cluster::{Cluster, Engine};
use crate::failure::Failure;

/// After the engine could not be opened. It may be that the process before this one has not let go yet.
const PAUSE: Duration = Duration::from_millis(100);

/// What is opened, and with what.
#[derive(Debug)]
pub(super) struct Plan {
    engine: Choice,
    timings: Timings,
}

#[derive(Debug)]
enum Choice {
    Memory,
    Embedded(Box<embedded::Plan>),
    Etcd(etcd::Plan),
}

/// What came of it.
pub(super) struct Opened {
    pub(super) id: NodeId,
    pub(super) coordinator: Arc<dyn Coordinator>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) handlers: Handlers,
    pub(super) directory: Directory,
    pub(super) timings: Timings,
    /// Of nodes that keep the agreement themselves.
    pub(super) membership: Option<(Membership, TlsTransport)>,
    /// What ends with the thread's part.
    pub(super) tasks: Vec<AbortOnDrop>,
}

/// Why the engine was not opened.
pub(super) enum OpenError {
    /// It may be opened yet.
    NotYet(String),
    /// It never will: somebody has to do something.
    Never(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet(reason) | Self::Never(reason) => f.write_str(reason),
        }
    }
}

impl Plan {
    pub(super) fn name(&self) -> &'static str {
        match self.engine {
            Choice::Memory => "memory",
            Choice::Embedded(_) => "embedded",
            Choice::Etcd(_) => "etcd",
        }
    }

    /// Whether the nodes keep the agreement themselves, and so speak to each other.
    pub(super) fn is_embedded(&self) -> bool {
        matches!(self.engine, Choice::Embedded(_))
    }

    /// The nodes of the cluster as far as this one knew when it was stopped; 1 if it knows of no other.
    pub(super) fn nodes(&self) -> usize {
        match &self.engine {
            Choice::Embedded(plan) => plan.nodes(),
            Choice::Memory | Choice::Etcd(_) => 1,
        }
    }
}

pub(super) fn prepare(cluster: &Cluster, node: &Node) -> Result<Plan, Failure> {
    let engine = match &cluster.engine {
        Engine::Memory => Choice::Memory,
        Engine::Embedded => Choice::Embedded(Box::new(embedded::prepare(cluster, node)?)),
        Engine::Etcd(etcd) => Choice::Etcd(etcd::prepare(etcd, cluster.timings)?),
    };
    Ok(Plan { engine, timings: cluster.timings })
}

/// Opens the engine, however long that takes; `None` if it never will.
pub(super) async fn open(plan: &Plan, handle: &Handle) -> Option<Opened> {
    let mut said = String::new();
    loop {
        let result = match &plan.engine {
            Choice::Memory => Ok(alone(plan, NodeId(1), Arc::new(Memory::new()))),
            Choice::Embedded(embedded) => embedded::open(embedded, plan.timings).await,
            Choice::Etcd(etcd) => Ok(alone(plan, NodeId(0), Arc::new(etcd.0.clone()))),
        };
        let error = match result {
            Ok(opened) => return Some(opened),
            Err(error) => error,
        };
        let reason = error.to_string();
        if reason != said {
            handle.note_failure(reason.clone());
        }
        match error {
            OpenError::NotYet(_) if reason == said => {}
            OpenError::NotYet(_) => tracing::warn!(engine = plan.name(), reason, "cluster: cannot be opened yet"),
            OpenError::Never(_) => {
                tracing::error!(engine = plan.name(), reason, "cluster: this node takes no part");
                return None;
            }
        }
        said = reason;
        tokio::time::sleep(PAUSE).await;
    }
}

fn alone(plan: &Plan, id: NodeId, coordinator: Arc<dyn Coordinator>) -> Opened {
    Opened {
        id,
        coordinator,
        transport: Arc::new(Alone),
        handlers: Handlers::default(),
        directory: Directory::default(),
        timings: plan.timings,
        membership: None,
        tasks: Vec::new(),
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
