//! The line that tells what a node serves, once it does.

use crate::admin::Node;
use crate::admin::bind::Bound;
use crate::admin::socket::OwnedSocket;
use crate::config::Config;

/// Tells what the node serves, and where it can be asked.
pub(super) fn announce(node: &Node, config: &Config, bound: &Bound) {
    let admin = bound.tcp.as_ref().and_then(|listener| listener.local_addr().ok());
    let socket = bound.unix.as_ref().map(OwnedSocket::path);
    let state = node.gateway().state();
    let listeners: Vec<String> =
        state.listeners.iter().map(|listener| format!("{}={}", listener.spec.name, listener.spec.bind)).collect();
    let or_off = |place: Option<String>| place.unwrap_or_else(|| "off".to_owned());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node = config.spec.node.name,
        workers = config.spec.node.workers,
        listeners = listeners.join(" "),
        routes = state.routes.len(),
        services = state.services.len(),
        admin = or_off(admin.map(|address| address.to_string())),
        admin_socket = or_off(socket.map(|path| path.display().to_string())),
        "serving"
    );
}
