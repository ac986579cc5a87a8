//! Real nodes of one cluster, on loopback: each a process with a folder, an admin interface and a port of its own.

use std::fmt;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::gateway::built;
use crate::process::Process;
use crate::wire::{self, Response};
use crate::{address, eventually};

/// Nothing that a cluster does by itself takes longer, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(30);

/// What a configuration is made of for one node.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name: `n1`, `n2` and so on.
    pub name: String,
    /// Its number among those that the test made, from 0.
    pub index: usize,
    /// Where other nodes reach it.
    pub peer: SocketAddr,
    /// A port for a listener of its own.
    pub listen: SocketAddr,
    /// Its folder.
    pub dir: PathBuf,
}

/// A node. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    process: Option<Process>,
    /// Where it is.
    pub place: Place,
    admin: SocketAddr,
    socket: PathBuf,
}

/// Nodes of one cluster.
#[derive(Debug)]
pub struct Nodes {
    /// The nodes, in the order in which they were made.
    pub nodes: Vec<Node>,
    recipe: Recipe,
    dir: tempfile::TempDir,
}

/// What makes a node's configuration.
struct Recipe(Box<dyn Fn(&Place) -> String>);

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipe")
    }
}

/// One listener and a service that nobody needs.
pub fn plain(place: &Place) -> String {
    format!(
        "[cluster]\ntimings = \"default\"\nlisten = \"{}\"\n[[listener]]\nname = \"web\"\nbind = \"{}\"\n\
         [[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:1\"]\n",
        place.peer, place.listen
    )
}

impl Nodes {
    /// A cluster of `count` nodes that run and agree. `config` makes the configuration of one without `[node]`; it must have
    /// `listen = "PEER"` under `[cluster]`, as [`plain`] has.
    pub fn start(count: usize, config: impl Fn(&Place) -> String + 'static) -> Self {
        let mut nodes = Self::empty(config);
        nodes.found();
        for _further in 1..count {
            nodes.add(&[]);
        }
        nodes.wait_until_whole();
        nodes
    }

    /// No node yet.
    ///
    /// # Panics
    /// If there is no temporary folder.
    pub fn empty(config: impl Fn(&Place) -> String + 'static) -> Self {
        Self {
            nodes: Vec::new(),
            recipe: Recipe(Box::new(config)),
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// Makes the first node by `mainstay init` and starts it.
    pub fn found(&mut self) {
        let index = self.make(None);
        self.nodes[index].command(&["init", "-c", "mainstay.toml"]);
        self.nodes[index].start();
        self.wait_for_quorum(index);
    }

    /// Makes a further node by `mainstay cluster token` (with these arguments) and `mainstay join`, starts it, and answers
    /// its index.
    ///
    /// # Panics
    /// If one of the commands fails.
    pub fn add(&mut self, token: &[&str]) -> usize {
        self.add_named(None, token)
    }

    /// The same with a name of its own.
    ///
    /// # Panics
    /// If one of the commands fails.
    pub fn add_named(&mut self, name: Option<&str>, token: &[&str]) -> usize {
        let asked = self.running().next().expect("a node that runs");
        let index = self.make(name);
        eventually("a node is let in", SOON, || {
            let made = self.nodes[asked].cluster(&[&["token"], token].concat());
            let token = String::from_utf8(made.stdout).expect("text");
            let joined = self.nodes[index].try_command(&["join", token.trim(), "-c", "mainstay.toml"]);
            let told = [made.stderr, joined.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
            // On a busy machine a majority may take too long, and is asked again.
            let is_in = made.status.success() && joined.status.success();
            let is_late = ["it is not known whether the change was made", "the coordinator is not available"];
            assert!(is_in || is_late.iter().any(|late| told.contains(late)), "{told}");
            is_in
        });
        self.nodes[index].start();
        index
    }

    /// Makes a node's folder and configuration, and nothing else.
    pub fn make(&mut self, name: Option<&str>) -> usize {
        let index = self.nodes.len();
        let name = name.map_or_else(|| format!("n{}", index + 1), str::to_owned);
        let dir = self.dir.path().join(format!("node{}", index + 1));
        fs::create_dir(&dir).expect("a folder");
        let place = Place { name, index, peer: address::free(), listen: address::free(), dir };
        let config = (self.recipe.0)(&place);
        let node = Node::new(place, &config);
        self.nodes.push(node);
        index
    }

    /// The nodes whose processes run.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        self.nodes.iter().enumerate().filter(|(_index, node)| node.process.is_some()).map(|(index, _node)| index)
    }

    /// Waits until this node says that there is a quorum.
    pub fn wait_for_quorum(&self, index: usize) {
        let node = &self.nodes[index];
        eventually(&format!("{} sees a quorum", node.place.name), SOON, || node.status()["quorum"] == true);
    }

    /// Waits until every running node sees a quorum, the same leader, and all running nodes as members.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn wait_until_whole(&self) {
        let running: Vec<usize> = self.running().collect();
        eventually("all nodes agree", SOON, || {
            let all: Vec<Value> = running.iter().map(|index| self.nodes[*index].status()).collect();
            let leader = &all[0]["leader"];
            leader.is_string()
                && all.iter().all(|status| status["quorum"] == true && status["leader"] == *leader)
                && all.iter().all(|status| {
                    running.iter().all(|index| member(status, &self.nodes[*index].place.name).is_some_and(is_up))
                })
        });
    }

    /// The index of the node that leads, as the running ones say.
    ///
    /// # Panics
    /// If none does.
    pub fn leader(&self) -> usize {
        let mut found = None;
        eventually("a leader", SOON, || {
            let says = |index: usize| self.nodes[index].status()["leader"].as_str().map(str::to_owned);
            let running: Vec<usize> = self.running().collect();
            found = running.iter().copied().find(|index| {
                let name = &self.nodes[*index].place.name;
                running.iter().all(|other| says(*other).as_ref() == Some(name))
            });
            found.is_some()
        });
        found.expect("it was found")
    }

    /// Who votes, by name, as this node knows.
    pub fn voters(&self, index: usize) -> Vec<String> {
        let status = self.nodes[index].status();
        let voters = members(&status).iter().filter(|it| it["role"] == "leader" || it["role"] == "voter");
        voters.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect()
    }
}

fn members(status: &Value) -> &[Value] {
    status["members"].as_array().map_or(&[], Vec::as_slice)
}

/// What a status says of the member of this name.
pub fn member<'s>(status: &'s Value, name: &str) -> Option<&'s Value> {
    members(status).iter().find(|member| member["name"] == name)
}

fn is_up(member: &Value) -> bool {
    member["state"] == "up" || member["state"] == "here"
}

impl Node {
    fn new(place: Place, config: &str) -> Self {
        let (admin, socket) = (address::free(), place.dir.join("admin.sock"));
        let node = format!(
            "[node]\nname = \"{}\"\nadmin = \"{admin}\"\nadmin_socket = \"{}\"\ndata_dir = \"{}\"\n\
             access_log = \"off\"\nworkers = 1\n",
            place.name,
            socket.display(),
            place.dir.join("data").display()
        );
        fs::write(place.dir.join("mainstay.toml"), format!("{node}{config}")).expect("the configuration");
        Self { process: None, place, admin, socket }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// Starts its process and waits until it serves.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(&mut self) {
        self.launch();
        let process = self.process.as_mut().expect("it was started");
        process.wait_for_log("\"serving\"", 1, SOON);
        eventually("its admin interface answers", SOON, || self.admin("/health").status == 200);
    }

    /// Starts its process.
    ///
    /// # Panics
    /// If it runs already.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.place.name);
        // What it said before is not what it says now.
        let _first_start = fs::rename(self.dir().join("mainstay.stderr"), self.dir().join("before.stderr"));
        let mut command = Command::new(built("mainstay"));
        command.args(["run", "-c", "mainstay.toml", "--log-format", "json"]).current_dir(self.dir());
        let stdout = File::create(self.dir().join("stdout")).expect("a file for standard output");
        self.process = Some(Process::start("mainstay", self.dir(), &mut command, Some(stdout)));
    }

    /// Its process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it runs")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// SIGTERM, and the end of the process.
    ///
    /// # Panics
    /// If it does not end.
    pub fn terminate(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal(libc::SIGTERM);
        let status = process.wait(SOON).expect("an end after SIGTERM");
        assert!(status.success(), "{status}:\n{}", process.stderr());
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.process.as_ref().expect("it runs").signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process.as_ref().expect("it runs").signal(libc::SIGCONT);
    }

    /// GET on the admin interface.
    pub fn admin(&self, path: &str) -> Response {
        wire::get(self.admin, path)
    }

    /// Where its admin interface is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// `/api/v1/cluster`.
    ///
    /// # Panics
    /// If it does not run.
    pub fn status(&self) -> Value {
        assert!(self.process.is_some(), "{} does not run", self.place.name);
        // Over the socket, which asks nobody who they are.
        self.over_socket("GET", "/api/v1/cluster", "").1
    }

    /// `mainstay` with these arguments in the node's folder.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn try_command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(built("mainstay"));
        command.args(arguments).current_dir(self.dir()).output().expect("mainstay")
    }

    /// The same, which must succeed; answers what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = self.try_command(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// `mainstay cluster` with these arguments, asked of this node.
    pub fn cluster(&self, arguments: &[&str]) -> Output {
        let socket = self.socket.display().to_string();
        self.try_command(&[&["cluster", "--admin-socket", &socket], arguments].concat())
    }

    /// POST over the admin socket: the status code and the answer.
    ///
    /// # Panics
    /// If nobody answers.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.over_socket("POST", path, &body.to_string())
    }

    fn over_socket(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&self.socket).expect("the admin socket");
        stream.set_read_timeout(Some(SOON)).expect("a limit");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
        (code, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}
