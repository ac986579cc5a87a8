//! Nodes in network namespaces, so that all of them can serve the same addresses. They agree by an etcd of one member.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mainstay_e2e::gateway::{built, cli};
use mainstay_e2e::lab::{CLIENT, Cut, Lab, enter, serve, within};
use mainstay_e2e::process::Process;
use mainstay_e2e::wire::{self, Response};
use mainstay_e2e::{eventually, tools};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// Where each node serves.
const PORT: u16 = 8080;
/// A server on each node's own machine, and a port where nobody is.
pub const LIVE: &str = "127.0.0.1:9000";
pub const DEAD: &str = "127.0.0.1:9";

/// A configuration with a route for each path.
pub fn text(routes: &[(&str, &str)]) -> String {
    let mut text = format!("[[listener]]\nname = \"web\"\nbind = \"0.0.0.0:{PORT}\"\n");
    for (number, (path, endpoint)) in routes.iter().enumerate() {
        text += &format!(
            "[[route]]\nname = \"r{number}\"\nmatch = {{ path = \"{path}\" }}\nservice = \"s{number}\"\n\
             [[service]]\nname = \"s{number}\"\nendpoints = [\"{endpoint}\"]\n"
        );
    }
    text
}

/// The nodes, and what they agree by.
pub struct Nodes {
    // Dropped in this order: processes are to be gone before their machines.
    nodes: Vec<Process>,
    _etcd: Process,
    lab: Lab,
    files: tempfile::TempDir,
}

impl Nodes {
    /// Starts so many, and waits until they know each other.
    pub fn start(count: usize) -> Self {
        let files = tempfile::tempdir().expect("a folder");
        let lab = Lab::new(count);
        let url = format!("http://{CLIENT}:2379");
        let peers = format!("http://{CLIENT}:2380");
        let mut command = lab.command(&lab.client(), &tools::find("etcd", "etcd-server"));
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}"), "--log-level", "error"]);
        command.arg("--data-dir").arg(files.path().join("etcd"));
        let etcd = Process::start("etcd", files.path(), &mut command, None);
        let mut nodes = Self { nodes: Vec::new(), _etcd: etcd, lab, files };
        for node in 0..count {
            std::fs::create_dir_all(nodes.dir(node)).expect("a folder");
            let socket = nodes.socket(node);
            let own = format!(
                "[node]\nname = \"n{node}\"\nadmin = \"127.0.0.1:7900\"\nadmin_socket = \"{socket}\"\naccess_log = \"off\"\n\
                 workers = 1\ndata_dir = \"data\"\n[cluster]\netcd = [\"{url}\"]\n"
            );
            std::fs::write(nodes.dir(node).join("node.toml"), own).expect("a file");
            serve(&nodes.lab.node(node), 9000);
            let process = nodes.launch(node);
            nodes.nodes.push(process);
        }
        for node in 0..count {
            let knows_all = || nodes.overview(node)["nodes"].as_array().is_some_and(|all| all.len() == count);
            eventually("the nodes know each other", SOON, knows_all);
        }
        nodes
    }

    fn launch(&self, node: usize) -> Process {
        let file = self.dir(node).join("node.toml").display().to_string();
        self.lab.start(node, &format!("n{node}"), self.files.path(), &built("mainstay"), &["run", "-c", &file])
    }

    /// The folder of a node's own file.
    pub fn dir(&self, node: usize) -> PathBuf {
        self.files.path().join(format!("d{node}"))
    }

    fn socket(&self, node: usize) -> String {
        self.dir(node).join("admin.sock").display().to_string()
    }

    /// What a node has logged.
    pub fn log(&self, node: usize) -> String {
        self.nodes[node].stderr()
    }

    /// A file with this text.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// `mainstay config ...`, asked of a node.
    pub fn config(&self, node: usize, arguments: &[&str]) -> Output {
        cli(&[&["config"], arguments, &["--admin-socket", &self.socket(node)]].concat())
    }

    /// The same, which must succeed, as JSON.
    pub fn json(&self, node: usize, arguments: &[&str]) -> Value {
        let output = self.config(node, &[arguments, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}\n{}", self.log(node));
        serde_json::from_slice(&output.stdout).expect("the result is JSON")
    }

    /// `mainstay config apply` of a text.
    pub fn apply(&self, node: usize, text: &str, arguments: &[&str]) -> Output {
        let file = self.file("applied.toml", text);
        self.config(node, &[&["apply", file.as_str()], arguments].concat())
    }

    /// The same, which must succeed.
    pub fn apply_well(&self, node: usize, text: &str, arguments: &[&str]) -> Value {
        let file = self.file("applied.toml", text);
        self.json(node, &[&["apply", file.as_str()], arguments].concat())
    }

    /// The same, begun.
    pub fn begin(&self, node: usize, text: &str, arguments: &[&str]) -> Child {
        let file = self.file("begun.toml", text);
        let mut command = std::process::Command::new(built("mainstay"));
        command.args(["config", "apply", &file]).args(arguments).args(["--admin-socket", &self.socket(node)]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a command")
    }

    /// `mainstay config status --json`; null if the node does not answer.
    pub fn overview(&self, node: usize) -> Value {
        let output = self.config(node, &["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Waits until a node has this version on its disk.
    pub fn wait_until_kept(&self, node: usize, version: u64) {
        let path = self.dir(node).join("data/cluster/config.toml");
        let mark = format!("version {version}, sha256");
        let is_kept = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&mark));
        eventually("the version is kept on disk", SOON, is_kept);
    }

    /// The status of a GET on what the node serves; 0 if it serves nothing.
    pub fn get(&self, node: usize, path: &str) -> u16 {
        within(&self.lab.node(node), || get(path)).map_or(0, |response| response.status)
    }

    /// A GET on the node's admin interface.
    pub fn admin(&self, node: usize, path: &str) -> Response {
        within(&self.lab.node(node), || wire::get((Ipv4Addr::LOCALHOST, 7900).into(), path))
    }

    /// The value of a series of the node's metrics.
    pub fn metric(&self, node: usize, series: &str) -> Option<f64> {
        let text = self.admin(node, "/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line?.parse().ok()
    }

    /// Cuts a node off.
    pub fn cut(&self, node: usize) {
        self.lab.cut(node, Cut::Both);
    }

    /// Ends that.
    pub fn heal(&self, node: usize) {
        self.lab.heal(node);
    }

    /// `kill -9`.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a node that was killed.
    pub fn start_again(&mut self, node: usize) {
        self.nodes[node] = self.launch(node);
    }

    /// The node that plans releases, by what it has logged.
    pub fn planner(&self) -> usize {
        let mut planner = None;
        eventually("a node plans", SOON, || {
            planner = (0..self.nodes.len()).find(|node| self.log(*node).contains("\"release of a configuration\""));
            planner.is_some()
        });
        planner.expect("one does")
    }

    /// Some requests a second to each node.
    pub fn load(&self) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let of_node = |node: usize| {
            let (stop, failures, namespace) = (Arc::clone(&stop), Arc::new(AtomicU64::new(0)), self.lab.node(node));
            let counted = Arc::clone(&failures);
            let thread = std::thread::spawn(move || {
                enter(&namespace);
                while !stop.load(Ordering::Relaxed) {
                    let is_good = get("/").is_some_and(|response| response.status == 200);
                    counted.fetch_add(u64::from(!is_good), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            (thread, failures)
        };
        let threads = (0..self.nodes.len()).map(of_node).collect();
        Load { stop, threads }
    }
}

/// Requests under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<(JoinHandle<()>, Arc<AtomicU64>)>,
}

impl Load {
    /// Ends it; how many requests of each node failed.
    pub fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let end = |(thread, failures): (JoinHandle<()>, Arc<AtomicU64>)| {
            thread.join().expect("it ends");
            failures.load(Ordering::Relaxed)
        };
        self.threads.into_iter().map(end).collect()
    }
}

/// On a connection of its own, in the namespace of the thread.
fn get(path: &str) -> Option<Response> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let mut wire = wire::Wire::try_connect(address, Duration::from_secs(5)).ok()?;
    wire.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).ok()?;
    wire.response().ok()
}
