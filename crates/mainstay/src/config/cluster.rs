//! `[cluster]`: what several nodes agree by, and where they are.

use std::net::{Ipv4Addr, SocketAddr};

use mainstay_cluster::timings::Timings;
use mainstay_gateway::spec::Address;

use super::etcd::{self, Etcd};
use super::node::Settings;
use super::problem::{Fault, listed};
use super::reader::{Section, clip};
use super::{keys, words};

/// Where nodes ask each other, unless the configuration says otherwise.
pub const PORT: u16 = 7946;
/// Nodes that can be named, at most.
const PEERS_MAX: usize = 64;

/// What `[cluster]` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// What holds the agreement.
    pub engine: Engine,
    /// Where other nodes ask this one.
    pub listen: SocketAddr,
    /// Where nodes are, this one included; takes precedence over what the cluster has noted. May be empty.
    pub peers: Vec<Peer>,
    /// Whether this node wants to vote when it joins.
    pub voter: bool,
    /// How long nodes wait for each other.
    pub timings: Timings,
}

/// What holds the agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// This process alone; nothing outlives it.
    Memory,
    /// The nodes themselves.
    Embedded,
    /// An etcd cluster.
    Etcd(Etcd),
}

/// Another node, or this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where it is: HOST:PORT.
    pub address: String,
}

impl Cluster {
    /// Where the node of this name is, if `peers` says so.
    pub fn address_of(&self, name: &str) -> Option<&str> {
        self.peers.iter().find(|peer| peer.name == name).map(|peer| peer.address.as_str())
    }
}

/// Reads `[cluster]`; `None` if it is not there.
pub(super) fn read(root: &Section<'_>, settings: &Settings) -> Option<Cluster> {
    let section = root.item("cluster")?.section(&keys::CLUSTER)?;
    let peers = read_peers(&section, &settings.node.name);
    let etcd = etcd::read(&section);
    let default = default_listen(&peers, &settings.node.name);
    let listen = section.field("listen", default, |item| item.parsed(words::bind));
    if section.has("peers") && etcd.is_some() && settings.node.data_dir.is_none() {
        let fault = Fault::new("`peers` has no effect beside `etcd` without `data_dir` under [node]");
        section.reader.error(&section.place, fault.hint("leave `peers` out: etcd tells nodes of each other"));
    }
    let engine = match (etcd, settings.node.data_dir.is_some()) {
        (Some(etcd), _) => Engine::Etcd(etcd),
        (None, true) => Engine::Embedded,
        (None, false) => {
            without_folder(&section, &peers);
            Engine::Memory
        }
    };
    let timings = section.field("timings", Timings::DEFAULT, |item| item.one_of(&presets())).value;
    let voter = section.flag("voter", true).value;
    Some(Cluster { engine, listen: listen.value, peers, voter, timings })
}

fn presets() -> Vec<(&'static str, Timings)> {
    Timings::NAMES.into_iter().filter_map(|name| Some((name, Timings::named(name)?))).collect()
}

fn without_folder(section: &Section<'_>, peers: &[Peer]) {
    if peers.len() > 1 {
        let fault = Fault::new("nodes need a folder for what they agreed on, or a restart would forget it");
        let hint = "set `data_dir` under [node], such as data_dir = \"/var/lib/mainstay\"";
        section.reader.error(&section.place, fault.hint(hint));
    } else {
        let fault = Fault::new("without `data_dir` under [node] this is a cluster of one that a restart forgets");
        section.reader.warn(&section.place, fault.hint("set `data_dir`, such as data_dir = \"/var/lib/mainstay\""));
    }
}

/// This node's own address if that is one of a machine, else every IPv4 address.
fn default_listen(peers: &[Peer], name: &str) -> SocketAddr {
    let own = peers.iter().find(|peer| peer.name == name);
    own.and_then(|peer| peer.address.parse().ok()).unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, PORT).into())
}

fn read_peers(section: &Section<'_>, own_name: &str) -> Vec<Peer> {
    let Some(list) = section.item("peers") else { return Vec::new() };
    let items = list.list();
    if items.len() > PEERS_MAX {
        list.error(Fault::new(format!("at most {PEERS_MAX} nodes can be named here")));
        return Vec::new();
    }
    let mut peers: Vec<Peer> = Vec::new();
    let mut is_whole = list.is_list();
    for item in items {
        match item.parsed(parse_peer) {
            Some(peer) => match peers.iter().find(|it| it.name == peer.name || it.address == peer.address) {
                Some(other) => {
                    let what = if other.name == peer.name { "name" } else { "address" };
                    item.error(Fault::new(format!("two nodes have the same {what}")));
                }
                None => peers.push(peer),
            },
            None => is_whole = false,
        }
    }
    if is_whole && !peers.is_empty() && !peers.iter().any(|peer| peer.name == own_name) {
        let names = listed(peers.iter().map(|peer| peer.name.as_str()));
        let fault = Fault::new(format!("this node, `{own_name}`, is not among them: {names}"));
        list.error(fault.hint("add it, or correct `name` under [node]"));
    }
    peers
}

/// `NAME=HOST:PORT`.
fn parse_peer(text: &str) -> Result<Peer, Fault> {
    let hint = "write \"NAME=HOST:PORT\", such as \"lb1=10.0.1.1:7946\"";
    let Some((name, address)) = text.split_once('=') else {
        return Err(Fault::new(format!("`{}` does not say which node is where", clip(text))).hint(hint));
    };
    Ok(Peer { name: words::name(name)?, address: parse_address(address).map_err(|fault| fault.or_hint(hint))? })
}

/// Where a node is reached: HOST:PORT, the port 7946 if there is none.
pub fn parse_node_address(text: &str) -> Result<String, String> {
    parse_address(text).map_err(|fault| match fault.hint {
        Some(hint) => format!("{}; {hint}", fault.message),
        None => fault.message,
    })
}

fn parse_address(text: &str) -> Result<String, Fault> {
    let with_port = if text.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        format!("[{text}]:{PORT}")
    } else if text.contains(':') || text.is_empty() {
        text.to_owned()
    } else {
        format!("{text}:{PORT}")
    };
    match words::endpoint(&with_port)? {
        Address::Socket(address) if address.ip().is_unspecified() => {
            Err(Fault::new("other nodes cannot reach this address").hint("name the one that they reach this node at"))
        }
        Address::Socket(address) => Ok(address.to_string()),
        Address::Name { host, port } => Ok(format!("{host}:{port}")),
        Address::Member { .. } | Address::Unix { .. } => Err(Fault::new("nodes reach each other over TCP only")),
    }
}
