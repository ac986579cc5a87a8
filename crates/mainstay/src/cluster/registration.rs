//! The node's entry among those that live: it is there while the node's session is.

use std::time::Duration;

use bytes::Bytes;
use mainstay_cluster::keys;
use serde_json::json;

use super::Context;

/// How often it is looked whether the gateway is ready.
const INTERVAL: Duration = Duration::from_millis(500);

pub(super) async fn run(context: Context) {
    let registration = match context.session.keep(keys::node(&context.name), present(&context)) {
        Ok(registration) => registration,
        Err(error) => {
            tracing::error!(%error, "cluster: this node cannot be registered");
            return;
        }
    };
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = context.left() => return,
            _tick = ticks.tick() => registration.set(present(&context)),
        }
    }
}

fn present(context: &Context) -> Bytes {
    let spec = &context.config.spec.node;
    let address = context
        .config
        .cluster
        .as_ref()
        .map(|cluster| cluster.address_of(&context.name).map_or_else(|| cluster.listen.to_string(), str::to_owned));
    let mut registration = json!({
        "id": context.id.0,
        "zone": spec.zone,
        "version": env!("CARGO_PKG_VERSION"),
        "address": address,
        "ready": context.node.not_ready().is_empty(),
    });
    let told = context.handle.groups().tell();
    if !told.is_empty() {
        registration["databases"] = json!(told);
    }
    registration.to_string().into()
}
