//! The gateway's own view of its endpoints, asked for over its admin socket.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::demo::schedule::ENDPOINTS;
use crate::demo::stage::SERVICE;
use crate::demo::wire::Connection;

/// How often the status is asked for: the times until a fault was noticed are at most so much too long.
pub(crate) const EVERY: Duration = Duration::from_millis(25);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// The parts of `/api/v1/status` that the demo shows.
#[derive(Clone, Debug, Deserialize)]
struct Status {
    verdict: String,
    services: Vec<Service>,
    cluster: Option<Cluster>,
    #[serde(default)]
    addresses: Vec<Address>,
}

#[derive(Clone, Debug, Deserialize)]
struct Cluster {
    quorum: Option<bool>,
    leader: Option<String>,
    members: Vec<Member>,
}

#[derive(Clone, Debug, Deserialize)]
struct Member {
    role: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Address {
    here: bool,
    holder: Option<String>,
}

/// A node's part in its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Whether it is with a majority.
    pub(crate) quorum: bool,
    /// Who leads, as far as it knows.
    pub(crate) leader: Option<String>,
    /// How many nodes vote.
    pub(crate) voters: usize,
    /// Whether it holds the address.
    pub(crate) holds: bool,
    /// Who does, as far as it knows.
    pub(crate) holder: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Service {
    name: String,
    endpoints: Vec<Endpoint>,
}

/// What the gateway says of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Endpoint {
    /// Its address.
    pub(crate) name: String,
    /// `up`, `down` or `unknown`.
    pub(crate) health: String,
    /// By passive checks.
    pub(crate) ejected: bool,
    /// By an operator.
    pub(crate) draining: bool,
    /// Whether it gets traffic.
    pub(crate) eligible: bool,
    /// Why it does not.
    pub(crate) reason: String,
}

impl Endpoint {
    /// In a few words.
    pub(crate) fn words(&self) -> String {
        let state = match (self.draining, self.ejected, self.health.as_str()) {
            (true, _, _) => "draining",
            (false, true, _) => "ejected",
            (false, false, health) => health,
        };
        if self.eligible || self.reason.is_empty() || self.draining {
            state.to_owned()
        } else if self.reason.starts_with(state) {
            self.reason.clone()
        } else {
            format!("{state}: {}", self.reason)
        }
    }
}

/// What the gateway says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// In one line.
    pub(crate) verdict: String,
    /// Of the endpoints, in the demo's order.
    pub(crate) endpoints: [Endpoint; ENDPOINTS],
    /// Of its cluster, if it is in one.
    pub(crate) part: Option<Part>,
}

/// Asks over one connection, and over another when that one fails.
pub(crate) struct Watcher {
    socket: PathBuf,
    names: [String; ENDPOINTS],
    connection: Option<Connection>,
}

impl Watcher {
    /// Nothing is asked yet.
    pub(crate) fn new(socket: PathBuf, names: [String; ENDPOINTS]) -> Self {
        Self { socket, names, connection: None }
    }

    /// Asks once.
    pub(crate) async fn poll(&mut self) -> Result<View, String> {
        let answer = timeout(PATIENCE, self.ask()).await.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
        if answer.is_err() {
            self.connection = None;
        }
        parse(&answer?, &self.names)
    }

    async fn ask(&mut self) -> Result<Bytes, String> {
        if let Some(connection) = self.connection.as_mut() {
            connection.look().await;
        }
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let stream = UnixStream::connect(&self.socket).await;
            let stream = stream.map_err(|error| format!("admin socket: {error}"))?;
            self.connection = Some(Connection::over(stream).await.map_err(|error| error.to_string())?);
        }
        let Some(connection) = self.connection.as_mut() else { return Err("no connection".to_owned()) };
        let request = Request::get("/api/v1/status").header("host", "localhost").body(Full::new(Bytes::new()));
        let response = connection.exchange(request.map_err(|error| error.to_string())?).await?;
        match response.status().as_u16() {
            200 => Ok(response.into_body()),
            status => Err(format!("the admin socket answered {status}")),
        }
    }
}

fn parse(json: &[u8], names: &[String; ENDPOINTS]) -> Result<View, String> {
    let status: Status = serde_json::from_slice(json).map_err(|error| format!("cannot read the status: {error}"))?;
    let found = status.services.into_iter().find(|service| service.name == SERVICE);
    let endpoints = found.map(|service| service.endpoints).unwrap_or_default();
    let view = names.clone().map(|name| {
        let found = endpoints.iter().find(|endpoint| endpoint.name == name);
        found.cloned().unwrap_or_else(|| Endpoint { name, health: "unknown".to_owned(), ..Endpoint::default() })
    });
    let address = status.addresses.into_iter().next();
    let part = status.cluster.map(|cluster| Part {
        quorum: cluster.quorum == Some(true),
        leader: cluster.leader,
        voters: cluster.members.iter().filter(|it| it.role == "leader" || it.role == "voter").count(),
        holds: address.as_ref().is_some_and(|address| address.here),
        holder: address.and_then(|address| address.holder),
    });
    Ok(View { verdict: status.verdict, endpoints: view, part })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_in_the_order_of_the_demo() {
        let json = br#"{"verdict":"serving","other":1,"services":[{"name":"shop","endpoints":[
            {"name":"127.0.0.1:3","health":"down","ejected":false,"draining":false,"eligible":false,"reason":"timeout"},
            {"name":"127.0.0.1:1","health":"up","ejected":false,"draining":false,"eligible":true,"reason":""}]}]}"#;
        let names = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(str::to_owned);
        let view = parse(json, &names).unwrap();
        assert_eq!(view.endpoints.each_ref().map(Endpoint::words), ["up", "unknown", "down: timeout"]);
        assert_eq!(view.endpoints.each_ref().map(|endpoint| endpoint.eligible), [true, false, false]);
        let ejected = Endpoint { ejected: true, reason: "ejected for 2s".to_owned(), ..Endpoint::default() };
        assert_eq!(ejected.words(), "ejected for 2s");
        assert!(parse(b"{}", &names).is_err());
        assert_eq!(view.part, None);
    }

    #[test]
    fn a_node_tells_its_part_in_the_cluster() {
        let json = br#"{"verdict":"serving","services":[],"cluster":{"quorum":true,"leader":"node2","members":[
            {"role":"voter"},{"role":"leader"},{"role":"waiting"}]},"addresses":[{"here":false,"holder":"node3"}]}"#;
        let part = parse(json, &Default::default()).unwrap().part.unwrap();
        let holder = Some("node3".to_owned());
        assert_eq!(part, Part { quorum: true, leader: Some("node2".to_owned()), voters: 2, holds: false, holder });
    }
}
