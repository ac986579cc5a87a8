//! Steps over TCP, over TLS, and to name servers.

use std::time::Duration;

use mainstay_probe::Failed;
use mainstay_probe::script::Form;
use mainstay_runtime::names::{Resolver, Settings};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::journey::Journey;
use super::{Handshake, Question, Talk};
use crate::alerts::clock;
use crate::certificates;

/// Bytes that are looked at, at most.
const READ_MAX: usize = 64 * 1024;

/// Connects, says what is to be said, and waits for what is to come.
pub(super) async fn talk(journey: &Journey<'_>, talk: &Talk) -> Result<(), String> {
    let mut stream = connect(&talk.host, talk.port).await?;
    let broken = |error: std::io::Error| format!("the connection broke: {error}");
    let text = journey.fill(&talk.send, Form::Plain);
    stream.write_all(text.as_bytes()).await.map_err(broken)?;
    let Some(pattern) = &talk.expect else { return Ok(()) };
    let mut heard = Vec::new();
    loop {
        let room = READ_MAX.saturating_sub(heard.len()) as u64;
        let read = (&mut stream).take(room).read_buf(&mut heard).await.map_err(broken)?;
        if pattern.find(&String::from_utf8_lossy(&heard)).is_some() {
            return Ok(());
        }
        if read == 0 {
            return Err(format!("what is expected is not in the {} bytes that came", heard.len()));
        }
    }
}

/// Speaks TLS, and looks how long the certificate is good for.
pub(super) async fn shake_hands(
    journey: &mut Journey<'_>,
    handshake: &Handshake,
    days: &mut Option<f64>,
) -> Result<(), String> {
    let config = journey.tls()?;
    let name = handshake.server_name.as_ref().unwrap_or(&handshake.host);
    let name = ServerName::try_from(name.clone()).map_err(|_error| format!("no certificate can be for `{name}`"))?;
    let stream = connect(&handshake.host, handshake.port).await?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let stream = connected.map_err(|error| Failed::handshake(&error).to_string())?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.and_then(|der| certificates::parse(der));
    let left = certificate.ok_or("the certificate cannot be understood")?.days_left(clock::now());
    *days = Some(left);
    if left < handshake.days_min {
        let wanted = handshake.days_min;
        return Err(format!("the certificate ends in {left:.1} days, at least {wanted} are expected"));
    }
    Ok(())
}

/// Asks a name server.
pub(super) async fn look_up(question: &Question, timeout: Duration) -> Result<(), String> {
    let resolver = Resolver::new(Settings { servers: question.server.into_iter().collect(), timeout });
    let answer = resolver.records(&question.name, &question.kind).await.map_err(|error| error.to_string())?;
    let plain = |text: &str| text.trim_end_matches('.').trim_matches('"').to_ascii_lowercase();
    let found: Vec<String> = answer.records.iter().map(|record| plain(record)).collect();
    match question.records.iter().find(|record| !found.contains(&plain(record))) {
        None => Ok(()),
        Some(missing) => {
            let shown: Vec<&str> = found.iter().take(4).map(String::as_str).collect();
            Err(format!("`{missing}` is not among the {} records: {}", found.len(), shown.join(", ")))
        }
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|error| Failed::Connect(error).to_string())
}
