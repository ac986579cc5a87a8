//! Synthetic probes of this node: the thread that makes their journeys, what the nodes of a cluster tell each other of them, and
//! the command about them.

pub mod command;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use mainstay_core::transition::{Aspect, Subject, Transition, Word};
use mainstay_observe::probes::board::Changed;
use mainstay_observe::probes::cluster::{exchange, seen_key};
use mainstay_observe::probes::driver::{self, Parts, drive};
use mainstay_runtime::thread;

use crate::admin::Node;
use crate::cluster::{Context, Quorum};

/// Starts the thread; it ends when the node leaves.
///
/// # Errors
/// If the system refuses the thread.
pub fn start(node: &Arc<Node>) -> io::Result<()> {
    let node = Arc::clone(node);
    thread::spawn_local_runtime("probes", move || async move {
        let (told, asked) = (Arc::clone(&node), Arc::clone(&node));
        let parts = Parts {
            board: Arc::clone(node.probes()),
            history: node.history().clone(),
            journey: driver::real(),
            on_change: Box::new(move |changed| tell(&told, changed)),
            left: Box::new(move || asked.is_leaving()),
        };
        drive(parts).await;
    })?;
    Ok(())
}

/// The driver of a node of a cluster: tells the others and hears them.
pub async fn run(context: Context) {
    let kept = match context.session.keep(seen_key(&context.name), Bytes::from_static(b"{}")) {
        Ok(kept) => kept,
        Err(error) => {
            tracing::error!(%error, "what comes of probes cannot be told to other nodes");
            return;
        }
    };
    let handle = Arc::clone(&context.handle);
    let is_lost = move || matches!(handle.quorum(), Quorum::Lost { .. });
    let board = Arc::clone(context.node.probes());
    tokio::select! {
        biased;
        () = context.left() => {}
        () = exchange(&board, Arc::clone(&context.coordinator), kept, is_lost) => {}
    }
}

/// Tells the journal.
fn tell(node: &Node, changed: &Changed) {
    let to = changed.to.map_or(Word::Absent, |verdict| verdict.word());
    let subject = Subject::Probe { name: changed.name.clone() };
    let transition = Transition::new(subject, Aspect::Probe, changed.from.word(), to).because(changed.cause.as_str());
    node.journal().record(transition.planned(changed.to.is_none()));
    let (probe, from, to, reason) = (&changed.name, changed.from.word(), to, &changed.cause);
    match to {
        Word::Down | Word::Degraded => tracing::warn!(probe, %from, %to, reason, "a probe fails"),
        _other => tracing::info!(probe, %from, %to, "a probe changed"),
    }
}
