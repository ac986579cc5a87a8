//! Pebble, an authority that speaks ACME, with a name server that sends it wherever a test wants.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use mainstay_e2e::process::Process;
use mainstay_e2e::tls::{Authority, Client};
use mainstay_e2e::{address, eventually, free, tools, wire};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// Where Pebble asks whether a name is whose it is said to be.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// For http-01.
    pub http: u16,
    /// For tls-alpn-01.
    pub tls: u16,
}

/// A running Pebble. Everything that it knows ends with it.
pub struct Pebble {
    process: Process,
    names: Process,
    dir: tempfile::TempDir,
    /// Who vouches for its own interface.
    pub front: Authority,
    /// Where it speaks ACME.
    pub listen: SocketAddr,
    management: SocketAddr,
    names_management: SocketAddr,
    names_at: SocketAddr,
}

impl Pebble {
    /// Starts it. Names lead to this process's own address. `more` goes into its configuration.
    pub fn start(ports: Ports, environment: &[(&str, &str)], more: &serde_json::Value) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let front = Authority::new("in front of pebble");
        front.issue(&["localhost", &address::host().to_string()]).write(dir.path(), "front");
        let (listen, management) = (free(), free());
        let mut config = json!({
            "listenAddress": listen.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": dir.path().join("front.pem"),
            "privateKey": dir.path().join("front.key"),
            "httpPort": ports.http,
            "tlsPort": ports.tls,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        fs::write(dir.path().join("pebble.json"), json!({ "pebble": config }).to_string()).expect("its configuration");
        let (names_at, names_management) = (free(), free());
        let mut command = Command::new(tools::find("pebble-challtestsrv", "pebble"));
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        command.arg("-defaultIPv4").arg(address::host().to_string()).arg("-dns01").arg(names_at.to_string());
        command.arg("-management").arg(names_management.to_string());
        let names = Process::start("names", dir.path(), &mut command, None);
        let process = Self::launch(dir.path(), names_at, environment);
        let pebble = Self { process, names, dir, front, listen, management, names_management, names_at };
        pebble.wait();
        pebble
    }

    fn launch(dir: &std::path::Path, names_at: SocketAddr, environment: &[(&str, &str)]) -> Process {
        let mut command = Command::new(tools::find("pebble", "pebble"));
        command.arg("-config").arg(dir.join("pebble.json")).arg("-dnsserver").arg(names_at.to_string());
        command.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0"), ("PEBBLE_WFE_NONCEREJECT", "0")]);
        for (name, value) in environment {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        Process::start("pebble", dir, &mut command, None)
    }

    fn wait(&self) {
        let names = || wire::Wire::try_connect(self.names_management, Duration::from_secs(1)).is_ok();
        eventually("the name server answers", SOON, names);
        eventually("pebble answers", SOON, || self.ask("/roots/0").is_some());
    }

    /// Ends it and starts another one in its place, which has never heard of anything.
    pub fn restart(&mut self, environment: &[(&str, &str)]) {
        self.process.kill();
        self.process = Self::launch(self.dir.path(), self.names_at, environment);
        self.wait();
    }

    fn ask(&self, path: &str) -> Option<String> {
        let mut wire = Client::trusting(&self.front).connect(self.management, "localhost").ok()?;
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).ok()?;
        let response = wire.response().ok()?;
        (response.status == 200).then(|| response.text())
    }

    /// Who vouches for what it issues, in PEM.
    pub fn root(&self) -> String {
        self.ask("/roots/0").expect("its root")
    }

    /// Has a name lead to another address from now on.
    pub fn lead(&self, name: &str, to: IpAddr) {
        for (path, body) in [
            ("clear-a", json!({ "host": format!("{name}.") })),
            ("add-a", json!({ "host": format!("{name}."), "addresses": [to.to_string()] })),
        ] {
            let body = body.to_string();
            let request = format!(
                "POST /{path} HTTP/1.1\r\nHost: names\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let response = wire::Wire::connect(self.names_management).exchange(request);
            assert_eq!(response.status, 200, "{path}: {}", self.names.stderr());
        }
    }

    /// Lines of a configuration that order `domains` from it.
    pub fn acme(&self, domains: &[&str], more: &str) -> String {
        format!(
            "[[acme]]\nname = \"public\"\naccept_terms = true\ndirectory = \"https://{}/dir\"\nca = \"front.pem\"\n\
             contact = \"ops@example.com\"\ndomains = {domains:?}\n{more}\n",
            self.listen
        )
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.stderr()
    }
}
