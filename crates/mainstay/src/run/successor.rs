//! The old process's side of an upgrade: starts the new one, gives it what it needs, and waits until it serves.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::descriptors;
use tokio::net::unix::pipe;

use crate::admin::Node;
use crate::admin::bind::Bound;
use crate::admin::upgrade::Asker;
use crate::run::handover::{Go, Offer, OfferedListener, PROTOCOL, VARIABLE, Word, hear_async, say};
use crate::run::last_words::LastWords;
use crate::run::trial;
use crate::run::wishes::Wishes;
use crate::upgrade::event::Event;

/// The new process, which reads already, takes no longer for what it is given.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// For what a process that has ended leaves behind: its exit status, its last words.
const REMAINS: Duration = Duration::from_secs(1);
/// Between two looks whether the new process still runs.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be started.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) configuration: Option<PathBuf>,
    pub(super) limit: Duration,
}

/// The process that serves now.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) pid: u32,
    pub(super) version: String,
    /// Addresses from whose sockets it accepts.
    pub(super) taken: Vec<SocketAddr>,
    /// Whether the admin socket is its own now.
    pub(super) admin_socket: bool,
}

/// Why there is no successor.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: String,
    pub(super) hint: Option<String>,
    pub(super) log: Vec<String>,
}

impl Refusal {
    pub(super) fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), hint: None, log: Vec::new() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn log(mut self, log: Vec<String>) -> Self {
        self.log = log;
        self
    }
}

/// Further handles on the admin interface's sockets.
#[derive(Debug)]
pub(super) struct AdminSockets {
    tcp: Option<(SocketAddr, TcpListener)>,
    unix: Option<(PathBuf, UnixListener)>,
}

impl AdminSockets {
    pub(super) fn of(bound: &Bound) -> io::Result<Self> {
        let tcp = match &bound.tcp {
            Some(socket) => Some((socket.local_addr()?, socket.try_clone()?)),
            None => None,
        };
        let unix = match &bound.unix {
            Some(socket) => Some((socket.path().to_owned(), socket.listener()?)),
            None => None,
        };
        Ok(Self { tcp, unix })
    }
}

/// Starts the new process and hands over to it. Dropping the future ends the new process.
pub(super) async fn succeed(
    plan: Plan,
    node: Arc<Node>,
    admin: AdminSockets,
    asker: Asker,
) -> Result<Successor, Refusal> {
    let tell = |step| asker.tell(step);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    tell(Event::Checking { binary: plan.program.clone(), pid: std::process::id(), version });
    let version = trial::version(&plan.program).await?;
    if let Some(file) = &plan.configuration {
        trial::accepts(&plan.program, &version, file).await?;
    }
    tell(Event::Checked { version, configuration: plan.configuration.clone() });
    let cannot = |error: io::Error| Refusal::new(format!("cannot start {}: {error}", plan.program.display()));
    let (mut candidate, channel, stderr) = start(&plan).map_err(cannot)?;
    let pid = candidate.child.id();
    tell(Event::Started { pid });
    let mut words = LastWords::new(stderr).map_err(cannot)?;
    let ready = || tell(Event::Ready { pid });
    let result = tokio::select! {
        biased;
        result = hand_over(channel, pid, &node, &admin, ready) => result.map_err(Broken::Talk),
        status = candidate.exit() => Err(Broken::Ended(status)),
        never = relay(&mut words) => match never {},
        () = tokio::time::sleep(plan.limit) => Err(Broken::Late),
    };
    match result {
        Ok(successor) => {
            candidate.is_successor = true;
            words.rest(REMAINS).await;
            Ok(successor)
        }
        Err(broken) => {
            let error = described(broken, &mut candidate, plan.limit).await;
            drop(candidate);
            words.rest(REMAINS).await;
            Err(Refusal::new(error).log(words.lines()))
        }
    }
}

async fn relay(words: &mut LastWords) -> Infallible {
    words.relay().await;
    std::future::pending().await
}

enum Broken {
    Talk(io::Error),
    Ended(ExitStatus),
    Late,
}

async fn described(broken: Broken, candidate: &mut Candidate, limit: Duration) -> String {
    let pid = candidate.child.id();
    match broken {
        Broken::Ended(status) => format!("the new process (pid {pid}) ended before it served: {status}"),
        Broken::Late => format!("the new process (pid {pid}) was not ready within {} s", limit.as_secs()),
        // Most likely it has ended, and its descriptors were closed before its status was there.
        Broken::Talk(error) => match tokio::time::timeout(REMAINS, candidate.exit()).await {
            Ok(status) => format!("the new process (pid {pid}) ended before it served: {status}"),
            Err(_it_runs) => format!("the new process (pid {pid}) broke off: {error}"),
        },
    }
}

/// The new process, which is ended unless it has become the successor.
struct Candidate {
    child: Child,
    is_successor: bool,
}

impl Candidate {
    async fn exit(&mut self) -> ExitStatus {
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if !self.is_successor {
            // It may have ended already; waiting clears it away in both cases.
            let _ended = self.child.kill();
            let _status = self.child.wait();
        }
    }
}

fn start(plan: &Plan) -> io::Result<(Candidate, UnixStream, pipe::Receiver)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(&plan.program);
    command.args(&plan.arguments).env(VARIABLE, "1");
    // Standard output is inherited: the access log goes on there.
    command.stdin(OwnedFd::from(theirs)).stderr(Stdio::piped());
    let mut candidate = Candidate { child: command.spawn()?, is_successor: false };
    let stderr = candidate.child.stderr.take().ok_or_else(|| io::Error::other("no pipe to read its log from"))?;
    Ok((candidate, ours, pipe::Receiver::from_owned_fd(stderr.into())?))
}

async fn hand_over(
    channel: UnixStream,
    pid: u32,
    node: &Node,
    admin: &AdminSockets,
    is_ready: impl Fn(),
) -> io::Result<Successor> {
    let mut channel = attentive(channel)?;
    let Word::Hello { protocol, version } = hear_async(&mut channel).await? else { return Err(unexpected()) };
    if protocol != PROTOCOL {
        return Err(io::Error::other(format!("version {version} takes over in another way; restart instead")));
    }
    let mut channel = blocking(channel)?;
    give(&mut channel, node, admin)?;
    let mut channel = attentive(channel)?;
    let Word::Ready { taken, admin: _, admin_socket } = hear_async(&mut channel).await? else {
        return Err(unexpected());
    };
    is_ready();
    let mut channel = blocking(channel)?;
    let gateway = node.gateway();
    say(&mut channel, &Go { endpoints: gateway.remember(), wishes: Wishes::of(gateway), led: gateway.led() })?;
    let Word::Serving = hear_async(&mut attentive(channel)?).await? else { return Err(unexpected()) };
    Ok(Successor { pid, version, taken, admin_socket })
}

fn give(channel: &mut UnixStream, node: &Node, admin: &AdminSockets) -> io::Result<()> {
    let inheritance = node.gateway().hand_over()?;
    let offered = inheritance.listeners.iter().map(|it| OfferedListener {
        name: it.name.clone(),
        bind: it.bind,
        sockets: it.sockets.len(),
    });
    let offer = Offer {
        protocol: PROTOCOL,
        pid: std::process::id(),
        listeners: offered.collect(),
        admin: admin.tcp.as_ref().map(|(address, _socket)| *address),
        admin_socket: admin.unix.as_ref().map(|(path, _socket)| path.clone()),
        endpoints: inheritance.endpoints,
    };
    say(channel, &offer)?;
    descriptors::send(channel, descriptors::stderr()?.as_fd())?;
    for socket in inheritance.listeners.iter().flat_map(|it| &it.sockets) {
        descriptors::send(channel, socket.as_fd())?;
    }
    if let Some((_address, socket)) = &admin.tcp {
        descriptors::send(channel, socket.as_fd())?;
    }
    if let Some((_path, socket)) = &admin.unix {
        descriptors::send(channel, socket.as_fd())?;
    }
    Ok(())
}

/// The channel for listening: the other process may take its time, and the node has other things to do meanwhile.
fn attentive(channel: UnixStream) -> io::Result<tokio::net::UnixStream> {
    channel.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(channel)
}

/// The channel for speaking to a process that listens.
fn blocking(channel: tokio::net::UnixStream) -> io::Result<UnixStream> {
    let channel = channel.into_std()?;
    channel.set_nonblocking(false)?;
    channel.set_write_timeout(Some(WRITE_LIMIT))?;
    Ok(channel)
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it said something unexpected")
}
