//! Debian's Patroni with etcd on three machines, and HAProxy before them, as their documentation sets them up.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::Duration;

use postgres::{Config, NoTls};

use super::{CLIENT, Lab, signal_tree, writer};
use crate::process::Process;
use crate::{eventually, tools};

const SOON: Duration = Duration::from_secs(90);
/// Where HAProxy leads to the primary.
const WRITES: u16 = 5000;
const SERVER: u16 = 5432;
const REST: u16 = 8008;

/// How patient it is.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Seconds of the leader's key.
    pub ttl: u32,
    /// Seconds between two looks.
    pub loop_wait: u32,
    /// Seconds that etcd or PostgreSQL are given.
    pub retry_timeout: u32,
    /// What HAProxy's servers have.
    pub checks: &'static str,
}

impl Timing {
    /// As it comes.
    pub const DEFAULT: Self = Self {
        ttl: 30,
        loop_wait: 10,
        retry_timeout: 10,
        checks: "inter 3s fall 3 rise 2 on-marked-down shutdown-sessions",
    };
    /// As fast as its own rule allows (`ttl` is at least `loop_wait` and twice `retry_timeout`).
    pub const TUNED: Self = Self {
        ttl: 7,
        loop_wait: 1,
        retry_timeout: 3,
        checks: "inter 500ms timeout-check 500ms fall 2 rise 1 on-marked-down shutdown-sessions",
    };
}

/// The machines with everything on them. Dropping it ends all of it.
#[derive(Debug)]
pub struct Patroni {
    agents: Vec<Option<Process>>,
    stores: Vec<Option<Process>>,
    proxy: Option<Process>,
    dir: tempfile::TempDir,
    lab: Lab,
}

impl Patroni {
    /// Starts everything and waits until one is primary and two stream. `synchronous`: in its strict synchronous mode.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn start(timing: Timing, synchronous: bool) -> Self {
        let lab = Lab::new(3);
        let dir = tempfile::tempdir().expect("a temporary directory");
        // Its server runs as another user, who has to get there.
        let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        fs::set_permissions(dir.path(), open).expect("the directory is ours");
        let none = || (0..3).map(|_| None).collect();
        let mut patroni = Self { agents: none(), stores: none(), proxy: None, dir, lab };
        for node in 0..3 {
            patroni.write(node, timing, synchronous);
            patroni.start_store(node);
        }
        for node in 0..3 {
            patroni.start_agent(node);
        }
        patroni.start_proxy(timing);
        patroni.settle();
        patroni
    }

    /// The machines.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Where clients write.
    pub fn writes(&self) -> Vec<SocketAddr> {
        vec![(CLIENT, WRITES).into()]
    }

    /// A node's server.
    pub fn server(&self, node: usize) -> SocketAddr {
        (self.lab.address(node), SERVER).into()
    }

    /// Who a client is.
    pub fn login() -> Config {
        let mut login = Config::new();
        login.user("postgres").password("secret").dbname("postgres");
        login
    }

    /// The primary, by what its server says.
    pub fn primary(&self) -> Option<usize> {
        self.primaries().into_iter().next()
    }

    /// Everybody who says of itself that it is primary.
    pub fn primaries(&self) -> Vec<usize> {
        (0..3).filter(|node| self.ask(*node, "SELECT NOT pg_is_in_recovery()") == Some(true)).collect()
    }

    /// What a server answers within a second; one that is frozen takes connections and says nothing.
    fn ask(&self, node: usize, question: &'static str) -> Option<bool> {
        let (config, client) = (writer::to(&Self::login(), self.server(node)), self.lab.client());
        let (told, tells) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            super::enter(&client);
            let answer = || config.connect(NoTls).ok()?.query_one(question, &[]).ok()?.try_get(0).ok();
            let _nobody_waits = told.send(answer());
        });
        tells.recv_timeout(Duration::from_secs(1)).ok().flatten()
    }

    /// Waits until one is primary and two stream from it.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn settle(&self) {
        eventually("Patroni has a primary and two replicas", SOON, || {
            let Some(primary) = self.primary() else { return false };
            self.ask(primary, "SELECT count(*) = 2 FROM pg_stat_replication WHERE state = 'streaming'") == Some(true)
        });
    }

    /// The process of a node's agent.
    ///
    /// # Panics
    /// If it does not run.
    pub fn agent(&mut self, node: usize) -> &mut Process {
        self.agents[node].as_mut().expect("it runs")
    }

    /// The process of a node's server.
    pub fn postmaster(&self, node: usize) -> Option<u32> {
        let text = fs::read_to_string(self.folder(node).join("data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// Everything on a machine ends at once.
    pub fn power_off(&mut self, node: usize) {
        let server = self.postmaster(node);
        for process in [&mut self.agents[node], &mut self.stores[node]].into_iter().flatten() {
            process.kill();
        }
        (self.agents[node], self.stores[node]) = (None, None);
        server.into_iter().for_each(|pid| signal_tree(pid, "KILL"));
    }

    /// Starts what does not run on a machine.
    pub fn power_on(&mut self, node: usize) {
        if self.stores[node].is_none() {
            self.start_store(node);
        }
        if self.agents[node].is_none() {
            self.start_agent(node);
        }
    }

    fn folder(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("p{node}"))
    }

    fn write(&self, node: usize, timing: Timing, synchronous: bool) {
        let folder = self.folder(node);
        fs::create_dir(&folder).expect("a folder");
        let owner = owner();
        chown(&folder, Some(owner.0), Some(owner.1)).expect("root may");
        let hosts: Vec<String> = (0..3).map(|node| format!("{}:2379", self.lab.address(node))).collect();
        let (address, dir) = (self.lab.address(node), folder.display().to_string());
        let bin = tools::find("pg_controldata", "postgresql")
            .parent()
            .map(|dir| dir.display().to_string())
            .unwrap_or_default();
        let Timing { ttl, loop_wait, retry_timeout, .. } = timing;
        let text = format!(
            "scope: lab\nname: p{node}\nrestapi: {{listen: '{address}:{REST}', connect_address: '{address}:{REST}'}}\n\
             etcd3: {{hosts: '{hosts}'}}\n\
             bootstrap:\n  dcs:\n    ttl: {ttl}\n    loop_wait: {loop_wait}\n    retry_timeout: {retry_timeout}\n    \
             synchronous_mode: {synchronous}\n    synchronous_mode_strict: {synchronous}\n    \
             postgresql: {{use_pg_rewind: true, use_slots: true, parameters: {{wal_log_hints: 'on'}}}}\n  \
             initdb: [{{encoding: UTF8}}, data-checksums]\n  \
             pg_hba: [host replication replicator 10.77.0.0/24 scram-sha-256, host all all 10.77.0.0/24 scram-sha-256]\n\
             postgresql:\n  listen: '{address}:{SERVER}'\n  connect_address: '{address}:{SERVER}'\n  data_dir: {dir}/data\n  \
             bin_dir: {bin}\n  pgpass: {dir}/pgpass\n  \
             authentication:\n    replication: {{username: replicator, password: secret}}\n    \
             superuser: {{username: postgres, password: secret}}\n    rewind: {{username: postgres, password: secret}}\n  \
             parameters: {{unix_socket_directories: '{dir}', shared_buffers: 16MB}}\n",
            hosts = hosts.join(","),
        );
        fs::write(folder.join("patroni.yml"), text).expect("a configuration");
    }

    fn start_store(&mut self, node: usize) {
        let url = |node: usize, port: u16| format!("http://{}:{port}", self.lab.address(node));
        let peers: Vec<String> = (0..3).map(|node| format!("e{node}={}", url(node, 2380))).collect();
        let (clients, own) = (url(node, 2379), url(node, 2380));
        let (name, dir) = (format!("e{node}"), self.folder(node).join("etcd").display().to_string());
        let peers = peers.join(",");
        let arguments = [
            "--name",
            &name,
            "--data-dir",
            &dir,
            "--listen-client-urls",
            &clients,
            "--advertise-client-urls",
            &clients,
            "--listen-peer-urls",
            &own,
            "--initial-advertise-peer-urls",
            &own,
            "--initial-cluster",
            &peers,
            "--log-level",
            "error",
        ];
        let program = tools::find("etcd", "etcd-server");
        self.stores[node] = Some(self.lab.start(node, &name, self.dir.path(), &program, &arguments));
    }

    fn start_agent(&mut self, node: usize) {
        let file = self.folder(node).join("patroni.yml").display().to_string();
        let patroni = tools::find("patroni", "patroni").display().to_string();
        let arguments = ["--reuid", "postgres", "--regid", "postgres", "--init-groups", &patroni, &file];
        let program = tools::find("setpriv", "util-linux");
        let process = self.lab.start(node, &format!("p{node}"), self.dir.path(), &program, &arguments);
        self.agents[node] = Some(process);
    }

    fn start_proxy(&mut self, timing: Timing) {
        let checks = timing.checks.replace("timeout-check 500ms ", "");
        let limit = if checks == timing.checks { "3s" } else { "500ms" };
        let servers = (0..3).map(|node| {
            let address = self.lab.address(node);
            format!("  server p{node} {address}:{SERVER} maxconn 100 check port {REST}\n")
        });
        let text = format!(
            "global\n  maxconn 200\ndefaults\n  mode tcp\n  retries 2\n  timeout client 30m\n  timeout connect 4s\n  \
             timeout server 30m\n  timeout check {limit}\nlisten writes\n  bind {CLIENT}:{WRITES}\n  \
             option httpchk OPTIONS /primary\n  http-check expect status 200\n  default-server {checks}\n{}",
            servers.collect::<String>()
        );
        let file = self.dir.path().join("haproxy.cfg");
        fs::write(&file, text).expect("a configuration");
        let mut command = self.lab.command(&self.lab.client(), &tools::find("haproxy", "haproxy"));
        command.args(["-db", "-f"]).arg(&file);
        self.proxy = Some(Process::start("haproxy", self.dir.path(), &mut command, None));
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in self.agents.iter().flatten() {
                eprintln!("{}\n---", process.stderr());
            }
        }
        for node in 0..3 {
            self.power_off(node);
        }
        if let Some(proxy) = &mut self.proxy {
            proxy.kill();
        }
    }
}

/// The user of Debian's PostgreSQL.
fn owner() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("a list of users");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("the package makes the user postgres");
    let number = |nth: usize| line.split(':').nth(nth).and_then(|text| text.parse().ok()).expect("a number");
    (number(2), number(3))
}
