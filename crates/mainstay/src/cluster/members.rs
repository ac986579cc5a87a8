//! Drivers of nodes that keep the agreement themselves: where the others are, being taken in, who votes, certificates.

use mainstay_cluster::membership::{self, Membership};

use super::Context;

/// Keeps the addresses of other nodes up to date.
pub(super) async fn directory(context: Context) {
    let config = context.config.clone();
    let address = move |name: &str| config.cluster.as_ref()?.address_of(name).map(str::to_owned);
    until_left(context, |membership| membership::directory(membership, address)).await;
}

/// Is taken in, if the node is new.
pub(super) async fn admission(context: Context) {
    until_left(context, membership::admission).await;
}

/// Finds out which other nodes can be reached.
pub(super) async fn contacts(context: Context) {
    until_left(context, membership::contacts).await;
}

/// Tells the others where this node is, if that has changed.
pub(super) async fn presence(context: Context) {
    until_left(context, membership::presence).await;
}

/// Deletes join tokens whose time is over, while this node leads.
pub(super) async fn tidying(context: Context) {
    until_left(context, membership::tidying).await;
}

/// Lets other nodes vote, while this one leads.
pub(super) async fn promotion(context: Context) {
    until_left(context, membership::promotion).await;
}

/// Renews the node's certificate.
pub(super) async fn renewal(context: Context) {
    until_left(context, membership::renewal).await;
}

async fn until_left<F: Future<Output = ()>>(context: Context, run: impl FnOnce(Membership) -> F) {
    let Some(membership) = context.membership.clone() else { return };
    tokio::select! {
        biased;
        () = context.left() => {}
        () = run(membership) => {}
    }
}
