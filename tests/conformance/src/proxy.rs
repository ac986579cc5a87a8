//! The proxies: each started with the configuration in `peers/`, which differ in syntax only.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use mainstay_e2e::process::Process;
use mainstay_e2e::{Mainstay, eventually, free, tools};

use crate::case::{Case, Need};

/// A proxy that cases are run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Mainstay,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
    /// Caddy.
    Caddy,
}

/// Where a proxy listens and where it expects its server.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The plain listener.
    pub plain: SocketAddr,
    /// The listener on which connections begin with a PROXY protocol header.
    pub proxy_protocol: SocketAddr,
    /// The server, which each case starts anew.
    pub backend: SocketAddr,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    running: Running,
    /// Its addresses.
    pub addresses: Addresses,
}

#[derive(Debug)]
enum Running {
    Mainstay(Box<Mainstay>),
    Peer { process: Process, _dir: tempfile::TempDir },
}

impl Kind {
    /// All of them, ours first.
    pub const ALL: [Self; 4] = [Self::Mainstay, Self::Haproxy, Self::Nginx, Self::Caddy];

    /// Its name as its makers write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mainstay => "Mainstay",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Caddy => "Caddy",
        }
    }

    /// Its version, asked of the program itself.
    ///
    /// # Panics
    /// If it is not installed.
    pub fn version(self) -> String {
        let words = |text: &str| {
            let number = |word: &&str| word.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit());
            let word = text.split([' ', '/', '\n']).find(number).unwrap_or("unknown");
            word.split('-').next().unwrap_or(word).to_owned()
        };
        let (program, argument) = match self {
            Self::Mainstay => (mainstay_e2e::gateway::built("mainstay"), "--version"),
            Self::Haproxy => (tools::find("haproxy", "haproxy"), "-v"),
            Self::Nginx => (tools::find("nginx", "nginx"), "-v"),
            Self::Caddy => (tools::find("caddy", "caddy"), "version"),
        };
        let output = Command::new(program).arg(argument).output().expect("it says its version");
        words(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()))
    }

    /// Whether it can do what a case needs. A proxy that cannot is neither praised nor blamed for it.
    pub fn can(self, case: &Case) -> bool {
        case.needs.iter().all(|need| match need {
            Need::ProxyProtocol => self != Self::Caddy,
        })
    }

    const fn config(self) -> &'static str {
        match self {
            Self::Mainstay => include_str!("../peers/mainstay.toml"),
            Self::Haproxy => include_str!("../peers/haproxy.cfg"),
            Self::Nginx => include_str!("../peers/nginx.conf"),
            Self::Caddy => include_str!("../peers/Caddyfile"),
        }
    }

    /// Starts it and waits until it accepts connections.
    ///
    /// # Panics
    /// If it is not installed or does not come up.
    pub fn start(self) -> Proxy {
        let addresses = Addresses { plain: free(), proxy_protocol: free(), backend: free() };
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = fill(self.config(), &addresses, &dir);
        let running = if self == Self::Mainstay {
            Running::Mainstay(Box::new(Mainstay::start_with("workers = 1", &config)))
        } else {
            let file = dir.path().join("config");
            fs::write(&file, config).expect("the configuration");
            let mut command = self.command(&file, dir.path());
            Running::Peer { process: Process::start(self.name(), dir.path(), &mut command, None), _dir: dir }
        };
        let mut proxy = Proxy { running, addresses };
        eventually(&format!("{} accepts", self.name()), Duration::from_secs(15), || {
            assert!(proxy.is_running(), "{} has exited", self.name());
            std::net::TcpStream::connect(addresses.plain).is_ok()
        });
        proxy
    }

    fn command(self, file: &std::path::Path, dir: &std::path::Path) -> Command {
        match self {
            Self::Haproxy => {
                let mut command = Command::new(tools::find("haproxy", "haproxy"));
                command.arg("-db").arg("-f").arg(file);
                command
            }
            Self::Nginx => {
                let mut command = Command::new(tools::find("nginx", "nginx"));
                command.arg("-p").arg(dir).arg("-c").arg(file);
                command
            }
            Self::Caddy => {
                let mut command = Command::new(tools::find("caddy", "caddy"));
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
                command.env("HOME", dir).env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
                command
            }
            Self::Mainstay => unreachable!("ours is started by the harness of the end-to-end tests"),
        }
    }
}

fn fill(template: &str, addresses: &Addresses, dir: &tempfile::TempDir) -> String {
    template
        .replace("@LISTEN@", &addresses.plain.to_string())
        .replace("@IP@", &addresses.plain.ip().to_string())
        .replace("@PORT@", &addresses.plain.port().to_string())
        .replace("@LISTEN_PROXY_PROTOCOL@", &addresses.proxy_protocol.to_string())
        .replace("@BACKEND@", &addresses.backend.to_string())
        .replace("@DIR@", &dir.path().display().to_string())
}

impl Proxy {
    /// Whether it still runs: a case that brings a proxy down has failed whatever its script says.
    pub fn is_running(&mut self) -> bool {
        match &mut self.running {
            Running::Mainstay(mainstay) => mainstay.process().is_running(),
            Running::Peer { process, .. } => process.is_running(),
        }
    }
}
