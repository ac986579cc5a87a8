//! The test backend as a process that can be killed, stopped and started again. What it answers is written at the top of
//! `bin/origin.rs`.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::{address, wire};

/// A running (or killed) test backend.
#[derive(Debug)]
pub struct Origin {
    process: Process,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Origin {
    /// Starts one on a free address.
    pub fn start() -> Self {
        Self::start_on(address::free())
    }

    /// Starts one on this address.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_on(address: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let process = launch(address, &dir);
        Self { address, dir, process }
    }

    /// Starts several.
    pub fn several(count: usize) -> Vec<Self> {
        (0..count).map(|_index| Self::start()).collect()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Whether its process lives.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// SIGSTOP: it keeps its connections and its listening socket, and answers nothing.
    pub fn stop(&self) {
        self.process.signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.signal(libc::SIGCONT);
    }

    /// Starts it again on the same address after [`Origin::kill`]. The record goes on.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(self.address, &self.dir);
    }

    /// Sets switches, e.g. `health=503&delay=20`.
    pub fn control(&self, query: &str) {
        assert_eq!(wire::get(self.address, &format!("/_control?{query}")).status, 200);
    }

    /// A number of `/_stats`: `requests`, `connections` or `health_checks`.
    pub fn stat(&self, name: &str) -> u64 {
        wire::get(self.address, "/_stats").json()[name].as_u64().expect("a statistic of the origin")
    }

    /// How often each `x-id` was received, by this process and its predecessors on the address.
    pub fn received(&self) -> HashMap<String, u32> {
        let text = fs::read_to_string(record(&self.dir)).unwrap_or_default();
        let mut ids = HashMap::new();
        for line in text.lines() {
            *ids.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        ids
    }
}

fn record(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("record")
}

fn launch(address: SocketAddr, dir: &tempfile::TempDir) -> Process {
    let binary = crate::gateway::built("mainstay-e2e-origin");
    let mut command = Command::new(binary);
    command.arg("--listen").arg(address.to_string()).arg("--record").arg(record(dir));
    let before = fs::read_to_string(dir.path().join("origin.stderr")).unwrap_or_default();
    let count = before.matches("listening").count();
    let mut process = Process::start("origin", dir.path(), &mut command, None);
    process.wait_for_log("listening", count + 1, Duration::from_secs(10));
    process
}
