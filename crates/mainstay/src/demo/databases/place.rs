//! Where everything is: three nodes on this machine's loopback, each with a PostgreSQL and a Redis.

use std::fmt::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

pub(super) const NODES: usize = 3;
pub(super) const NAMES: [&str; NODES] = ["db1", "db2", "db3"];

/// A group of databases of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Orders,
    Cache,
}

impl Group {
    pub(super) const ALL: [Self; 2] = [Self::Orders, Self::Cache];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Cache => "cache",
        }
    }

    const fn engine(self) -> &'static str {
        match self {
            Self::Orders => "postgres",
            Self::Cache => "redis",
        }
    }

    /// What a server of it is called.
    pub(super) const fn server(self) -> &'static str {
        match self {
            Self::Orders => "PostgreSQL",
            Self::Cache => "Redis",
        }
    }

    /// The group begins with another node each, so that one fault befalls one of them.
    const fn first(self) -> usize {
        match self {
            Self::Orders => 0,
            Self::Cache => 1,
        }
    }
}

/// Ports of each node that were free when they were looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ports {
    pub(super) peers: [u16; NODES],
    pub(super) admins: [u16; NODES],
    /// Of servers, by group.
    pub(super) servers: [[u16; NODES]; 2],
    /// Where clients write, by group.
    pub(super) writes: [[u16; NODES]; 2],
}

impl Ports {
    /// All are held until the last one is found, so that they differ.
    pub(super) fn find() -> Result<Self, Failure> {
        let mut held = Vec::new();
        let mut find = || -> std::io::Result<u16> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        let mut ports = Self::default();
        let Self { peers, admins, servers, writes } = &mut ports;
        for port in peers.iter_mut().chain(admins).chain(servers.as_flattened_mut()).chain(writes.as_flattened_mut()) {
            *port = find().map_err(|error| Failure::new(format!("cannot find free ports on 127.0.0.1: {error}")))?;
        }
        Ok(ports)
    }
}

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) folder: PathBuf,
}

impl Place {
    pub(super) fn all(directory: &Path) -> [Self; NODES] {
        std::array::from_fn(|node| Self { node, folder: directory.join(NAMES[node]) })
    }

    pub(super) fn name(&self) -> &'static str {
        NAMES[self.node]
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("mainstay.toml")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("mainstay.log")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    pub(super) fn state_dir(&self, group: Group) -> PathBuf {
        self.folder.join("data/databases").join(group.name()).join("state")
    }

    pub(super) fn data_dir(&self, group: Group) -> PathBuf {
        self.folder.join("data/databases").join(group.name()).join("data")
    }

    /// Its configuration. `users` are who the servers run as, by group; `None`: whoever runs the demo.
    pub(super) fn config_text(&self, ports: &Ports, users: [Option<&str>; 2]) -> String {
        let peers: Vec<String> =
            NAMES.iter().zip(ports.peers).map(|(name, port)| format!("\"{name}=127.0.0.1:{port}\"")).collect();
        let mut text = format!(
            "# Written by `mainstay demo --databases`.\n[node]\nname = {name:?}\nadmin = \"127.0.0.1:{admin}\"\n\
             admin_socket = {socket:?}\ndata_dir = {data:?}\nworkers = 1\naccess_log = \"off\"\n\n\
             [cluster]\nlisten = \"127.0.0.1:{peer}\"\npeers = [{peers}]\n",
            name = self.name(),
            admin = ports.admins[self.node],
            socket = self.socket(),
            data = self.folder.join("data"),
            peer = ports.peers[self.node],
            peers = peers.join(", "),
        );
        for (group, user) in Group::ALL.into_iter().zip(users) {
            self.group_text(&mut text, ports, group, user);
        }
        text.push_str("\n[[objective]]\nname = \"orders\"\ndatabase = \"orders\"\ntarget = \"99.9%\"\n");
        text
    }

    fn group_text(&self, text: &mut String, ports: &Ports, group: Group, user: Option<&str>) {
        let write = ports.writes[group as usize][self.node];
        let durability = if group == Group::Orders { "durability = \"sync-preferred\"\n" } else { "" };
        let mut add = |line: String| {
            let _infallible = writeln!(text, "{line}");
        };
        add(format!(
            "\n[[database]]\nname = {:?}\nengine = {:?}\n{durability}write = \"127.0.0.1:{write}\"\ncooldown = \"1s\"",
            group.name(),
            group.engine()
        ));
        for (member, port) in ports.servers[group as usize].iter().enumerate() {
            let priority = if member == group.first() { 200 } else { 100 };
            add(format!(
                "[[database.member]]\nnode = {:?}\naddress = \"127.0.0.1:{port}\"\npriority = {priority}",
                NAMES[member]
            ));
        }
        let extra = if group == Group::Orders { "extra = \"shared_buffers = 16MB\"\n" } else { "" };
        let user = user.map(|user| format!("user = {user:?}\n")).unwrap_or_default();
        // All three share the kernel, whose rules are not the demo's to change.
        add(format!(
            "[database.server]\n{user}{extra}replication_password = {{ file = \"databases.password\" }}\n\
             [database.fencing]\nport_lease = \"off\""
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_right_on_every_node() {
        let ports = Ports {
            peers: [1, 2, 3],
            admins: [4, 5, 6],
            servers: [[7, 8, 9], [10, 11, 12]],
            writes: [[13, 14, 15], [16, 17, 18]],
        };
        for place in Place::all(Path::new("/tmp/demo")) {
            let text = place.config_text(&ports, [Some("postgres"), None]);
            let config = crate::config::parse(&text, "mainstay.toml", Path::new("/tmp/demo")).expect("it is right");
            let names: Vec<&str> = config.databases.iter().map(|database| database.name.as_str()).collect();
            assert_eq!(names, ["orders", "cache"]);
            let user = |at: usize| config.databases[at].server.as_ref().and_then(|server| server.user.clone());
            assert_eq!((user(0).as_deref(), user(1)), (Some("postgres"), None));
        }
    }
}
