//! Floating addresses: what the configuration says of them, carried out by the cluster's thread.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mainstay_cluster::address::driver::{Doors, Floating, Relief, Settings, run as drive};
use mainstay_cluster::address::sessions::{self, Connection};
use mainstay_cluster::session::Session;
use mainstay_runtime::socket;

use super::Context;
use crate::admin::Node;
use crate::config::address::{Address, Mode};

/// How long requests that came last are waited for when an address is moved. With the takeover it is less than the second after
/// which clients whose connections were held back try again.
const LAST_REQUESTS: Duration = Duration::from_millis(200);

pub(super) async fn run(context: Context) {
    let addresses = &context.config.addresses;
    if addresses.is_empty() {
        return;
    }
    let settings = Settings {
        addresses: addresses.iter().map(floating).collect(),
        spare: context.config.spare,
        keeper: context.keeper.clone(),
        doors: Arc::new(Listeners {
            node: Arc::clone(&context.node),
            ports: ports(&context),
            relieved: Arc::default(),
        }),
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
        drain: address.drain,
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
    let ports = ports(context);
    let ips: Vec<IpAddr> = held.iter().map(|state| state.floating.address.ip).collect();
    let held_back = ips.iter().flat_map(|ip| hold_back(*ip, &ports)).collect();
    let end = context.session.now().after(limit);
    while context.session.now() < end && unfinished(&context.node, &ips, &ports) {
        tokio::time::sleep(LOOK).await;
    }
    held_back
}

/// The ports that clients come to.
fn ports(context: &Context) -> BTreeSet<u16> {
    context.config.spec.listeners.iter().map(|listener| listener.bind.port()).collect()
}

/// Keeps new connections waiting until what is returned is dropped.
fn hold_back(ip: IpAddr, ports: &BTreeSet<u16>) -> Vec<TcpListener> {
    let hold = |port: &u16| {
        let held = socket::hold_back(SocketAddr::new(ip, *port));
        held.inspect_err(|error| tracing::debug!(%error, %ip, port, "connections are not held back")).ok()
    };
    ports.iter().filter_map(hold).collect()
}

/// Whether clients wait for something on these addresses. The kernel is asked, since the gateway does not know of connections
/// that it has not accepted yet.
fn unfinished(node: &Node, ips: &[IpAddr], ports: &BTreeSet<u16>) -> bool {
    let open: io::Result<usize> = ips.iter().map(|ip| sessions::open(*ip, ports)).sum();
    open.unwrap_or_else(|error| {
        tracing::debug!(%error, "the kernel does not tell which connections there are");
        node.gateway().open_connections()
    }) > 0
}

/// The doors of the gateway's listeners.
struct Listeners {
    node: Arc<Node>,
    ports: BTreeSet<u16>,
    /// Addresses that are about to go to other nodes.
    relieved: Arc<Mutex<BTreeSet<IpAddr>>>,
}

impl Doors for Listeners {
    fn set(&self, held: &BTreeSet<IpAddr>) -> Result<(), String> {
        self.node.doors().hold(self.node.gateway(), held)
    }

    fn relieve(&self, ip: IpAddr) -> Box<dyn Relief> {
        let (node, relieved) = (Arc::clone(&self.node), Arc::clone(&self.relieved));
        let present = sessions::present(ip, &self.ports).unwrap_or_default();
        let relief = Relieving { node, ip, ports: self.ports.clone(), relieved, present, held_back: None };
        relief.tell(|relieved| relieved.insert(ip));
        Box::new(relief)
    }
}

/// An address that is about to go to another node.
struct Relieving {
    node: Arc<Node>,
    ip: IpAddr,
    ports: BTreeSet<u16>,
    relieved: Arc<Mutex<BTreeSet<IpAddr>>>,
    /// Connections that were there at the beginning and are not over. Those that come later close after one request.
    present: BTreeSet<Connection>,
    /// In the end new ones are held back, and since when. Clients try again after a second, so that it must not take long.
    held_back: Option<(Instant, Vec<TcpListener>)>,
}

impl Relieving {
    fn tell(&self, change: impl FnOnce(&mut BTreeSet<IpAddr>) -> bool) {
        let mut relieved = self.relieved.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut relieved);
        self.node.gateway().relieve(&relieved);
    }
}

impl Relief for Relieving {
    fn is_done(&mut self) -> bool {
        let Ok(present) = sessions::present(self.ip, &self.ports) else { return true };
        self.present.retain(|connection| present.contains(connection));
        if !self.present.is_empty() {
            return false;
        }
        let (since, _held_back) =
            self.held_back.get_or_insert_with(|| (Instant::now(), hold_back(self.ip, &self.ports)));
        present.is_empty() || since.elapsed() >= LAST_REQUESTS
    }
}

impl Drop for Relieving {
    fn drop(&mut self) {
        self.tell(|relieved| relieved.remove(&self.ip));
    }
}
