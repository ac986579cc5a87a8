//! Floating addresses: what the configuration says of them, carried out by the cluster's thread.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::address::driver::{Doors, Floating, Settings, run as drive};
use mainstay_cluster::address::sessions;
use mainstay_cluster::session::Session;
use mainstay_runtime::socket;
use serde_json::json;

use super::Context;
use crate::admin::Node;
use crate::config::address::{Address, Mode};
use crate::config::cluster::Engine;
use crate::guard;

/// The hidden subcommand of the guard.
pub const GUARD: &str = "address-guard";

pub(super) async fn run(context: Context) {
    let addresses = &context.config.addresses;
    if addresses.is_empty() {
        return;
    }
    let settings = Settings {
        addresses: addresses.iter().map(floating).collect(),
        spare: context.config.spare,
        guard: (PathBuf::from("/proc/self/exe"), vec![GUARD.to_owned()]),
        will: will(&context),
        doors: Arc::new(Listeners(Arc::clone(&context.node))),
    };
    let (session, coordinator) = (Session::clone(&context.session), Arc::clone(&context.coordinator));
    let board = Arc::clone(context.handle.addresses());
    let leave = async {
        context.left().await;
        drain(&context).await
    };
    if let Err(error) = drive(session, coordinator, settings, board, leave).await {
        tracing::error!(%error, "the addresses are not held by this node");
    }
}

fn floating(address: &Address) -> Floating {
    Floating {
        address: address.address,
        interface: match &address.mode {
            Mode::Interface(name) => Some(name.clone()),
            Mode::Bind => None,
        },
        prefer: address.prefer.clone(),
        preempt: address.preempt,
    }
}

/// How somebody else can be told to end this node's lease, when this node cannot.
fn will(context: &Context) -> serde_json::Value {
    match context.config.cluster.as_ref().map(|cluster| &cluster.engine) {
        Some(Engine::Etcd(etcd)) => json!({ "etcd": etcd }),
        Some(Engine::Embedded) => guard::embedded_will(&context.config),
        Some(Engine::Memory) | None => json!({}),
    }
}

/// Lets connections end before the addresses go. New ones are not let in any more: clients try again after a second, by which
/// time another node has the address. A listener that was closed would refuse them instead.
async fn drain(context: &Context) -> Vec<TcpListener> {
    const LOOK: Duration = Duration::from_millis(10);
    let held: Vec<_> = context.handle.addresses().states().into_iter().filter(|state| state.held.is_some()).collect();
    let limits = context.config.addresses.iter().filter(|address| {
        held.iter().any(|state| state.floating.address == address.address && state.floating.interface.is_some())
    });
    let Some(limit) = limits.map(|address| address.drain).max() else { return Vec::new() };
    let ports: BTreeSet<u16> = context.config.spec.listeners.iter().map(|listener| listener.bind.port()).collect();
    let mut held_back = Vec::new();
    let ips: Vec<IpAddr> = held.iter().map(|state| state.floating.address.ip).collect();
    for ip in &ips {
        for port in &ports {
            match socket::hold_back(SocketAddr::new(*ip, *port)) {
                Ok(listener) => held_back.push(listener),
                Err(error) => tracing::debug!(%error, %ip, port, "connections are not held back"),
            }
        }
    }
    let end = context.session.now().after(limit);
    while context.session.now() < end && unfinished(context, &ips, &ports) {
        tokio::time::sleep(LOOK).await;
    }
    held_back
}

/// Whether clients wait for something on these addresses. The kernel is asked, since the gateway does not know of connections
/// that it has not accepted yet.
fn unfinished(context: &Context, ips: &[IpAddr], ports: &BTreeSet<u16>) -> bool {
    let open: io::Result<usize> = ips.iter().map(|ip| sessions::open(*ip, ports)).sum();
    open.unwrap_or_else(|error| {
        tracing::debug!(%error, "the kernel does not tell which connections there are");
        context.node.gateway().open_connections()
    }) > 0
}

/// Listeners on addresses that are held by listening.
struct Listeners(Arc<Node>);

impl Doors for Listeners {
    fn set(&self, held: &BTreeSet<IpAddr>) -> Result<(), String> {
        self.0.doors().hold(self.0.gateway(), held)
    }
}
