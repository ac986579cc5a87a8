//! The new process's side of an upgrade: what it takes over, and from whom.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mainstay_core::roles::Roles;
use mainstay_gateway::{Gateway, Inheritance, InheritedListener};
use mainstay_runtime::descriptors;

use crate::config::Config;
use crate::failure::Failure;
use crate::run::handover::{self, Go, Offer, PROTOCOL, VARIABLE, Word, hear, say};

/// The other process takes no longer for any answer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// First verdicts of endpoints that the other process did not know are waited for no longer than this.
const VERDICTS: Duration = Duration::from_secs(10);

/// The process that hands over to this one.
#[derive(Debug)]
pub struct Predecessor {
    channel: UnixStream,
    pid: u32,
    /// Where the log goes once this process serves; until then the other one reads it.
    stderr: OwnedFd,
    inheritance: Inheritance,
    admin: Option<TcpListener>,
    admin_socket: Option<(PathBuf, UnixListener)>,
}

/// The sockets of the admin interface that were handed over.
#[derive(Debug, Default)]
pub struct InheritedAdmin {
    /// Over TCP.
    pub tcp: Option<TcpListener>,
    /// The unix socket and where it is.
    pub unix: Option<(PathBuf, UnixListener)>,
}

impl Predecessor {
    /// Hears what the predecessor offers, if there is one.
    ///
    /// # Errors
    /// If the environment says that there is, and it is not so or cannot be understood.
    pub fn find() -> Result<Option<Self>, Failure> {
        if std::env::var_os(VARIABLE).is_none_or(|value| value.is_empty()) {
            return Ok(None);
        }
        let said = |error: io::Error| {
            let hint = format!("the variable {VARIABLE} is set, which only `mainstay upgrade` should do");
            Failure::new(format!("cannot take over from another process: {error}")).hint(hint)
        };
        Self::hear().map(Some).map_err(said)
    }

    fn hear() -> io::Result<Self> {
        let mut channel = descriptors::take_stdin()?;
        channel.set_read_timeout(Some(PATIENCE))?;
        channel.set_write_timeout(Some(PATIENCE))?;
        say(&mut channel, &Word::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() })?;
        let offer: Offer = hear(&mut channel)?;
        if offer.protocol != PROTOCOL {
            return Err(io::Error::other("it hands over in another way; restart it instead"));
        }
        let stderr = descriptors::receive(&channel)?;
        let mut listeners = Vec::with_capacity(offer.listeners.len());
        for listener in offer.listeners {
            let sockets = (0..listener.sockets).map(|_each| Ok(descriptors::receive(&channel)?.into()));
            let sockets = sockets.collect::<io::Result<Vec<TcpListener>>>()?;
            listeners.push(InheritedListener { name: listener.name, bind: listener.bind, sockets });
        }
        let admin = match offer.admin {
            Some(_address) => Some(descriptors::receive(&channel)?.into()),
            None => None,
        };
        let admin_socket = match offer.admin_socket {
            Some(path) => Some((path, descriptors::receive(&channel)?.into())),
            None => None,
        };
        let inheritance = Inheritance { listeners, endpoints: offer.endpoints };
        Ok(Self { channel, pid: offer.pid, stderr, inheritance, admin, admin_socket })
    }

    /// Whether the log will go to a terminal.
    pub fn logs_to_terminal(&self) -> bool {
        self.stderr.is_terminal()
    }

    /// The sockets of the gateway, and what is known of endpoints. A second call finds nothing.
    pub fn inheritance(&mut self) -> Inheritance {
        std::mem::take(&mut self.inheritance)
    }

    /// The sockets of the admin interface that `config` wants as well.
    pub fn admin(&mut self, config: &Config) -> InheritedAdmin {
        let tcp = self.admin.take().filter(|socket| socket.local_addr().ok() == config.admin);
        let unix = self.admin_socket.take().filter(|(path, _socket)| Some(path) == config.admin_socket.as_ref());
        InheritedAdmin { tcp, unix }
    }

    /// Says that this process could serve, as soon as it knows its endpoints, and waits for the word to begin.
    pub(super) async fn await_word(&mut self, gateway: &Gateway, ready: Word) -> Result<(), Failure> {
        let began = Instant::now();
        while !gateway.is_ready() && began.elapsed() < VERDICTS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if !gateway.is_ready() {
            tracing::warn!(waited = ?VERDICTS, "some endpoints have had no verdict yet; taking over all the same");
        }
        let gone = |error: io::Error| Failure::new(format!("the process that hands over (pid {}): {error}", self.pid));
        let mut channel = self.channel.try_clone().map_err(gone)?;
        say(&mut channel, &ready).map_err(gone)?;
        let go: Go = hear(&mut channel).map_err(gone)?;
        drains(gateway, &go);
        go.wishes.heed(gateway);
        lead(gateway, go.led);
        descriptors::replace_stderr(&self.stderr).map_err(gone)
    }

    /// Says that this process serves. The other one may be gone, which changes nothing any more.
    pub(super) fn serving(mut self) {
        if let Err(error) = say(&mut self.channel, &Word::Serving) {
            tracing::warn!(pid = self.pid, %error, "the process that handed over does not listen any more");
        }
        tracing::info!(from = self.pid, "took over");
    }
}

/// Heeds what operators have drained or not since the offer.
fn drains(gateway: &Gateway, go: &Go) {
    let now = gateway.remember();
    for known in &go.endpoints {
        let same = |it: &&mainstay_gateway::Remembered| it.service == known.service && it.endpoint == known.endpoint;
        if now.iter().find(same).is_some_and(|it| it.drained != known.drained) {
            // It was there a moment ago, and nobody else changes anything yet.
            let _known = gateway.drain(&known.service, &known.endpoint, known.drained);
        }
    }
}

/// Leads clients of database groups to where the other process did, until this one has heard of them itself: as a node does that
/// has lost its lease.
fn lead(gateway: &Gateway, led: BTreeMap<String, Roles>) {
    for (group, roles) in led {
        // What no listener leads to any more is of no interest, and nothing later is known yet.
        let _no_listener = gateway.lead(&group, Roles { is_current: false, ..roles });
    }
}

/// What to say when ready.
pub(super) fn ready(inheritance: &Inheritance, admin: &InheritedAdmin, config: &Config) -> Word {
    let wanted = |it: &&InheritedListener| config.spec.listeners.iter().any(|listener| listener.bind == it.bind);
    handover::Word::Ready {
        taken: inheritance.listeners.iter().filter(wanted).map(|it| it.bind).collect(),
        admin: admin.tcp.is_some(),
        admin_socket: admin.unix.is_some(),
    }
}
