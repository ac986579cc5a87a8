//! Files and ports of one run.

use anyhow::{Context as _, Result, ensure};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How many ports a run uses, from the first one on.
const PORTS: u16 = 170;

/// Files and ports of one run.
pub(crate) struct Site {
    work: PathBuf,
    /// Ports of the origin.
    pub origin_ports: [u16; 2],
    /// The first port of the proxies, each of which has ten.
    pub proxy_ports: u16,
}

impl Site {
    /// Makes the working directory and a certificate (ECDSA P-256) for all proxies.
    pub(crate) fn prepare(work: &Path, first_port: u16) -> Result<Site> {
        ensure!((1024..u16::MAX - PORTS).contains(&first_port), "--ports must be from 1024 to {}", u16::MAX - PORTS);
        check_free(first_port)?;
        std::fs::create_dir_all(work).with_context(|| format!("cannot create {}", work.display()))?;
        let work = work.canonicalize()?;
        let (cert, key) = (work.join("cert.pem"), work.join("key.pem"));
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .context("cannot run openssl")?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        let both = std::fs::read_to_string(&cert)? + &std::fs::read_to_string(&key)?;
        std::fs::write(work.join("both.pem"), both)?;
        Ok(Site { work, origin_ports: [first_port + 1, first_port + 2], proxy_ports: first_port + 100 })
    }

    /// Addresses of the origin.
    pub(crate) fn origins(&self) -> Vec<SocketAddr> {
        self.origin_ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    /// The certificate that all proxies serve.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.file("cert.pem")
    }

    /// Where configurations, certificates and logs are.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// A file of the run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }
}

/// Another bench that runs already would be measured together with this one: some proxies share a port without an error.
fn check_free(first_port: u16) -> Result<()> {
    for offset in (1..=2).chain(100..PORTS) {
        let port = first_port + offset;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let taken = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
        ensure!(!taken, "something listens on {address} already, perhaps another bench\n  hint: --ports 28000");
    }
    Ok(())
}
