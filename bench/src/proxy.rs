//! The proxies: how each is started. `bench/README.md` says why they have the settings they have.

mod caddy;
mod envoy;
mod haproxy;
mod mainstay;
mod nginx;

use crate::process::Process;
use crate::site::Site;
use crate::{machine, measure};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name of what all others are related to.
pub(crate) const BASE: &str = "haproxy";
/// The name of ours.
pub(crate) const OURS: &str = "mainstay";
/// The name of ours without its access log.
pub(crate) const WITHOUT_LOG: &str = "mainstay, no log";
/// The name of ours with every resilience pattern on.
pub(crate) const PATTERNS: &str = "mainstay, all patterns";

/// The name of ours with all telemetry on.
pub(crate) const TELEMETRY: &str = "mainstay, all telemetry";

/// Everything that can take part: the name for `--proxies`, and that in the table. The first is the base of all ratios.
const NAMES: &[(&str, &str)] = &[
    ("haproxy", BASE),
    ("nginx", "nginx"),
    ("ours", OURS),
    ("ours-no-log", WITHOUT_LOG),
    ("ours-patterns", PATTERNS),
    ("ours-telemetry", TELEMETRY),
    ("envoy", "envoy"),
    ("caddy", "caddy"),
];

/// Where a proxy takes what.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    /// HTTP/1.1 without TLS.
    pub plain: SocketAddr,
    /// TLS, which offers HTTP/2 and HTTP/1.1.
    pub tls: SocketAddr,
    /// HTTP/2 without TLS, with prior knowledge.
    pub clear_h2: SocketAddr,
    /// Its admin interface, where there must be one.
    admin: SocketAddr,
}

/// A proxy that does not take part.
#[derive(Serialize)]
pub(crate) struct Missing {
    /// Its name in the table.
    pub proxy: &'static str,
    /// Why.
    pub reason: String,
}

/// A proxy that takes part.
pub(crate) struct Proxy {
    /// Its name in the table.
    pub name: &'static str,
    /// Where it listens.
    pub addresses: Addresses,
    /// The binary, if it is not found on the path.
    binary: PathBuf,
    access_log: Option<PathBuf>,
    /// Words before the command, to run it inside another program.
    wrapper: Vec<String>,
    /// Nothing while it does not run.
    process: Option<Process>,
}

/// The proxies that were asked for (all, if none was named), none of them started, and those that this machine does not
/// have.
pub(crate) fn choose(site: &Site, asked: &[String], mainstay: &Path) -> Result<(Vec<Proxy>, Vec<Missing>)> {
    for name in asked {
        if !NAMES.iter().any(|(short, _)| short == name) {
            let names: Vec<&str> = NAMES.iter().map(|(short, _)| *short).collect();
            bail!("there is no proxy {name}; there are: {}", names.join(", "));
        }
    }
    let (mut chosen, mut missing) = (Vec::new(), Vec::new());
    for (at, (short, name)) in (0_u16..).zip(NAMES) {
        if !asked.is_empty() && !asked.iter().any(|it| it == short) {
            continue;
        }
        match locate(name, site, mainstay) {
            Ok(binary) => chosen.push(Proxy::new(name, binary, site, at)),
            Err(error) => missing.push(Missing { proxy: name, reason: format!("{error:#}") }),
        }
    }
    Ok((chosen, missing))
}

/// The program behind a name.
fn locate(name: &str, site: &Site, mainstay: &Path) -> Result<PathBuf> {
    match name {
        OURS | WITHOUT_LOG | PATTERNS | TELEMETRY => mainstay
            .canonicalize()
            .with_context(|| format!("there is no {}\n  hint: cargo build --release -p mainstay", mainstay.display())),
        "envoy" => envoy::locate(site),
        tool => machine::find(tool).with_context(|| format!("{tool} is not installed")),
    }
}

impl Proxy {
    fn new(name: &'static str, binary: PathBuf, site: &Site, at: u16) -> Proxy {
        let address = |offset| SocketAddr::from(([127, 0, 0, 1], site.proxy_ports + at * 10 + offset));
        let separate_h2 = matches!(name, "haproxy" | "nginx");
        let plain = address(0);
        Proxy {
            name,
            addresses: Addresses {
                plain,
                tls: address(1),
                clear_h2: if separate_h2 { address(2) } else { plain },
                admin: address(3),
            },
            binary,
            access_log: match name {
                OURS => Some(site.file("mainstay-access.log")),
                PATTERNS => Some(site.file("mainstay-patterns-access.log")),
                TELEMETRY => Some(site.file("mainstay-telemetry-access.log")),
                _ => None,
            },
            wrapper: Vec::new(),
            process: None,
        }
    }

    /// What it calls itself.
    pub(crate) fn version(&self) -> String {
        let argument = match self.name {
            "haproxy" | "nginx" => "-v",
            "caddy" => "version",
            _ => "--version",
        };
        let said = machine::first_line(&self.binary, &[argument]);
        match self.name {
            "caddy" => format!("Caddy {}", said.split(' ').next().unwrap_or_default()),
            // It begins with the path of the binary and the hash of a commit.
            "envoy" => format!("Envoy {}", said.split('/').rev().nth(3).unwrap_or(&said)),
            _ => said,
        }
    }

    /// Runs inside another program from the next start on; without words, by itself.
    pub(crate) fn wrap(&mut self, words: &[String]) {
        self.wrapper = words.to_vec();
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.as_ref().map(Process::id).with_context(|| format!("{} does not run", self.name))
    }

    /// Whether it runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::runs)
    }

    /// Stops it.
    pub(crate) fn stop(&mut self) {
        drop(self.process.take());
    }

    /// Stops it if it runs, and starts it.
    pub(crate) fn restart(&mut self, site: &Site) -> Result<()> {
        self.stop();
        let slug = self.name.replace([',', ' '], "");
        // Envoy takes the format from the extension.
        let config = site.file(&format!("{slug}.{}", if slug == "envoy" { "yaml" } else { "conf" }));
        let log_path = site.file(&format!("{slug}.stderr"));
        let (text, words) = match self.name {
            "haproxy" => (haproxy::config(self.addresses, site), haproxy::arguments(&config)),
            "nginx" => (nginx::config(self.addresses, site), nginx::arguments(&config, &log_path, site)),
            "caddy" => (caddy::config(self.addresses, site), caddy::arguments(&config)),
            "envoy" => (envoy::config(self.addresses, site), envoy::arguments(&config)),
            name => {
                let text = mainstay::config(self.addresses, site, self.access_log.as_deref(), name);
                (text, mainstay::arguments(&config))
            }
        };
        std::fs::write(&config, text)?;
        let mut command = match self.wrapper.split_first() {
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        let log = File::create(&log_path)?;
        command.args(words).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(site.work());
        // For Caddy, which otherwise starts as many threads as the machine has cores, and keeps a folder at home.
        command.env("GOMAXPROCS", "1").env("XDG_DATA_HOME", site.work()).env("XDG_CONFIG_HOME", site.work());
        let mut process = Process::start(self.name, measure::PROXY_CORE, &mut command)?;
        let Addresses { plain, tls, clear_h2, .. } = self.addresses;
        process.wait_for(&[plain, tls, clear_h2], &log_path)?;
        self.process = Some(process);
        Ok(())
    }

    /// An access log of the whole run would fill the disk; what was measured is the writing of it.
    pub(crate) fn after_sample(&self) -> Result<()> {
        if let Some(path) = &self.access_log {
            File::options()
                .write(true)
                .open(path)
                .and_then(|file| file.set_len(0))
                .context("the access log is gone")?;
        }
        Ok(())
    }
}
