//! Alerts of this node: what it sees, on which thread they are evaluated, and the commands about them.

pub mod command;
mod seen;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use mainstay_cluster::keys;
use mainstay_cluster::role::Stops;
use mainstay_core::alert::Instance;
use mainstay_core::random;
use mainstay_core::transition::{Aspect, Subject, Transition, Word};
use mainstay_observe::alerts::cluster::{self, Shared};
use mainstay_observe::alerts::driver::{self, Parts};
use mainstay_observe::alerts::keep::{Own, Place};
use mainstay_runtime::thread;

use crate::admin::Node;
use crate::cluster::{Context, Quorum};

/// Starts the thread of a node that is in no cluster; it ends when the node leaves.
///
/// # Errors
/// If the system refuses the thread.
pub fn start(node: &Arc<Node>, data_dir: Option<PathBuf>) -> io::Result<()> {
    let node = Arc::clone(node);
    thread::spawn_local_runtime("alerts", move || async move {
        let own = Own::new(node.name(), data_dir.as_deref());
        node.alerts().remember(own.silences());
        evaluate(&node, &own).await;
    })?;
    Ok(())
}

async fn evaluate(node: &Arc<Node>, place: &dyn Place) {
    let (seen_by, told_to) = (Arc::clone(node), Arc::clone(node));
    let mut memory = seen::Memory::default();
    let parts = Parts {
        desk: Arc::clone(node.alerts()),
        eyes: Box::new(move |agents| seen::look(&seen_by, &mut memory, agents)),
        ears: Box::new(move |alert, fires| tell(&told_to, alert, fires)),
        seed: u64::from(std::process::id()) ^ random::hash(node.name().as_bytes()),
    };
    driver::run(parts, place).await;
}

/// The driver of a node of a cluster.
pub async fn run(context: Context) {
    let role = context.session.role(keys::role(cluster::ROLE), Stops::Fenced);
    let kept = context.session.keep(cluster::seen_key(&context.name), Bytes::from_static(b"[]"));
    let (role, kept) = match (role, kept) {
        (Ok(role), Ok(kept)) => (role, kept),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "alerts cannot be evaluated by this node");
            return;
        }
    };
    role.want(true);
    let handle = Arc::clone(&context.handle);
    let lost = Box::new(move || match handle.quorum() {
        Quorum::Lost { since, .. } => Some(since),
        Quorum::There { .. } | Quorum::Unknown => None,
    });
    let (coordinator, session) = (Arc::clone(&context.coordinator), context.session.as_ref().clone());
    let shared = Shared::new(coordinator, session, role, kept, Arc::clone(context.node.alerts()), lost);
    // The loop sees by itself that the node leaves, but only when it looks next.
    let hurry = async {
        context.left().await;
        context.node.alerts().wake();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = evaluate(&context.node, &shared) => {}
        () = shared.follow() => {}
        () = hurry => {}
    }
    shared.resign().await;
}

/// Tells the journal.
fn tell(node: &Node, alert: &Instance, fires: bool) {
    let subject = Subject::Alert { name: alert.labels.without("severity").to_string() };
    let (from, to) = if fires { (Word::Resolved, Word::Firing) } else { (Word::Firing, Word::Resolved) };
    node.journal().record(Transition::new(subject, Aspect::Alert, from, to).because(alert.summary.as_str()));
}
