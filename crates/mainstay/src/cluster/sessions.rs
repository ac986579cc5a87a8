//! Has the nodes of the cluster tell each other of clients' sessions.

use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::peer::{NodeId, Service};
use mainstay_cluster::sessions::replicate::{Answerer, Pace, Replicator};
use mainstay_cluster::sessions::{Store, now};
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use tokio::sync::watch;

use super::Context;

/// How soon a node that has come or gone is noticed.
const LOOK: Duration = Duration::from_secs(1);

/// Look-ups wait for what the other nodes have, but not for long if the engine is not open by then. Lasts until it is dropped.
pub(super) fn limit_waiting(store: &Arc<Store>) -> AbortOnDrop {
    let store = Arc::clone(store);
    let limit = async move {
        tokio::time::sleep(Pace::default().fill).await;
        store.give_up_others(now());
    };
    spawn_local(Kind::Control, limit).abort_on_drop()
}

pub(super) async fn run(context: Context) {
    let store = Arc::clone(context.node.sessions().embedded());
    let (tell, others) = watch::channel(others(&context));
    let transport = Arc::clone(&context.transport);
    let Some(replicator) = Replicator::new(Arc::clone(&store), context.id, transport, others, Pace::default()) else {
        // Only after a defect: the one before has taken the way to the others with it.
        tracing::error!("sessions: they are not told to other nodes until the next restart");
        return context.left().await;
    };
    context.handlers.attach(Service::Sessions, Arc::new(Answerer::new(store)));
    let follow = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self::others(&context);
            tell.send_if_modified(|known| {
                let is_news = *known != now;
                *known = now;
                is_news
            });
        }
    };
    tokio::select! {
        biased;
        () = context.left() => {}
        () = replicator.run() => {}
        () = follow => {}
    }
}

/// All nodes but this one, as far as they are known.
pub(super) fn others(context: &Context) -> Vec<NodeId> {
    context.directory.all().into_keys().filter(|node| *node != context.id).collect()
}
