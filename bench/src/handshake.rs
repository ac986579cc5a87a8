//! Full TLS handshakes. `wrk` resumes its sessions, so what a new client costs needs a generator that never does.

use crate::load::Outcome;
use crate::measure;
use anyhow::{Context as _, Result};
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The command that puts this load on a proxy: this program, as a process of its own.
pub(crate) fn command(address: SocketAddr, connections: usize, duration: Duration, ca: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.arg("handshakes").arg(address.to_string()).arg(connections.to_string());
    command.arg(duration.as_secs().to_string()).arg(ca);
    Ok(command)
}

/// Makes connections, each with a handshake and one request, until the time is over, and says how many.
pub(crate) fn run(address: SocketAddr, connections: usize, duration: Duration, ca: &Path) -> Result<Outcome> {
    measure::join_load()?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let deadline = Instant::now() + duration;
    let counts = Rc::new((Cell::new(0_u64), Cell::new(0_u64)));
    let local = tokio::task::LocalSet::new();
    for _ in 0..connections {
        let (connector, counts) = (connector.clone(), Rc::clone(&counts));
        local.spawn_local(async move {
            while Instant::now() < deadline {
                let attempt = tokio::time::timeout(Duration::from_secs(2), request(&connector, address)).await;
                let count = if matches!(attempt, Ok(Ok(()))) { &counts.0 } else { &counts.1 };
                count.set(count.get() + 1);
            }
        });
    }
    runtime.block_on(local);
    Ok(Outcome { requests: counts.0.get(), errors: counts.1.get() })
}

async fn request(connector: &TlsConnector, address: SocketAddr) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
    stream.write_all(b"GET /1k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::with_capacity(2048);
    stream.read_to_end(&mut answer).await?;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200") && answer.len() > 1024, "refused");
    Ok(())
}
