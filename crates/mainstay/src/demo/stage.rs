//! What the demo plays on: a temporary directory, three endpoints, a gateway or several nodes in front of them.

mod directory;
mod nodes;
mod place;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

pub(crate) use directory::Directory;

use crate::demo::children::Child;
use crate::demo::links::Links;
use crate::demo::schedule::{ENDPOINTS, NAMES};
use crate::demo::service::{CONTROL, HEALTH};
use crate::demo::watch::Watcher;
use crate::demo::wire::Connection;
use crate::failure::Failure;
use place::{Place, Ports};

/// The name of the one service in the gateway's configuration.
pub(crate) const SERVICE: &str = "shop";

/// How long everything may take to come up.
const START_MAX: Duration = Duration::from_secs(15);

/// The same for several nodes, which have to find each other.
const NODES_START_MAX: Duration = Duration::from_secs(60);

/// How long a command to an endpoint or the gateway may take.
const COMMAND_MAX: Duration = Duration::from_secs(5);

/// How long an address may take to move.
const MOVE_MAX: Duration = Duration::from_secs(20);

/// Everything that runs. The processes end before the directory is removed.
#[derive(Debug)]
pub(crate) struct Stage {
    gateways: Vec<Gateway>,
    endpoints: Vec<Child>,
    /// The ways between nodes, if there are several.
    links: Option<Links>,
    ports: Ports,
    config_number: u64,
    directory: Directory,
}

/// A gateway that runs, or ran.
#[derive(Debug)]
struct Gateway {
    child: Child,
    place: Place,
}

/// What [`Stage::start_in`] has started.
type Started = (Vec<Gateway>, Vec<Child>, Option<Links>, Ports);

impl Stage {
    /// Starts the endpoints, then one gateway or so many nodes, and waits until traffic would go to all endpoints.
    pub(crate) async fn start(nodes: usize) -> Result<Self, Failure> {
        let mut directory = Directory::create(Directory::LONG)?;
        let result = Self::start_in(directory.path(), nodes).await;
        match result {
            Ok((gateways, endpoints, links, ports)) => {
                Ok(Self { gateways, endpoints, links, ports, config_number: 1, directory })
            }
            Err(failure) => {
                let path = directory.keep().display().to_string();
                Err(failure.hint(format!("the configuration and logs are in {path}; running the demo again is safe")))
            }
        }
    }

    async fn start_in(directory: &Path, nodes: usize) -> Result<Started, Failure> {
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
        let places = Place::all(directory, nodes);
        let open = || {
            Links::open(ports.peers, &ports.all())
                .map_err(|error| Failure::new(format!("cannot link the nodes: {error}")))
        };
        let links = (places.len() > 1).then(open).transpose()?;
        let gateways = match &links {
            Some(links) => nodes::start(&places, &ports, links, Instant::now() + NODES_START_MAX).await?,
            None => {
                let mut gateways = Vec::with_capacity(1);
                for place in places {
                    write_config(&place.config(), &place.config_text(&ports, None, 1))?;
                    let mut gateway = Gateway::start(place)?;
                    until_it_serves(&mut gateway, &ports, deadline).await?;
                    gateways.push(gateway);
                }
                gateways
            }
        };
        Ok((gateways, endpoints, links, ports))
    }

    /// How many gateways there are.
    pub(crate) fn gateways(&self) -> usize {
        self.gateways.len()
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.clients))
    }

    /// A gateway's admin socket.
    pub(crate) fn socket(&self, gateway: usize) -> PathBuf {
        self.gateways.get(gateway).map(|gateway| gateway.place.socket()).unwrap_or_default()
    }

    /// The nodes' admin addresses; none if there is one gateway alone.
    pub(crate) fn admins(&self) -> Vec<SocketAddr> {
        let several = if self.gateways.len() > 1 { self.ports.admins.as_slice() } else { &[] };
        several.iter().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, *port))).collect()
    }

    /// Look at the gateways through their admin sockets.
    pub(crate) fn watchers(&self) -> Vec<Watcher> {
        let watcher = |gateway: &Gateway| Watcher::new(gateway.place.socket(), self.ports.names());
        self.gateways.iter().map(watcher).collect()
    }

    /// Fails if a gateway has ended, other than the one that was meant to.
    pub(crate) fn check(&mut self, but: Option<usize>) -> Result<(), Failure> {
        for (_at, gateway) in self.gateways.iter_mut().enumerate().filter(|(at, _gateway)| Some(*at) != but) {
            if let Some(status) = gateway.child.exited() {
                return Err(gateway.child.ended_early(status));
            }
        }
        Ok(())
    }

    /// Sends a signal to a gateway's process.
    pub(crate) fn signal_gateway(&self, gateway: usize, signal: Signal) {
        if let Some(gateway) = self.gateways.get(gateway) {
            gateway.child.signal(signal);
        }
    }

    /// Has a gateway that was frozen or killed run again.
    pub(crate) fn revive(&mut self, gateway: usize) -> Result<(), Failure> {
        let Some(gateway) = self.gateways.get_mut(gateway) else { return Ok(()) };
        if gateway.child.exited().is_some() {
            return gateway.child.start_again();
        }
        gateway.child.signal(Signal::CONT);
        Ok(())
    }

    /// Cuts a node off from the others: they do not hear it, and with `deaf` it does not hear them.
    pub(crate) fn cut(&self, node: usize, deaf: bool) {
        if let Some(links) = &self.links {
            links.cut(node, deaf);
        }
    }

    /// Undoes all cuts.
    pub(crate) fn heal(&self) {
        if let Some(links) = &self.links {
            links.heal();
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
        let socket = self.socket(0).display().to_string();
        let endpoint = format!("{SERVICE}/127.0.0.1:{port}");
        let mut args = vec!["drain", &endpoint, "--admin-socket", &socket];
        if undo {
            args.push("--undo");
        }
        command(&args, COMMAND_MAX).await.map(drop)
    }

    /// `mainstay address move` to another node.
    pub(crate) async fn move_address(&self, from: usize, to: usize) -> Result<(), Failure> {
        let socket = self.socket(from).display().to_string();
        let Some(gateway) = self.gateways.get(to) else { return Ok(()) };
        let args = ["address", "move", "127.0.0.1", gateway.place.name(), "--admin-socket", &socket];
        command(&args, MOVE_MAX).await.map(drop)
    }

    /// Writes the next configuration and has the gateway read it. Answers its number.
    pub(crate) fn reload(&mut self) -> Result<u64, Failure> {
        self.config_number += 1;
        for gateway in &self.gateways {
            let text = gateway.place.config_text(&self.ports, self.links.as_ref(), self.config_number);
            write_config(&gateway.place.config(), &text)?;
            gateway.child.signal(Signal::HUP);
        }
        Ok(self.config_number)
    }

    /// Lines of the file in which the endpoints note orders.
    pub(crate) fn orders(&self) -> String {
        std::fs::read_to_string(orders_in(self.directory.path())).unwrap_or_default()
    }

    /// Ends everything: the gateways by SIGTERM so that their logs are whole, at last by SIGKILL.
    pub(crate) async fn end(mut self) -> Directory {
        for gateway in &self.gateways {
            gateway.child.signal(Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.gateways.iter_mut().any(|gateway| gateway.child.exited().is_none()) && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        drop(self.gateways);
        drop(self.endpoints);
        self.directory
    }
}

impl Gateway {
    /// Starts its process; the configuration is there.
    fn start(place: Place) -> Result<Self, Failure> {
        let (config, parent) = (place.config().display().to_string(), std::process::id().to_string());
        let args = ["demo-gateway", "--config", &config, "--parent", &parent].map(str::to_owned).to_vec();
        Ok(Self { child: Child::start(place.name(), args, place.log())?, place })
    }
}

fn orders_in(directory: &Path) -> PathBuf {
    directory.join("orders.log")
}

/// Put in place whole: the gateway watches the file and must never read half of it.
pub(crate) fn write_config(path: &Path, text: &str) -> Result<(), Failure> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}

/// Runs `mainstay` with these arguments and answers what it prints.
pub(crate) async fn command(args: &[&str], limit: Duration) -> Result<String, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::from_error(&error))?;
    let mut process = tokio::process::Command::new(program);
    let output = timeout(limit, process.args(args).kill_on_drop(true).output()).await;
    let what = args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    match output {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => {
            Err(Failure::new(format!("`mainstay {what}` failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
        }
        Ok(Err(error)) => Err(Failure::new(format!("cannot run `mainstay {what}`: {error}"))),
        Err(_elapsed) => Err(Failure::new(format!("`mainstay {what}` did not end in time"))),
    }
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

async fn until_it_serves(gateway: &mut Gateway, ports: &Ports, deadline: Instant) -> Result<(), Failure> {
    let mut watcher = Watcher::new(gateway.place.socket(), ports.names());
    loop {
        if let Some(status) = gateway.child.exited() {
            return Err(gateway.child.ended_early(status));
        }
        let problem = match watcher.poll().await {
            Ok(view) if view.endpoints.iter().all(|endpoint| endpoint.eligible) => return Ok(()),
            Ok(view) => format!("it says: {}", view.verdict),
            Err(how) => how,
        };
        if Instant::now() > deadline {
            return Err(Failure::new(format!("{} does not serve all endpoints: {problem}", gateway.place.name())));
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
