//! Has the nodes of the cluster share the limits whose scope is the cluster.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use mainstay_cluster::allotments::{Limits, Pace, Sharing, Table};
use mainstay_cluster::peer::Service;
use mainstay_core::allotment::Policy;
use mainstay_gateway::Gateway;

use super::{Context, sessions};

/// The gateway's limits.
struct Served(Arc<Gateway>);

impl Limits for Served {
    fn asked(&self) -> BTreeMap<u64, u64> {
        self.0.asked_of_shared_limits()
    }

    fn allot(&self, parts: &BTreeMap<u64, f64>) {
        self.0.allot(parts);
    }
}

pub(super) async fn run(context: Context) {
    let gateway = Arc::clone(context.node.gateway());
    if context.id.0 == 0 {
        if !gateway.asked_of_shared_limits().is_empty() {
            tracing::warn!(
                "limits with scope = \"cluster\" are kept by each node alone: with `cluster.etcd` nodes do not speak to each other"
            );
        }
        return context.left().await;
    }
    let table = Table::new(context.clock, Policy::default());
    context.handlers.attach(Service::Limits, Arc::new(table.clone()));
    let of = context.clone();
    let sharing = Sharing {
        limits: Served(gateway),
        table,
        transport: Arc::clone(&context.transport),
        others: Rc::new(move || sessions::others(&of)),
        pace: Pace::default(),
    };
    tokio::select! {
        biased;
        () = context.left() => {}
        () = sharing.run() => {}
    }
}
