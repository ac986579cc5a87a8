//! Three machines with a Redis each, kept by nodes that run the real binary.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::keys::{PASSWORD, ask};
use super::nodes::{Engine, Nodes};
use super::{Lab, signal_tree};
use crate::eventually;

const SOON: Duration = Duration::from_secs(90);
const SERVER: u16 = 6379;
/// The group's name.
pub const GROUP: &str = "cache";

/// The nodes with their servers. Dropping it ends all of them.
#[derive(Debug)]
pub struct Redis {
    nodes: Nodes,
}

impl Redis {
    /// Starts three nodes with a group, and waits until one is primary and two follow it. `cluster` is further lines of that table.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn start(engine: Engine, cluster: &str) -> Self {
        let body = |lab: &Lab, _node: usize, folder: &Path| {
            let file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(folder.join("redis.password"));
            let written = file.and_then(|mut file| file.write_all(format!("{PASSWORD}\n").as_bytes()));
            written.expect("the folder is there");
            let members = (0..lab.nodes()).map(|member| {
                format!("[[database.member]]\nnode = \"n{member}\"\naddress = \"{}:{SERVER}\"\n", lab.address(member))
            });
            format!(
                "[[database]]\nname = \"{GROUP}\"\nengine = \"redis\"\n{}[database.server]\n\
                 replication_password = {{ file = \"redis.password\" }}\n",
                members.collect::<String>()
            )
        };
        let redis = Self { nodes: Nodes::in_lab(Lab::new(3), engine, cluster, body) };
        redis.settle();
        redis
    }

    /// The machines and the nodes on them.
    pub fn nodes(&mut self) -> &mut Nodes {
        &mut self.nodes
    }

    /// The machines.
    pub fn lab(&self) -> &Lab {
        self.nodes.lab()
    }

    /// A node's server.
    pub fn server(&self, node: usize) -> SocketAddr {
        (self.lab().address(node), SERVER).into()
    }

    /// What a node says of the group; null if it says nothing.
    pub fn status(&self, node: usize) -> Value {
        let told = self.nodes.command(node, &["database", "status", GROUP, "--json"]);
        serde_json::from_slice(&told.stdout).unwrap_or_default()
    }

    /// The primary that so many replicas follow.
    pub fn primary(&self, replicas: usize) -> Option<usize> {
        let client = self.lab().client();
        (0..3).find(|node| {
            let told = ask(&client, self.server(*node), "INFO replication").unwrap_or_default();
            told.contains("role:master") && told.matches("state=online").count() == replicas
        })
    }

    /// Waits until one is primary and two follow it; which one.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn settle(&self) -> usize {
        let mut primary = None;
        eventually("a primary and two replicas", SOON, || {
            primary = self.primary(2);
            primary.is_some()
        });
        primary.expect("it was found")
    }

    /// The process of a node's server.
    pub fn process(&self, node: usize) -> Option<u32> {
        fs::read_to_string(self.state_dir(node).join("redis.pid")).ok()?.trim().parse().ok()
    }

    /// Signals a node's server.
    pub fn signal(&self, node: usize, signal: &str) {
        self.process(node).filter(|pid| is_redis(*pid)).into_iter().for_each(|pid| signal_tree(pid, signal));
    }

    /// Everything on a machine ends at once, the node's guard included.
    pub fn power_off(&mut self, node: usize) {
        let agent = self.nodes.process(node).pid();
        // Frozen first, so that none of them sees another one die.
        signal_tree(agent, "STOP");
        self.signal(node, "KILL");
        signal_tree(agent, "KILL");
        self.nodes.process(node).kill();
    }

    /// Starts a node that was powered off.
    pub fn power_on(&mut self, node: usize) {
        self.nodes.launch(node);
    }

    fn state_dir(&self, node: usize) -> PathBuf {
        self.nodes.folder(node).join("data/databases").join(GROUP).join("state")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 0..3 {
                eprintln!("n{node}: {}", self.status(node));
                let log = fs::read_to_string(self.state_dir(node).join("redis.log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(20).collect();
                eprintln!("{}\n---", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        for node in 0..3 {
            if self.nodes.is_running(node) {
                self.nodes.kill(node);
            }
            // What a guard that died as well has left.
            self.signal(node, "KILL");
        }
    }
}

fn is_redis(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "redis-server")
}
