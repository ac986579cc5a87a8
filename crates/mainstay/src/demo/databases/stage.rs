//! The nodes with their servers: started, asked, killed and cleared away.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::place::{Group, NODES, Place, Ports};
use crate::admin::databases::document::DatabaseStatus;
use crate::admin::objectives::Objectives;
use crate::demo::children::Child;
use crate::demo::stage::{Directory, command, write_config};
use crate::demo::wire::Connection;
use crate::failure::Failure;

/// How long one of the commands may take.
const COMMAND_MAX: Duration = Duration::from_secs(30);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long servers may take to end after their nodes.
const END_MAX: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// Everything that runs. Processes end before the directory is removed.
pub(super) struct Stage {
    nodes: Vec<(Place, Child)>,
    pub(super) ports: Ports,
    directory: Directory,
}

impl Stage {
    /// Starts the nodes, which become one cluster by the commands that a person would type.
    pub(super) async fn start(users: [Option<&str>; 2]) -> Result<Self, Failure> {
        // The server's sockets are deep inside, and their paths must not be longer than 107 bytes.
        let directory = Directory::create(Directory::SHORT)?;
        let mut stage = Self { nodes: Vec::new(), ports: Ports::find()?, directory };
        if users.iter().any(Option::is_some) {
            // The servers' users pass through; what is inside has permissions of its own.
            let open = fs::set_permissions(stage.directory.path(), fs::Permissions::from_mode(0o711));
            open.map_err(|error| Failure::from_error(&error))?;
        }
        for place in Place::all(stage.directory.path()) {
            let started = stage.add(place, users).await;
            started.map_err(|failure| stage.keep(failure))?;
        }
        Ok(stage)
    }

    async fn add(&mut self, place: Place, users: [Option<&str>; 2]) -> Result<(), Failure> {
        let system =
            |error: std::io::Error| Failure::new(format!("cannot prepare {}: {error}", place.folder.display()));
        fs::create_dir(&place.folder).map_err(system)?;
        fs::set_permissions(&place.folder, fs::Permissions::from_mode(0o711)).map_err(system)?;
        let password = place.folder.join("databases.password");
        let file = fs::File::options().write(true).create_new(true).mode(0o600).open(password);
        let secret = format!("{}\n", super::PASSWORD);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, secret.as_bytes())).map_err(system)?;
        write_config(&place.config(), &place.config_text(&self.ports, users))?;
        let config = place.config().display().to_string();
        match self.nodes.first() {
            None => drop(command(&["init", "-c", &config], COMMAND_MAX).await?),
            Some((first, _)) => {
                let socket = first.socket().display().to_string();
                let token = command(&["cluster", "token", "--admin-socket", &socket], COMMAND_MAX).await?;
                command(&["join", token.trim(), "-c", &config], COMMAND_MAX).await?;
            }
        }
        let parent = std::process::id().to_string();
        let args = ["demo-gateway", "--config", &config, "--parent", &parent].map(str::to_owned).to_vec();
        let child = Child::start(place.name(), args, place.log())?;
        self.nodes.push((place, child));
        self.until_it_answers(self.nodes.len() - 1).await
    }

    async fn until_it_answers(&mut self, node: usize) -> Result<(), Failure> {
        let deadline = Instant::now() + COMMAND_MAX;
        loop {
            let Some((place, child)) = self.nodes.get_mut(node) else { return Ok(()) };
            if let Some(status) = child.exited() {
                return Err(child.ended_early(status));
            }
            match ask(place, "GET", "/api/v1/databases", "").await {
                Ok(_answer) => return Ok(()),
                Err(why) if Instant::now() > deadline => {
                    return Err(Failure::new(format!("{} does not answer: {why}", place.name())));
                }
                Err(_not_yet) => sleep(LOOK).await,
            }
        }
    }

    /// The failure, with where to look.
    pub(super) fn keep(&mut self, failure: Failure) -> Failure {
        let path = self.directory.keep().display().to_string();
        failure.hint(format!("configuration and logs are in {path}; running the demo again is safe"))
    }

    pub(super) fn place(&self, node: usize) -> Option<&Place> {
        self.nodes.get(node).map(|(place, _)| place)
    }

    /// What the first node that answers and knows says of a group.
    pub(super) async fn status(&mut self, group: Group) -> Option<DatabaseStatus> {
        for (place, child) in &mut self.nodes {
            if child.is_gone() {
                continue;
            }
            let Ok(answer) = ask(place, "GET", "/api/v1/databases", "").await else { continue };
            let told: Vec<DatabaseStatus> = serde_json::from_slice(&answer).unwrap_or_default();
            if let Some(told) = told.into_iter().find(|told| told.name == group.name() && told.is_current) {
                return Some(told);
            }
        }
        None
    }

    /// Seconds of the objective of PostgreSQL and those of them without writes, as a node counted them that was never killed.
    pub(super) async fn seconds(&self) -> Result<(u64, u64), Failure> {
        let Some((place, _)) = self.nodes.last() else { return Ok((0, 0)) };
        let answer = ask(place, "GET", "/api/v1/objectives", "").await;
        let answer = answer.map_err(|why| Failure::new(format!("{} tells no objectives: {why}", place.name())))?;
        let told: Objectives = serde_json::from_slice(&answer).map_err(|error| Failure::from_error(&error))?;
        Ok(told.items.first().map_or((0, 0), |objective| (objective.events, objective.bad)))
    }

    /// `mainstay database switchover`, at whoever answers.
    pub(super) async fn switch_over(&mut self, group: Group) -> Result<(), Failure> {
        let mut why = "no node runs".to_owned();
        for (place, child) in &mut self.nodes {
            if child.is_gone() {
                continue;
            }
            match ask(place, "POST", &format!("/api/v1/databases/{}/switchover", group.name()), "{}").await {
                Ok(_answer) => return Ok(()),
                Err(error) => why = error,
            }
        }
        Err(Failure::new(format!("the switchover of {} was refused: {why}", group.name())))
    }

    /// `kill -9` of a node and of its PostgreSQL, as if its machine had lost power. What is left of its servers is ended by
    /// whoever watches over the node.
    pub(super) fn kill_node(&mut self, node: usize) {
        let Some((place, child)) = self.nodes.get_mut(node) else { return };
        let file = place.data_dir(Group::Orders).join("postmaster.pid");
        let pid = fs::read_to_string(file).ok().and_then(|text| text.lines().next()?.trim().parse().ok());
        pid.into_iter().for_each(kill);
        child.kill();
    }

    /// Starts a node that was killed.
    pub(super) fn start_node(&mut self, node: usize) -> Result<(), Failure> {
        self.nodes.get_mut(node).map_or(Ok(()), |(_, child)| child.start_again())
    }

    /// Ends everything, and waits until no server is left.
    pub(super) async fn end(mut self) {
        self.nodes.iter_mut().for_each(|(_, child)| child.kill());
        let deadline = Instant::now() + END_MAX;
        while Instant::now() < deadline {
            let left = processes_in(self.directory.path());
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(kill);
            sleep(LOOK).await;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Whoever is interrupted has no time for more.
        self.nodes.clear();
        processes_in(self.directory.path()).into_iter().for_each(kill);
    }
}

/// Asks a node over its admin socket.
async fn ask(place: &Place, method: &str, path: &str, body: &'static str) -> Result<Bytes, String> {
    let work = async {
        let stream = UnixStream::connect(place.socket()).await.map_err(|error| error.to_string())?;
        let mut connection = Connection::over(stream).await.map_err(|error| error.to_string())?;
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request =
            request.header("content-type", "application/json").body(Full::new(Bytes::from_static(body.as_bytes())));
        let response = connection.exchange(request.map_err(|error| error.to_string())?).await?;
        match response.status().as_u16() {
            200 => Ok(response.into_body()),
            status => Err(format!("{status}: {}", String::from_utf8_lossy(response.body()).trim())),
        }
    };
    timeout(ANSWER_MAX, work).await.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()))
}

/// `kill -9` of a process of the demo.
pub(super) fn kill(pid: i32) {
    if let Some(pid) = (pid > 0).then(|| Pid::from_raw(pid)).flatten() {
        let _ended_already = kill_process(pid, Signal::KILL);
    }
}

/// Servers of the demo: those work in their data directories.
fn processes_in(directory: &Path) -> Vec<i32> {
    let found = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let works_in = fs::read_link(entry.path().join("cwd")).ok()?;
        works_in.starts_with(directory).then_some(pid)
    });
    found.collect()
}

/// All nodes.
pub(super) fn every_node() -> std::ops::Range<usize> {
    0..NODES
}
