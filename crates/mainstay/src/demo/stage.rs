//! What the demo plays on: a temporary directory, three endpoints, a gateway in front of them.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::demo::children::Child;
use crate::demo::load::CONFIG_HEADER;
use crate::demo::schedule::{ENDPOINTS, NAMES};
use crate::demo::service::{CONTROL, HEALTH};
use crate::demo::watch::Watcher;
use crate::demo::wire::Connection;
use crate::failure::Failure;

/// The name of the one service in the gateway's configuration.
pub(crate) const SERVICE: &str = "shop";

/// How long everything may take to come up.
const START_MAX: Duration = Duration::from_secs(15);

/// How long a command to an endpoint or the gateway may take.
const COMMAND_MAX: Duration = Duration::from_secs(5);

/// A directory that is removed at the end unless somebody will want to look into it.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    fn create() -> Result<Self, Failure> {
        // The path of a unix socket may not be longer than 107 bytes.
        let wanted = std::env::temp_dir();
        let parent = if wanted.as_os_str().len() > 60 { PathBuf::from("/tmp") } else { wanted };
        for attempt in 0..100 {
            let path = parent.join(format!("mainstay-demo-{}-{attempt}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, keep: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let failure = Failure::new(format!("cannot create {}: {error}", path.display()));
                    return Err(failure.hint("set TMPDIR to a directory that can be written"));
                }
            }
        }
        Err(Failure::new(format!("{}: too many directories of earlier demos", parent.display())))
    }

    /// Leaves it there, and tells where.
    pub(crate) fn keep(&mut self) -> &Path {
        self.keep = true;
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            let _left_behind = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Everything that runs. The processes end before the directory is removed.
#[derive(Debug)]
pub(crate) struct Stage {
    gateway: Child,
    endpoints: Vec<Child>,
    ports: Ports,
    config_number: u64,
    directory: Directory,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    gateway: u16,
    endpoints: [u16; ENDPOINTS],
}

impl Ports {
    /// Ports that are free now. All are held until the last one is found, so that they differ.
    fn find() -> Result<Self, Failure> {
        let find = || -> std::io::Result<[u16; ENDPOINTS + 1]> {
            let mut held = Vec::with_capacity(ENDPOINTS + 1);
            let mut ports = [0; ENDPOINTS + 1];
            for port in &mut ports {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                *port = listener.local_addr()?.port();
                held.push(listener);
            }
            Ok(ports)
        };
        let [gateway, endpoints @ ..] =
            find().map_err(|error| Failure::new(format!("cannot find free ports on 127.0.0.1: {error}")))?;
        Ok(Self { gateway, endpoints })
    }
}

impl Stage {
    /// Starts the endpoints, then the gateway, and waits until it sends traffic to all of them.
    pub(crate) async fn start() -> Result<Self, Failure> {
        let mut directory = Directory::create()?;
        let result = Self::start_in(&directory.path).await;
        match result {
            Ok((gateway, endpoints, ports)) => Ok(Self { gateway, endpoints, ports, config_number: 1, directory }),
            Err(failure) => {
                let path = directory.keep().display().to_string();
                Err(failure.hint(format!("the configuration and logs are in {path}; running the demo again is safe")))
            }
        }
    }

    async fn start_in(directory: &Path) -> Result<(Child, Vec<Child>, Ports), Failure> {
        let ports = Ports::find()?;
        let parent = std::process::id().to_string();
        let mut endpoints = Vec::with_capacity(ENDPOINTS);
        for (name, port) in NAMES.iter().zip(ports.endpoints) {
            let orders = orders_in(directory).display().to_string();
            let port = port.to_string();
            let args = ["demo-service", "--port", &port, "--name", name, "--orders", &orders, "--parent", &parent];
            let args = args.map(str::to_owned).to_vec();
            endpoints.push(Child::start(&format!("endpoint {name}"), args, directory.join(format!("{name}.log")))?);
        }
        let deadline = Instant::now() + START_MAX;
        for (endpoint, port) in endpoints.iter_mut().zip(ports.endpoints) {
            until_it_answers(endpoint, port, deadline).await?;
        }
        let config = config_in(directory);
        write_config(&config, &config_text(ports, directory, 1))?;
        let config = config.display().to_string();
        let args = ["demo-gateway", "--config", &config, "--parent", &parent].map(str::to_owned).to_vec();
        let mut gateway = Child::start("the gateway", args, directory.join("gateway.log"))?;
        until_it_serves(&mut gateway, &mut Watcher::new(socket_in(directory), names(ports)), deadline).await?;
        Ok((gateway, endpoints, ports))
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.gateway))
    }

    /// The gateway's admin socket.
    pub(crate) fn socket(&self) -> PathBuf {
        socket_in(&self.directory.path)
    }

    /// Looks at the gateway through its admin socket.
    pub(crate) fn watcher(&self) -> Watcher {
        Watcher::new(self.socket(), names(self.ports))
    }

    /// Fails if the gateway has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        match self.gateway.exited() {
            Some(status) => Err(self.gateway.ended_early(status)),
            None => Ok(()),
        }
    }

    /// Sends a signal to an endpoint's process.
    pub(crate) fn signal(&self, endpoint: usize, signal: Signal) {
        if let Some(child) = self.endpoints.get(endpoint) {
            child.signal(signal);
        }
    }

    /// Starts an endpoint's process again.
    pub(crate) fn restart(&mut self, endpoint: usize) -> Result<(), Failure> {
        self.endpoints.get_mut(endpoint).map_or(Ok(()), Child::start_again)
    }

    /// Steers an endpoint over its control path, not through the gateway.
    pub(crate) async fn control(&self, endpoint: usize, command: &str) -> Result<(), Failure> {
        let (Some(port), Some(name)) = (self.ports.endpoints.get(endpoint), NAMES.get(endpoint)) else { return Ok(()) };
        let answer = timeout(COMMAND_MAX, ask(*port, "PUT", &format!("{CONTROL}{command}"))).await;
        match answer {
            Ok(Ok(200)) => Ok(()),
            Ok(Ok(status)) => Err(Failure::new(format!("endpoint {name} answered {status} to `{command}`"))),
            Ok(Err(how)) => Err(Failure::new(format!("endpoint {name} did not take `{command}`: {how}"))),
            Err(_elapsed) => Err(Failure::new(format!("endpoint {name} did not take `{command}` in time"))),
        }
    }

    /// `mainstay drain` for an endpoint, or its undoing.
    pub(crate) async fn drain(&self, endpoint: usize, undo: bool) -> Result<(), Failure> {
        let Some(port) = self.ports.endpoints.get(endpoint) else { return Ok(()) };
        let program = std::env::current_exe().map_err(|error| Failure::from_error(&error))?;
        let mut command = tokio::process::Command::new(program);
        command.arg("drain").arg(format!("{SERVICE}/127.0.0.1:{port}")).arg("--admin-socket").arg(self.socket());
        if undo {
            command.arg("--undo");
        }
        let output = timeout(COMMAND_MAX, command.kill_on_drop(true).output()).await;
        match output {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => Err(Failure::new(format!(
                "`mainstay drain` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ))),
            Ok(Err(error)) => Err(Failure::new(format!("cannot run `mainstay drain`: {error}"))),
            Err(_elapsed) => Err(Failure::new("`mainstay drain` did not end in time")),
        }
    }

    /// Writes the next configuration and has the gateway read it. Answers its number.
    pub(crate) fn reload(&mut self) -> Result<u64, Failure> {
        self.config_number += 1;
        let text = config_text(self.ports, &self.directory.path, self.config_number);
        write_config(&config_in(&self.directory.path), &text)?;
        self.gateway.signal(Signal::HUP);
        Ok(self.config_number)
    }

    /// Lines of the file in which the endpoints note orders.
    pub(crate) fn orders(&self) -> String {
        std::fs::read_to_string(orders_in(&self.directory.path)).unwrap_or_default()
    }

    /// Ends everything: the gateway by SIGTERM so that its logs are whole, at last by SIGKILL.
    pub(crate) async fn end(mut self) -> Directory {
        self.gateway.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.gateway.exited().is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        drop(self.gateway);
        drop(self.endpoints);
        self.directory
    }
}

fn config_in(directory: &Path) -> PathBuf {
    directory.join("gateway.toml")
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("admin.sock")
}

fn orders_in(directory: &Path) -> PathBuf {
    directory.join("orders.log")
}

fn names(ports: Ports) -> [String; ENDPOINTS] {
    ports.endpoints.map(|port| format!("127.0.0.1:{port}"))
}

/// Put in place whole: the gateway watches the file and must never read half of it.
fn write_config(path: &Path, text: &str) -> Result<(), Failure> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

/// Checks quick enough for every fault to be seen within seconds; the header tells clients which configuration answered.
fn config_text(ports: Ports, directory: &Path, number: u64) -> String {
    let endpoints = names(ports).map(|name| format!("{name:?}")).join(", ");
    format!(
        r#"# Written by `mainstay demo`.
[node]
name = "demo"
admin = "off"
admin_socket = {socket:?}
access_log = {access_log:?}
shutdown = {{ lead = "0s", deadline = "1s" }}

[[listener]]
name = "web"
bind = "127.0.0.1:{port}"

[[route]]
name = "all"
service = "{SERVICE}"
timeout = "3s"
attempt_timeout = "1s"
retry = {{ attempts = 3, on = ["5xx", "timeout"] }}
response_headers = {{ set = {{ {CONFIG_HEADER} = "{number}" }} }}

[[service]]
name = "{SERVICE}"
health = {{ http = "{HEALTH}", interval = "500ms", timeout = "300ms", unhealthy = 2, healthy = 2 }}
outlier = {{ consecutive = 5, base = "2s", cap = "10s" }}
endpoints = [{endpoints}]
"#,
        socket = socket_in(directory),
        access_log = directory.join("access.log"),
        port = ports.gateway,
    )
}

async fn until_it_answers(endpoint: &mut Child, port: u16, deadline: Instant) -> Result<(), Failure> {
    loop {
        let answer = timeout(Duration::from_secs(1), ask(port, "GET", HEALTH)).await;
        if matches!(answer, Ok(Ok(200))) {
            return Ok(());
        }
        if let Some(status) = endpoint.exited() {
            return Err(endpoint.ended_early(status));
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!("an endpoint does not answer on 127.0.0.1:{port}")));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_it_serves(gateway: &mut Child, watcher: &mut Watcher, deadline: Instant) -> Result<(), Failure> {
    loop {
        if let Some(status) = gateway.exited() {
            return Err(gateway.ended_early(status));
        }
        let problem = match watcher.poll().await {
            Ok(view) if view.endpoints.iter().all(|endpoint| endpoint.eligible) => return Ok(()),
            Ok(view) => format!("it says: {}", view.verdict),
            Err(how) => how,
        };
        if Instant::now() > deadline {
            return Err(Failure::new(format!("the gateway does not serve all endpoints: {problem}")));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(port: u16, method: &str, path: &str) -> Result<u16, String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| error.to_string())?;
    let mut connection = Connection::over(stream).await.map_err(|error| error.to_string())?;
    let request = Request::builder().method(method).uri(path).header("host", "demo").body(Full::new(Bytes::new()));
    let response = connection.exchange(request.map_err(|error| error.to_string())?).await?;
    Ok(response.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_and_carries_its_number() {
        let ports = Ports { gateway: 1, endpoints: [2, 3, 4] };
        let text = config_text(ports, Path::new("/tmp/with \"quotes\""), 7);
        let value: toml::Table = toml::from_str(&text).unwrap();
        let route = &value["route"][0];
        assert_eq!(route["response_headers"]["set"][CONFIG_HEADER].as_str(), Some("7"));
        assert_eq!(value["service"][0]["endpoints"].as_array().unwrap().len(), ENDPOINTS);
        assert_eq!(value["node"]["admin_socket"].as_str(), Some("/tmp/with \"quotes\"/admin.sock"));
    }

    #[test]
    fn ports_differ() {
        let ports = Ports::find().unwrap();
        let mut all = vec![ports.gateway];
        all.extend(ports.endpoints);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ENDPOINTS + 1);
    }

    #[test]
    fn a_directory_goes_unless_kept() {
        let directory = Directory::create().unwrap();
        let path = directory.path.clone();
        assert!(path.is_dir());
        drop(directory);
        assert!(!path.exists());
        let mut kept = Directory::create().unwrap();
        let path = kept.keep().to_owned();
        drop(kept);
        std::fs::remove_dir(&path).unwrap();
    }
}
