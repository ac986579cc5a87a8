//! Where everything of a demo is: ports, files, and the configurations that follow from them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::demo::links::Links;
use crate::demo::load::{CONFIG_HEADER, NODE_HEADER};
use crate::demo::schedule::{ENDPOINTS, NODE_NAMES, NODES};
use crate::demo::service::HEALTH;
use crate::failure::Failure;

use super::SERVICE;

/// Ports that were free when they were looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ports {
    /// Where clients connect.
    pub(super) clients: u16,
    /// The endpoints.
    pub(super) endpoints: [u16; ENDPOINTS],
    /// Where nodes listen for each other.
    pub(super) peers: [u16; NODES],
    /// Their admin interfaces.
    pub(super) admins: [u16; NODES],
}

impl Ports {
    /// Ports that are free now. All are held until the last one is found, so that they differ.
    pub(super) fn find() -> Result<Self, Failure> {
        let mut held = Vec::with_capacity(1 + ENDPOINTS + 2 * NODES);
        let mut find = || -> std::io::Result<u16> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        let mut ports = Self::default();
        let Self { clients, endpoints, peers, admins } = &mut ports;
        for port in std::iter::once(clients).chain(endpoints).chain(peers).chain(admins) {
            *port = find().map_err(|error| Failure::new(format!("cannot find free ports on 127.0.0.1: {error}")))?;
        }
        Ok(ports)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<u16> {
        let Self { clients, endpoints, peers, admins } = self;
        std::iter::once(clients).chain(endpoints).chain(peers).chain(admins).copied().collect()
    }

    /// The endpoints' names.
    pub(super) fn names(&self) -> [String; ENDPOINTS] {
        self.endpoints.map(|port| format!("127.0.0.1:{port}"))
    }
}

/// Where one gateway is: alone, or a node of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its folder.
    pub(super) folder: PathBuf,
    /// Its number among several; none if it is alone.
    pub(super) node: Option<usize>,
}

impl Place {
    /// Of all gateways of a demo.
    pub(super) fn all(directory: &Path, nodes: usize) -> Vec<Self> {
        if nodes < 2 {
            return vec![Self { folder: directory.to_owned(), node: None }];
        }
        let place = |(node, name)| Self { folder: directory.join(name), node: Some(node) };
        NODE_NAMES.iter().enumerate().map(place).collect()
    }

    /// What it is called where processes are.
    pub(super) fn name(&self) -> &'static str {
        self.node.and_then(|node| NODE_NAMES.get(node)).copied().unwrap_or("the gateway")
    }

    /// Its configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("gateway.toml")
    }

    /// What it prints.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("gateway.log")
    }

    /// Its admin socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// Its configuration of that number. Checks are quick enough for every fault to be seen within seconds; headers tell
    /// clients which configuration and which node answered.
    pub(super) fn config_text(&self, ports: &Ports, links: Option<&Links>, number: u64) -> String {
        let (identity, cluster, header) = match (self.node, links) {
            (Some(node), Some(links)) => {
                let header = format!(", {NODE_HEADER} = {:?}", self.name());
                (self.identity(ports, node), self.cluster(ports, links, node), header)
            }
            _alone => ("name = \"demo\"\nadmin = \"off\"".to_owned(), String::new(), String::new()),
        };
        format!(
            r#"# Written by `mainstay demo`.
[node]
{identity}
admin_socket = {socket:?}
access_log = {access_log:?}
shutdown = {{ lead = "0s", deadline = "1s" }}
{cluster}
[[listener]]
name = "web"
bind = "127.0.0.1:{port}"

[[route]]
name = "all"
service = "{SERVICE}"
timeout = "3s"
attempt_timeout = "1s"
retry = {{ attempts = 3, on = ["5xx", "timeout"] }}
response_headers = {{ set = {{ {CONFIG_HEADER} = "{number}"{header} }} }}

[[service]]
name = "{SERVICE}"
health = {{ http = "{HEALTH}", interval = "500ms", timeout = "300ms", unhealthy = 2, healthy = 2 }}
outlier = {{ consecutive = 5, base = "2s", cap = "10s" }}
endpoints = [{endpoints}]
"#,
            socket = self.socket(),
            access_log = self.folder.join("access.log"),
            port = ports.clients,
            endpoints = ports.names().map(|name| format!("{name:?}")).join(", "),
        )
    }

    /// One worker, so that a node that holds the address listens by one socket: the probe counts them.
    fn identity(&self, ports: &Ports, node: usize) -> String {
        let admin = ports.admins.get(node).copied().unwrap_or(0);
        let (name, data) = (self.name(), self.folder.join("data"));
        format!("name = {name:?}\nadmin = \"127.0.0.1:{admin}\"\ndata_dir = {data:?}\nworkers = 1")
    }

    fn cluster(&self, ports: &Ports, links: &Links, node: usize) -> String {
        let own = ports.peers.get(node).copied().unwrap_or(0);
        let peer = |(other, name): (usize, &&str)| {
            let port = if other == node { own } else { links.port(node, other) };
            format!("\"{name}=127.0.0.1:{port}\"")
        };
        let peers: Vec<String> = NODE_NAMES.iter().enumerate().map(peer).collect();
        format!(
            r#"
[cluster]
listen = "127.0.0.1:{own}"
# The others are reached through proxies of the demo, which can cut them off.
peers = [{peers}]
timings = "fast"

[[address]]
ip = "127.0.0.1/32"
mode = "bind"
"#,
            peers = peers.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_and_carries_its_number() {
        let ports = Ports { clients: 1, endpoints: [2, 3, 4], ..Ports::default() };
        let place = Place { folder: PathBuf::from("/tmp/with \"quotes\""), node: None };
        let value: toml::Table = toml::from_str(&place.config_text(&ports, None, 7)).unwrap();
        let route = &value["route"][0];
        assert_eq!(route["response_headers"]["set"][CONFIG_HEADER].as_str(), Some("7"));
        assert_eq!(value["service"][0]["endpoints"].as_array().unwrap().len(), ENDPOINTS);
        assert_eq!(value["node"]["admin_socket"].as_str(), Some("/tmp/with \"quotes\"/admin.sock"));
        assert!(!value.contains_key("cluster"));
    }

    #[test]
    fn nodes_reach_each_other_through_the_links_and_share_one_address() {
        let ports = Ports { clients: 1, peers: [11, 12, 13], admins: [21, 22, 23], ..Ports::default() };
        let links = Links::open(ports.peers, &ports.all()).unwrap();
        for place in Place::all(Path::new("/tmp/demo"), NODES) {
            let value: toml::Table = toml::from_str(&place.config_text(&ports, Some(&links), 1)).unwrap();
            let node = place.node.unwrap();
            assert_eq!(value["node"]["name"].as_str(), Some(NODE_NAMES[node]));
            assert_eq!(value["node"]["workers"].as_integer(), Some(1));
            assert_eq!(value["address"][0]["mode"].as_str(), Some("bind"));
            assert_eq!(value["route"][0]["response_headers"]["set"][NODE_HEADER].as_str(), Some(NODE_NAMES[node]));
            for (other, peer) in value["cluster"]["peers"].as_array().unwrap().iter().enumerate() {
                let port = if other == node { ports.peers[node] } else { links.port(node, other) };
                assert_eq!(peer.as_str(), Some(format!("{}=127.0.0.1:{port}", NODE_NAMES[other]).as_str()));
            }
        }
    }

    #[test]
    fn ports_differ() {
        let ports = Ports::find().unwrap();
        let mut all = vec![ports.clients];
        all.extend(ports.endpoints.iter().chain(&ports.peers).chain(&ports.admins));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1 + ENDPOINTS + 2 * NODES);
    }
}
