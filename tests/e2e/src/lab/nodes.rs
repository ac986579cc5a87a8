//! Nodes that run the real binary in a lab, and an etcd for them beside the client, whose cable is never cut.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use super::watch::Watch;
use super::{CLIENT, FLOATING, Lab, serve, within};
use crate::process::Process;
use crate::{eventually, gateway, tools};

/// Where gateways listen.
pub const PORT: u16 = 8080;
const ORIGIN: u16 = 9000;
const SOON: Duration = Duration::from_secs(30);

/// A cluster. Dropping it ends its processes, and then the lab.
#[derive(Debug)]
pub struct Nodes {
    processes: Vec<Option<Process>>,
    etcd: Process,
    dir: tempfile::TempDir,
    lab: Lab,
}

impl Nodes {
    /// So many nodes with one floating address; `cluster` and `address` are further lines of these tables.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn start(count: usize, cluster: &str, address: &str) -> Self {
        let lab = Lab::new(count);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let etcd = etcd(&lab, dir.path());
        serve(&lab.client(), ORIGIN);
        let mut nodes = Self { processes: Vec::new(), etcd, dir, lab };
        for node in 0..count {
            fs::create_dir(nodes.folder(node)).expect("a folder");
            let socket = nodes.folder(node).join("admin.sock");
            let text = format!(
                "[node]\nname = \"n{node}\"\nadmin = \"off\"\nadmin_socket = \"{}\"\naccess_log = \"off\"\nworkers = 1\n\
                 [cluster]\netcd = [\"http://{CLIENT}:2379\"]\n{cluster}\n\
                 [[address]]\nip = \"{FLOATING}/32\"\ninterface = \"eth0\"\n{address}\n\
                 [[listener]]\nname = \"web\"\nbind = \"0.0.0.0:{PORT}\"\n\
                 [[service]]\nname = \"app\"\nendpoints = [\"{CLIENT}:{ORIGIN}\"]\n",
                socket.display()
            );
            fs::write(nodes.folder(node).join("mainstay.toml"), text).expect("a configuration");
            nodes.processes.push(None);
            nodes.launch(node);
        }
        nodes
    }

    /// The machines.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A node's folder.
    pub fn folder(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("n{node}"))
    }

    /// Starts a node that does not run, and waits until it serves.
    pub fn launch(&mut self, node: usize) {
        let file = self.folder(node).join("mainstay.toml");
        let arguments = ["run", "-c", &file.display().to_string()];
        let program = gateway::built("mainstay");
        let mut process = self.lab.start(node, &format!("n{node}"), &self.folder(node), &program, &arguments);
        let before = process.stderr().matches("cluster: taking part").count();
        process.wait_for_log("cluster: taking part", before.max(1), SOON);
        self.processes[node] = Some(process);
    }

    /// A node's process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn process(&mut self, node: usize) -> &mut Process {
        self.processes[node].as_mut().expect("the node runs")
    }

    /// `kill -9`, and the moment before it.
    pub fn kill(&mut self, node: usize) -> Instant {
        let before = Instant::now();
        self.process(node).kill();
        before
    }

    /// What nodes have said so far, for messages.
    pub fn logs(&self) -> String {
        let logs = self.processes.iter().flatten().map(|process| process.stderr());
        logs.collect::<Vec<_>>().join("\n---\n")
    }

    /// Runs a subcommand over a node's admin socket.
    pub fn command(&self, node: usize, arguments: &[&str]) -> Output {
        let socket = self.folder(node).join("admin.sock").display().to_string();
        gateway::cli(&[arguments, &["--admin-socket", &socket]].concat())
    }

    /// Waits until one node holds the address and the client is answered; which one.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn settled(&self, watch: &Watch) -> usize {
        let since = Instant::now();
        let mut holder = None;
        eventually("a node holds the address", SOON, || {
            holder = watch.holder();
            holder.is_some() && watch.answered(since).is_some()
        });
        holder.expect("a holder")
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
            for node in 0..self.processes.len() {
                let list = self.command(node, &["address", "list", "--json"]);
                eprintln!("n{node}: {}", String::from_utf8_lossy(&list.stdout));
            }
        }
        // Guards end with their nodes; they must not outlive their namespaces.
        for process in self.processes.iter_mut().flatten() {
            process.kill();
        }
        self.etcd.kill();
    }
}

fn etcd(lab: &Lab, dir: &std::path::Path) -> Process {
    let url = |port: u16| format!("http://{CLIENT}:{port}");
    let mut command = lab.command(&lab.client(), &tools::find("etcd", "etcd-server"));
    command.args(["--name", "lab", "--data-dir", &dir.join("etcd").display().to_string()]);
    command.args(["--listen-client-urls", &url(2379), "--advertise-client-urls", &url(2379)]);
    command.args(["--listen-peer-urls", &url(2380), "--initial-advertise-peer-urls", &url(2380)]);
    command.args(["--initial-cluster", &format!("lab={}", url(2380)), "--log-level", "error"]);
    let process = Process::start("etcd", dir, &mut command, None);
    // It listens before it can answer.
    eventually("etcd answers", SOON, || within(&lab.client(), || is_healthy((CLIENT, 2379).into())).unwrap_or(false));
    process
}

/// Whether etcd says that it is well.
fn is_healthy(at: SocketAddr) -> Option<bool> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET /health HTTP/1.0\r\nhost: etcd\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.contains("\"true\""))
}
