//! Nodes that run the real binary in a lab, agreeing by themselves or by an etcd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use super::etcd::Etcd;
use super::watch::Watch;
use super::{CLIENT, FLOATING, Lab, serve};
use crate::process::{Process, Stranger};
use crate::{eventually, gateway};

/// Where gateways listen.
pub const PORT: u16 = 8080;
const ORIGIN: u16 = 9000;
const TAKES_PART: &str = "cluster: taking part";
const SOON: Duration = Duration::from_secs(30);

/// Where nodes ask each other.
pub const PEERS: u16 = 7946;

/// What the nodes agree by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// They themselves.
    Embedded,
    /// Three members of etcd beside the client, whose cables are never cut.
    Etcd,
}

/// A cluster. Dropping it ends its processes, and then the lab.
#[derive(Debug)]
pub struct Nodes {
    processes: Vec<Option<Process>>,
    /// Processes that took over from these or from each other, with their node.
    successors: Vec<(usize, Stranger)>,
    etcd: Option<Etcd>,
    dir: tempfile::TempDir,
    lab: Lab,
}

impl Nodes {
    /// So many nodes with one floating address; `cluster` and `address` are further lines of these tables.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn start(count: usize, engine: Engine, cluster: &str, address: &str) -> Self {
        Self::start_over(count, engine, cluster, address, |_lab| {})
    }

    /// As [`Nodes::start`], in a lab that `prepare` has seen before the first node.
    ///
    /// # Panics
    /// As [`Nodes::start`].
    pub fn start_over(count: usize, engine: Engine, cluster: &str, address: &str, prepare: impl FnOnce(&Lab)) -> Self {
        let lab = Lab::new(count);
        prepare(&lab);
        serve(&lab.client(), ORIGIN);
        Self::in_lab(lab, engine, cluster, |_lab, _node, _folder| {
            format!(
                "[[address]]\nip = \"{FLOATING}/32\"\ninterface = \"eth0\"\n{address}\n\
                 [[listener]]\nname = \"web\"\nbind = \"0.0.0.0:{PORT}\"\n\
                 [[service]]\nname = \"app\"\nendpoints = [\"{CLIENT}:{ORIGIN}\"]\n"
            )
        })
    }

    /// One node on each machine of a lab, whose configurations go on as `body` says, which is told the node's folder.
    ///
    /// # Panics
    /// As [`Nodes::start`].
    pub fn in_lab(lab: Lab, engine: Engine, cluster: &str, body: impl Fn(&Lab, usize, &Path) -> String) -> Self {
        let count = lab.nodes();
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Servers beside a node may run as other users, who have to get to their own folders.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        let etcd = (engine == Engine::Etcd).then(|| Etcd::start(&lab, dir.path()));
        let mut nodes = Self { processes: Vec::new(), successors: Vec::new(), etcd, dir, lab };
        for node in 0..count {
            fs::create_dir(nodes.folder(node)).expect("a folder");
            let path = |name: &str| nodes.folder(node).join(name).display().to_string();
            let agreement = match engine {
                Engine::Etcd => Etcd::line(),
                Engine::Embedded => format!("listen = \"{}:{PEERS}\"", nodes.lab.address(node)),
            };
            let text = format!(
                "[node]\nname = \"n{node}\"\nadmin = \"off\"\nadmin_socket = \"{}\"\naccess_log = \"off\"\nworkers = 1\n\
                 data_dir = \"{}\"\n[cluster]\n{agreement}\n{cluster}\n{}",
                path("admin.sock"),
                path("data"),
                body(&nodes.lab, node, &nodes.folder(node))
            );
            fs::write(nodes.folder(node).join("mainstay.toml"), text).expect("a configuration");
            nodes.processes.push(None);
            if engine == Engine::Embedded {
                nodes.bring_in(node);
            }
            nodes.launch(node);
        }
        if engine == Engine::Embedded {
            eventually("all nodes vote", SOON, || nodes.voters(0) == count);
        }
        nodes
    }

    /// Gives a node an identity: the first one founds the cluster, the others join it.
    fn bring_in(&self, node: usize) {
        let config = self.folder(node).join("mainstay.toml").display().to_string();
        let mut command = self.lab.command(&self.lab.node(node), &gateway::built("mainstay"));
        let output = match node {
            0 => command.args(["init", "-c", &config]).output(),
            _another => command.args(["join", &self.token(), "-c", &config]).output(),
        };
        let output = output.expect("mainstay");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A token for a node, once the first one can give it.
    fn token(&self) -> String {
        let mut token = None;
        eventually("a token", SOON, || {
            let made = self.command(0, &["cluster", "token"]);
            token = made.status.success().then(|| String::from_utf8_lossy(&made.stdout).trim().to_owned());
            token.is_some()
        });
        token.expect("it was made")
    }

    /// How many nodes vote, as one of them knows.
    fn voters(&self, node: usize) -> usize {
        let status = self.command(node, &["cluster", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        let members = status["members"].as_array().map_or(&[][..], Vec::as_slice);
        members.iter().filter(|member| member["role"] == "leader" || member["role"] == "voter").count()
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
        let name = format!("n{node}");
        let before = self.said(node, TAKES_PART);
        let mut process = self.lab.start(node, &name, &self.folder(node), &program, &arguments);
        process.wait_for_log(TAKES_PART, before + 1, SOON);
        self.processes[node] = Some(process);
    }

    /// How often a node and its guard have said this so far, earlier processes included.
    pub fn said(&self, node: usize, what: &str) -> usize {
        let said = fs::read_to_string(self.folder(node).join(format!("n{node}.stderr"))).unwrap_or_default();
        said.matches(what).count()
    }

    /// A node's process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn process(&mut self, node: usize) -> &mut Process {
        self.processes[node].as_mut().expect("the node runs")
    }

    /// Whether a node's process runs.
    pub fn is_running(&mut self, node: usize) -> bool {
        self.successors_of(node).any(Stranger::is_running)
            || self.processes[node].as_mut().is_some_and(Process::is_running)
    }

    /// `kill -9`, and the moment before it.
    pub fn kill(&mut self, node: usize) -> Instant {
        let before = Instant::now();
        self.successors_of(node).for_each(|process| process.signal(libc::SIGKILL));
        self.process(node).kill();
        before
    }

    /// `kill -9` of a member of etcd.
    ///
    /// # Panics
    /// If the nodes agree by themselves.
    pub fn kill_etcd(&mut self, member: usize) {
        self.etcd.as_mut().expect("nodes that agree by etcd").kill(member);
    }

    /// Starts a member of etcd again, and waits until it answers.
    ///
    /// # Panics
    /// If the nodes agree by themselves, or it does not answer.
    pub fn restart_etcd(&mut self, member: usize) {
        self.etcd.as_mut().expect("nodes that agree by etcd").restart(&self.lab, self.dir.path(), member);
    }

    /// SIGTERM, and waits until it has left.
    ///
    /// # Panics
    /// If it does not leave.
    pub fn terminate(&mut self, node: usize) {
        let process = self.process(node);
        process.signal(libc::SIGTERM);
        let ended = process.wait(Duration::from_secs(45));
        assert!(ended.is_some(), "node {node} does not leave:\n{}", self.logs());
    }

    /// `mainstay upgrade`, and waits until the new process takes part and the old one has left.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn upgrade(&mut self, node: usize) {
        self.hand_over(node);
        self.relieved(node);
    }

    /// `mainstay upgrade`, and waits until the new process takes part.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn hand_over(&mut self, node: usize) {
        let before = self.said(node, TAKES_PART);
        self.hand_over_only(node);
        eventually("the new process takes part", SOON, || self.said(node, TAKES_PART) > before);
    }

    /// `mainstay upgrade`, and no more than that.
    ///
    /// # Panics
    /// If it fails.
    pub fn hand_over_only(&mut self, node: usize) {
        let output = self.command(node, &["upgrade", "--json"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "not upgraded: {told}\n{}", self.logs());
        let done: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
        let pid = done["new_pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id");
        self.successors.push((node, Stranger::new(pid)));
    }

    /// Waits until the processes before a node's present one have left.
    ///
    /// # Panics
    /// If one does not.
    pub fn relieved(&mut self, node: usize) {
        let ended = self.process(node).wait(Duration::from_secs(45)).is_some();
        let earlier = || self.successors_of(node).rev().skip(1).all(|process| !process.is_running());
        assert!(ended, "the first process of node {node} does not leave:\n{}", self.logs());
        eventually("the processes before leave", Duration::from_secs(45), earlier);
    }

    /// The processes that took over on a node, in their order.
    pub fn successors_of(&self, node: usize) -> impl DoubleEndedIterator<Item = &Stranger> {
        self.successors.iter().filter(move |(of, _process)| *of == node).map(|(_node, process)| process)
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
    }
}
