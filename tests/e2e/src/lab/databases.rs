//! Three machines with a PostgreSQL each, kept by nodes that run the real binary.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use postgres::{Client, Config, NoTls};
use serde_json::Value;

use super::nodes::{Engine, Nodes};
use super::{Lab, signal_tree};
use crate::eventually;
use crate::process::Process;

const SOON: Duration = Duration::from_secs(240);
/// Where each node leads writes to the primary.
const WRITES: u16 = 5000;
const SERVER: u16 = 5432;
/// The group's name.
pub const GROUP: &str = "orders";

/// The nodes with their servers. Dropping it ends all of them.
#[derive(Debug)]
pub struct Databases {
    nodes: Nodes,
    /// The first nodes have servers, so many.
    members: usize,
}

impl Databases {
    /// Starts three nodes with a group, and waits until one is primary and two stream. `cluster` and `database` are further lines
    /// of these tables.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn start(cluster: &str, database: &str) -> Self {
        Self::set_up((3, 3), cluster, database, "", "")
    }

    /// The same with further lines of the servers' own configuration.
    ///
    /// # Panics
    /// As [`Databases::start`].
    pub fn start_with(cluster: &str, database: &str, extra: &str) -> Self {
        Self::set_up((3, 3), cluster, database, extra, "")
    }

    /// The same with further lines of the table of the node's server.
    ///
    /// # Panics
    /// As [`Databases::start`].
    pub fn with_servers(cluster: &str, database: &str, server: &str) -> Self {
        Self::set_up((3, 3), cluster, database, "", server)
    }

    /// As [`Self::start`], with so many nodes of which the first ones have servers.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn among(nodes: usize, members: usize, cluster: &str, database: &str) -> Self {
        Self::set_up((nodes, members), cluster, database, "", "")
    }

    fn set_up((nodes, members): (usize, usize), cluster: &str, database: &str, extra: &str, server: &str) -> Self {
        let body = |lab: &Lab, node: usize, folder: &Path| {
            if node >= members {
                return String::new();
            }
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(folder.join("replication.password"));
            file.and_then(|mut file| file.write_all(b"it's: a secret\n")).expect("the folder is there");
            let members = (0..members).map(|member| {
                format!("[[database.member]]\nnode = \"n{member}\"\naddress = \"{}:{SERVER}\"\n", lab.address(member))
            });
            format!(
                "[[database]]\nname = \"{GROUP}\"\nengine = \"postgres\"\nwrite = \"0.0.0.0:{WRITES}\"\n{database}\n{}\
                 [database.server]\nuser = \"postgres\"\nreplication_password = {{ file = \"replication.password\" }}\n\
                 extra = \"\"\"
shared_buffers = 16MB
{extra}\"\"\"
{server}
",
                members.collect::<String>()
            )
        };
        let databases = Self { nodes: Nodes::in_lab(Lab::new(nodes), Engine::Embedded, cluster, body), members };
        databases.settle();
        databases.let_clients_in();
        databases
    }

    /// A node's process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn agent(&mut self, node: usize) -> &mut Process {
        self.nodes.process(node)
    }

    /// The machines and the nodes on them.
    pub fn nodes(&mut self) -> &mut Nodes {
        &mut self.nodes
    }

    /// The machines.
    pub fn lab(&self) -> &Lab {
        self.nodes.lab()
    }

    /// Where clients write: through each of the nodes.
    pub fn writes(&self) -> Vec<SocketAddr> {
        (0..self.members).map(|node| (self.lab().address(node), WRITES).into()).collect()
    }

    /// A node's server.
    pub fn server(&self, node: usize) -> SocketAddr {
        (self.lab().address(node), SERVER).into()
    }

    /// Who a client is.
    pub fn login() -> Config {
        let mut login = Config::new();
        login.user("app").password("secret").dbname("postgres");
        login
    }

    /// What a node answers to a command.
    pub fn command(&self, node: usize, arguments: &[&str]) -> Output {
        self.nodes.command(node, arguments)
    }

    /// What a node says of the group; null if it says nothing.
    pub fn status(&self, node: usize) -> Value {
        let told = self.command(node, &["database", "status", "--json"]);
        serde_json::from_slice(&told.stdout).unwrap_or_default()
    }

    /// The server of a node over its local socket, as its superuser.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn superuser(&self, node: usize) -> Result<Client, postgres::Error> {
        let state = self.state_dir(node);
        Config::new().host_path(state).port(SERVER).user("postgres").dbname("postgres").connect(NoTls)
    }

    /// Everybody whose server takes writes.
    pub fn primaries(&self) -> Vec<usize> {
        let takes_writes = |node: &usize| {
            let mut client = self.superuser(*node).ok()?;
            let row = client.query_one("SELECT NOT pg_is_in_recovery()", &[]).ok()?;
            row.try_get::<_, bool>(0).ok()
        };
        (0..self.members).filter(|node| takes_writes(node) == Some(true)).collect()
    }

    /// The primary.
    pub fn primary(&self) -> Option<usize> {
        self.primaries().into_iter().next()
    }

    /// Waits until one is primary and the others stream from it; answers which one that was. On a busy machine it may be another
    /// one a moment later.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn settle(&self) -> usize {
        let replicas = self.members - 1;
        let mut settled = None;
        eventually("a primary with its replicas", SOON, || {
            let Some(primary) = self.primary() else { return false };
            let Ok(mut client) = self.superuser(primary) else { return false };
            // A copy that is under way streams, too, and is no replica yet.
            let question = format!(
                "SELECT count(*) = {replicas} FROM pg_stat_replication WHERE state = 'streaming' \
                 AND application_name ~ '^n[0-9]$'"
            );
            settled = client.query_one(&question, &[]).is_ok_and(|row| row.get(0)).then_some(primary);
            settled.is_some()
        });
        settled.expect("just found")
    }

    /// The process of a node's server.
    pub fn postmaster(&self, node: usize) -> Option<u32> {
        let file = self.data_dir(node).join("postmaster.pid");
        fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
    }

    /// Where a node's server has its data.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.nodes.folder(node).join("data/databases").join(GROUP).join("data")
    }

    /// What the group is, by the word of a node that knows how it stands now; null if nobody does.
    pub fn group(&self) -> Value {
        let told = (0..3).map(|node| self.status(node)[0].clone());
        told.into_iter().find(|group| group["is_current"] == true).unwrap_or_default()
    }

    /// The node that plans; `None` while that is not known.
    pub fn planner(&self) -> Option<usize> {
        let mut stream = UnixStream::connect(self.nodes.folder(0).join("admin.sock")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"GET /api/v1/cluster HTTP/1.0\r\nhost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        let role = status["roles"].as_array()?.iter().find(|role| role["role"] == "databases")?;
        role["node"].as_str()?.strip_prefix('n')?.parse().ok()
    }

    /// What the group's status says of a member.
    pub fn member(&self, node: usize) -> Value {
        let group = self.group();
        let members = group["members"].as_array().cloned().unwrap_or_default();
        members.into_iter().find(|member| member["node"] == format!("n{node}")).unwrap_or_default()
    }

    /// Everything on a machine ends at once, the node's guard included.
    pub fn power_off(&mut self, node: usize) {
        let server = self.postmaster(node);
        let agent = self.nodes.process(node).pid();
        // Frozen first, so that none of them sees another one die.
        signal_tree(agent, "STOP");
        server.into_iter().for_each(|pid| signal_tree(pid, "KILL"));
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

    /// Clients have a user of their own: the superuser only comes over the local socket.
    fn let_clients_in(&self) {
        eventually("a user for clients", SOON, || {
            let Some(mut client) = self.primary().and_then(|primary| self.superuser(primary).ok()) else {
                return false;
            };
            let made =
                client.batch_execute("CREATE ROLE app LOGIN PASSWORD 'secret'; GRANT ALL ON SCHEMA public TO app");
            made.is_ok()
        });
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 0..self.members {
                eprintln!("n{node}: {}", self.status(node));
                let log = fs::read_to_string(self.state_dir(node).join("postgresql.log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(20).collect();
                eprintln!("{}\n---", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
        let servers: Vec<u32> = (0..self.members).filter_map(|node| self.postmaster(node)).collect();
        for node in 0..self.lab().nodes() {
            if self.nodes.is_running(node) {
                self.nodes.kill(node);
            }
        }
        // What a guard that died as well has left.
        servers.into_iter().filter(|pid| is_postgres(*pid)).for_each(|pid| signal_tree(pid, "KILL"));
    }
}

fn is_postgres(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "postgres")
}
