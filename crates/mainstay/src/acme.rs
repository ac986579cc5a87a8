//! Certificates that authorities issue: on which thread they are ordered.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use mainstay_cluster::keys;
use mainstay_cluster::role::Stops;
use mainstay_observe::acme::cluster::{self, Shared};
use mainstay_observe::acme::desk::Desk;
use mainstay_observe::acme::driver::{self, Parts};
use mainstay_observe::acme::place::Own;
use mainstay_observe::acme::shelf::Shelf;
use mainstay_runtime::thread;
use mainstay_runtime::tls::Issued;

use crate::admin::Node;
use crate::cluster::Context;
use crate::config::Config;

/// What a node has of certificates that were issued, before anything is served.
pub fn shelf(config: &Config, issued: &Arc<Issued>) -> Arc<Shelf> {
    let desk = Arc::new(Desk::default());
    let shelf = Shelf::new(config.spec.node.data_dir.as_deref(), Arc::clone(issued), desk);
    shelf.recall(&config.acme);
    shelf.desk().adopt(&config.acme);
    Arc::new(shelf)
}

/// Starts the thread of a node that is in no cluster; it ends when the node leaves.
///
/// # Errors
/// If the system refuses the thread.
pub fn start(node: &Arc<Node>) -> io::Result<()> {
    let node = Arc::clone(node);
    thread::spawn_local_runtime("acme", move || async move {
        let Some(shelf) = node.acme() else { return };
        let own = Own::new(node.name(), Arc::clone(shelf));
        driver::run(&parts(&node, shelf), &own).await;
    })?;
    Ok(())
}

fn parts(node: &Arc<Node>, shelf: &Arc<Shelf>) -> Parts {
    let (told, asked) = (Arc::clone(node), Arc::clone(node));
    Parts {
        desk: Arc::clone(shelf.desk()),
        node: node.name().to_owned(),
        ears: Box::new(move |transition| told.journal().record(transition)),
        is_leaving: Box::new(move || asked.is_leaving()),
    }
}

/// The driver of a node of a cluster. It takes part once the configuration has something to order.
pub async fn run(context: Context) {
    let Some(shelf) = context.node.acme().cloned() else { return };
    loop {
        tokio::select! {
            () = shelf.desk().wanted() => {}
            () = context.left() => return,
        }
        let role = context.session.role(keys::role(cluster::ROLE), Stops::Fenced);
        let kept = context.session.keep(cluster::heard_key(&context.name), Bytes::from_static(b"0"));
        let (role, kept) = match (role, kept) {
            (Ok(role), Ok(kept)) => (role, kept),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "certificates cannot be ordered by this node");
                return;
            }
        };
        role.want(true);
        let (coordinator, session) = (Arc::clone(&context.coordinator), context.session.as_ref().clone());
        let shared = Shared::new(coordinator, session, role, kept, Arc::clone(&shelf));
        let parts = parts(&context.node, &shelf);
        tokio::select! {
            () = driver::run(&parts, &shared) => {}
            () = shared.follow() => {}
            () = context.left() => {}
        }
        shared.resign().await;
        if *context.leaving.borrow() || context.node.is_leaving() {
            return;
        }
    }
}
