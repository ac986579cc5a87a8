//! Debian's Redis with Sentinel on three machines, as its documentation sets them up.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Lab;
use super::keys::{PASSWORD, ask};
use crate::process::Process;
use crate::{eventually, tools};

const SOON: Duration = Duration::from_secs(120);
const SERVER: u16 = 6379;
const SENTINEL: u16 = 26379;

/// How patient it is, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a server that says nothing is up.
    pub down_after: u32,
    /// How long a failover may take, and half of what passes before another one.
    pub failover_timeout: u32,
}

impl Timing {
    /// As it comes.
    pub const DEFAULT: Self = Self { down_after: 30_000, failover_timeout: 180_000 };
    /// As fast as it is advised to be.
    pub const TUNED: Self = Self { down_after: 1_000, failover_timeout: 5_000 };
}

/// The machines with everything on them. Dropping it ends all of it.
#[derive(Debug)]
pub struct Sentinel {
    servers: Vec<Option<Process>>,
    sentinels: Vec<Option<Process>>,
    dir: tempfile::TempDir,
    lab: Lab,
}

impl Sentinel {
    /// Starts everything and waits until one is primary and two follow it.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn start(timing: Timing) -> Self {
        let lab = Lab::new(3);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let none = || (0..3).map(|_| None).collect();
        let mut sentinel = Self { servers: none(), sentinels: none(), dir, lab };
        for node in 0..3 {
            sentinel.write(node, timing);
            sentinel.start_server(node);
        }
        for node in 0..3 {
            sentinel.start_sentinel(node);
        }
        sentinel.settle();
        sentinel
    }

    /// The machines.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A node's server.
    pub fn server(&self, node: usize) -> SocketAddr {
        (self.lab.address(node), SERVER).into()
    }

    /// The primary that all who live agree upon, with so many replicas.
    pub fn primary(&self, replicas: usize) -> Option<usize> {
        let client = self.lab.client();
        let told = |node: usize| ask(&client, self.server(node), "INFO replication").unwrap_or_default();
        let says = |text: &str| {
            let online = text.matches("state=online").count();
            text.contains("role:master") && online == replicas
        };
        (0..3).find(|node| says(&told(*node)))
    }

    /// Waits until one is primary and two follow it, and every Sentinel knows that.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn settle(&self) {
        eventually("Sentinel has a primary and two replicas", SOON, || {
            let Some(primary) = self.primary(2) else { return false };
            let address = format!("address={}:{SERVER}", self.lab.address(primary));
            let client = self.lab.client();
            (0..3).all(|node| {
                let at = (self.lab.address(node), SENTINEL).into();
                let told = ask(&client, at, "INFO sentinel").unwrap_or_default();
                ["status=ok", "slaves=2", "sentinels=3", &address].iter().all(|part| told.contains(part))
            })
        });
    }

    /// The process of a node's server.
    ///
    /// # Panics
    /// If it does not run.
    pub fn process(&mut self, node: usize) -> &mut Process {
        self.servers[node].as_mut().expect("it runs")
    }

    /// Everything on a machine ends at once.
    pub fn power_off(&mut self, node: usize) {
        for process in [&mut self.servers[node], &mut self.sentinels[node]].into_iter().flatten() {
            process.kill();
        }
        (self.servers[node], self.sentinels[node]) = (None, None);
    }

    /// Starts what does not run on a machine.
    pub fn power_on(&mut self, node: usize) {
        if self.servers[node].as_mut().is_none_or(|process| !process.is_running()) {
            self.start_server(node);
        }
        if self.sentinels[node].is_none() {
            self.start_sentinel(node);
        }
    }

    fn folder(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("r{node}"))
    }

    fn write(&self, node: usize, timing: Timing) {
        let folder = self.folder(node);
        fs::create_dir(&folder).expect("a folder");
        let (own, first, dir) = (self.lab.address(node), self.lab.address(0), folder.display());
        let upstream = if node == 0 { String::new() } else { format!("replicaof {first} {SERVER}\n") };
        let server = format!(
            "bind {own} 127.0.0.1\nport {SERVER}\ndir {dir}\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\n{upstream}"
        );
        let Timing { down_after, failover_timeout } = timing;
        let sentinel = format!(
            "bind {own}\nport {SENTINEL}\ndir {dir}\nrequirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\n\
             sentinel monitor lab {first} {SERVER} 2\nsentinel auth-pass lab {PASSWORD}\n\
             sentinel down-after-milliseconds lab {down_after}\nsentinel failover-timeout lab {failover_timeout}\n"
        );
        fs::write(folder.join("redis.conf"), server).expect("a configuration");
        fs::write(folder.join("sentinel.conf"), sentinel).expect("a configuration");
    }

    fn start_server(&mut self, node: usize) {
        self.servers[node] = Some(self.run(node, "redis-server", "redis-server", "redis.conf"));
    }

    fn start_sentinel(&mut self, node: usize) {
        self.sentinels[node] = Some(self.run(node, "redis-sentinel", "redis-sentinel", "sentinel.conf"));
    }

    fn run(&self, node: usize, program: &str, package: &str, config: &str) -> Process {
        let folder = self.folder(node);
        let file = folder.join(config).display().to_string();
        self.lab.start(node, &format!("{program}{node}"), &folder, &tools::find(program, package), &[&file])
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        for node in 0..3 {
            self.power_off(node);
        }
    }
}
