//! What role this node's server has, told as Patroni 3.0 does over HTTP, so that load balancers that ask Patroni can ask this.
//! It answers anybody and changes nothing. Paths, statuses and members of the JSON are those of Patroni's documentation ("Patroni
//! REST API", health check endpoints); `docs/databases.md` names what differs.

#[cfg(test)]
mod haproxy;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay_core::database::{Report, Server};
use mainstay_failover::group::board::View;
use mainstay_runtime::task::{self, Kind};
use mainstay_runtime::{socket, thread};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::cluster::Handle;

/// Connections at once; further ones wait.
const CONNECTIONS_MAX: usize = 64;
const BACKLOG: i32 = 128;
/// Between the start of a connection and a complete request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// No connection lives longer: those who ask connect anew each time.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);
/// After a failed accept or bind.
const PAUSE: Duration = Duration::from_secs(1);

/// One group's answers.
#[derive(Clone)]
pub struct Rest {
    /// The group.
    pub group: String,
    /// This node.
    pub node: String,
    /// PostgreSQL's major version, if it is known.
    pub major: Option<u32>,
    /// Readers are not to be led here.
    pub no_reads: bool,
    /// Where the group's state is.
    pub source: Arc<dyn Source>,
}

/// What answers are made from.
pub trait Source: Send + Sync {
    /// What is known of a group.
    fn view(&self, group: &str) -> Option<View>;

    /// The node's lease runs now.
    fn has_lease(&self) -> bool;

    /// The node takes part in its cluster.
    fn takes_part(&self) -> bool;
}

impl Source for Handle {
    fn view(&self, group: &str) -> Option<View> {
        self.databases().view(group)
    }

    fn has_lease(&self) -> bool {
        self.session().is_some_and(|(_, left)| !left.is_zero())
    }

    fn takes_part(&self) -> bool {
        self.parts().is_ok()
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest").field("group", &self.group).finish_non_exhaustive()
    }
}

/// Answers at `bind`, on a thread of its own, until the node leaves: checks must not wait for anything else that it does.
///
/// # Errors
/// If the system refuses the thread.
pub fn start(rest: Rest, bind: SocketAddr, leaving: watch::Receiver<bool>) -> std::io::Result<()> {
    thread::spawn_local_runtime("database-rest", move || async move {
        let mut left = leaving.clone();
        tokio::select! {
            biased;
            _left = left.wait_for(|leaves| *leaves) => {}
            () = serve(rest, bind) => {}
        }
    })
    .map(|_thread| ())
}

async fn serve(rest: Rest, bind: SocketAddr) {
    let mut told = false;
    let listener = loop {
        // Another process of this node may have it still, while it leaves.
        match socket::listen_tcp(bind, BACKLOG, false).and_then(TcpListener::from_std) {
            Ok(listener) => break listener,
            Err(error) if !told => {
                tracing::error!(%error, %bind, group = rest.group, "`rest` is not served; tried again")
            }
            Err(_again) => {}
        }
        told = true;
        tokio::time::sleep(PAUSE).await;
    };
    accept(rest, listener).await;
}

async fn accept(rest: Rest, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _client)) => {
                let rest = rest.clone();
                task::spawn_local(Kind::Admin, async move {
                    connection(rest, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, group = rest.group, "`rest` cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(rest: Rest, stream: TcpStream) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = rest.answer(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        async move { Ok::<_, Infallible>(answer) }
    });
    // Clients that vanish or speak nonsense are their own problem.
    let _ended = tokio::time::timeout(CONNECTION_AGE_MAX, http.serve_connection(TokioIo::new(stream), service)).await;
}

impl Rest {
    fn answer(&self, method: &Method, path: &str, query: &str) -> Response<Full<Bytes>> {
        let view = self.source.view(&self.group);
        let seen = Seen {
            node: &self.node,
            group: &self.group,
            view: view.as_ref(),
            has_lease: self.source.has_lease(),
            takes_part: self.source.takes_part(),
            major: self.major,
            no_reads: self.no_reads,
        };
        let mut response = Response::new(Full::default());
        if ![Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            return response;
        }
        *response.status_mut() = if seen.holds(path, query) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        // Those two tell by their status alone.
        if *method == Method::GET && !matches!(path, "/liveness" | "/readiness") {
            *response.body_mut() = Full::from(seen.body().to_string());
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        }
        response
    }
}

/// What an answer is made from.
struct Seen<'a> {
    node: &'a str,
    group: &'a str,
    view: Option<&'a View>,
    /// The node's lease runs now, whatever the board says.
    has_lease: bool,
    takes_part: bool,
    major: Option<u32>,
    no_reads: bool,
}

impl Seen<'_> {
    fn report(&self) -> Option<&Report> {
        self.view?.members.iter().find(|member| member.node == self.node)?.report.as_ref()
    }

    fn runs(&self) -> bool {
        self.report().is_some_and(|report| matches!(report.server, Server::Primary | Server::Replica { .. }))
    }

    /// It is chosen, and may act.
    fn leads(&self) -> bool {
        let needs_none = |view: &View| view.own.as_ref().is_some_and(|own| own.without_lease.is_some());
        let may = |view: &View| (self.has_lease && view.is_current) || needs_none(view);
        self.view.is_some_and(|view| view.plan.serving() == Some(self.node) && may(view))
    }

    /// It takes writes, and may.
    fn takes_writes(&self) -> bool {
        let term = self.view.map(|view| view.plan.term);
        let is_primary = |report: &Report| report.server == Server::Primary && report.led == term;
        self.leads() && self.report().is_some_and(is_primary)
    }

    /// It streams from the primary, and is not too far behind.
    fn follows(&self, query: &str) -> bool {
        let Some(report) = self.report() else { return false };
        let lag_max = parameter(query, "lag").and_then(bytes).unwrap_or(u64::MAX);
        // There are no tags, so that whoever asks for one asks for another server.
        let has_tags = !query.split('&').any(|pair| pair.starts_with("tag_"));
        let end = self.end().unwrap_or(0);
        let is_replica = matches!(report.server, Server::Replica { .. });
        is_replica && has_tags && !self.no_reads && end.saturating_sub(report.position) <= lag_max
    }

    fn end(&self) -> Option<u64> {
        let view = self.view?;
        let source = view.plan.source()?;
        view.members.iter().find(|member| member.node == source)?.report.as_ref().map(|report| report.position)
    }

    fn is_synchronous(&self) -> bool {
        self.view.is_some_and(|view| view.plan.sync.acks > 0 && view.plan.sync.names.contains(self.node))
    }

    fn holds(&self, path: &str, query: &str) -> bool {
        match path {
            "/" | "/primary" | "/master" | "/read-write" => self.takes_writes(),
            "/leader" => self.leads(),
            "/replica" => self.follows(query),
            "/read-only" => self.takes_writes() || self.follows(query),
            "/sync" | "/synchronous" => self.is_synchronous() && self.follows(query),
            "/async" | "/asynchronous" => !self.is_synchronous() && self.follows(query),
            "/read-only-sync" | "/read-only-synchronous" => {
                self.takes_writes() || (self.is_synchronous() && self.follows(query))
            }
            "/health" => self.runs(),
            "/liveness" => self.takes_part || self.view.is_some_and(|view| view.paused),
            "/readiness" => self.leads() || self.runs(),
            "/patroni" => true,
            _nothing_that_it_has => false,
        }
    }

    fn body(&self) -> Value {
        let Some(report) = self.report() else {
            return json!({ "state": "unknown", "role": "replica", "patroni": self.about() });
        };
        let (state, role) = match &report.server {
            Server::Primary => ("running", "master"),
            Server::Replica { .. } => ("running", "replica"),
            Server::Starting => ("starting", "replica"),
            Server::Stopped { .. } => ("stopped", "replica"),
            Server::Empty => ("initializing new cluster", "uninitialized"),
            Server::Unknown => ("unknown", "replica"),
        };
        let mut body = json!({ "state": state, "role": role, "patroni": self.about() });
        if self.runs() {
            body["timeline"] = json!(report.timeline);
            body["xlog"] = match &report.server {
                Server::Primary => json!({ "location": report.position }),
                _replica => json!({ "received_location": report.position, "replayed_location": report.position }),
            };
        }
        if let Some(major) = self.major {
            body["server_version"] = json!(major.saturating_mul(10_000));
        }
        if let Some(system) = report.system {
            body["database_system_identifier"] = json!(system.to_string());
        }
        if self.is_synchronous() && role == "replica" {
            body["sync_standby"] = json!(true);
        }
        if let Some(view) = self.view {
            if view.plan.serving().is_none() {
                body["cluster_unlocked"] = json!(true);
            }
            if self.no_reads {
                body["tags"] = json!({ "noloadbalance": true });
            }
            if view.paused {
                body["pause"] = json!(true);
            }
        }
        body
    }

    /// The version says that this is none of Patroni's.
    fn about(&self) -> Value {
        json!({ "version": concat!("mainstay ", env!("CARGO_PKG_VERSION")), "scope": self.group, "name": self.node })
    }
}

/// A parameter of a query.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
}

/// A size as Patroni takes it: bytes, or a number with kB, MB, GB or TB, each 1024 of the one before.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mainstay_core::database::{Phase, Plan, Regime};
    use mainstay_failover::group::board::{Engine, Member};

    use super::*;

    pub(super) fn report(server: Server, position: u64) -> Report {
        let led = (server == Server::Primary).then_some(4);
        let value = json!({ "term": 4, "server": server, "system": 7, "timeline": 3, "position": position, "led": led,
            "branches": [], "checkpointed": true, "sync": null, "before": null });
        serde_json::from_value(value).expect("a report")
    }

    pub(super) fn following(of: &str, position: u64) -> Report {
        report(Server::Replica { upstream: Some(of.to_owned()) }, position)
    }

    pub(super) fn view() -> View {
        let member = |node: &str, report| Member {
            node: node.to_owned(),
            address: ([10, 0, 1, 1], 5432).into(),
            alive: true,
            report: Some(report),
        };
        let names: BTreeSet<String> = ["b".to_owned()].into();
        View {
            engine: Engine::Postgres,
            plan: Plan {
                term: 4,
                phase: Phase::Serving { primary: "a".to_owned() },
                sync: Regime { names, acks: 1 },
                ..Plan::default()
            },
            is_current: true,
            members: vec![
                member("a", report(Server::Primary, 5_000)),
                member("b", following("a", 5_000)),
                member("c", following("a", 1_000)),
                member("d", report(Server::Stopped { clean: None }, 0)),
            ],
            own: None,
            obstacle: None,
            end: None,
            paused: false,
            failovers: Vec::new(),
        }
    }

    fn seen<'a>(node: &'a str, view: &'a View) -> Seen<'a> {
        Seen {
            node,
            group: "orders",
            view: Some(view),
            has_lease: true,
            takes_part: true,
            major: Some(15),
            no_reads: false,
        }
    }

    #[test]
    fn each_path_holds_for_whom_it_should() {
        let view = view();
        for (path, query, of) in [
            ("/", "", "a"),
            ("/primary", "", "a"),
            ("/master", "", "a"),
            ("/read-write", "", "a"),
            ("/leader", "", "a"),
            ("/replica", "", "bc"),
            ("/replica", "lag=4kB", "bc"),
            ("/replica", "lag=3999", "b"),
            ("/replica", "lag=nonsense", "bc"),
            ("/replica", "tag_zone=1", ""),
            ("/read-only", "lag=0", "ab"),
            ("/sync", "", "b"),
            ("/asynchronous", "", "c"),
            ("/read-only-sync", "", "ab"),
            ("/health", "", "abc"),
            ("/liveness", "", "abcd"),
            ("/readiness", "", "abc"),
            ("/patroni", "", "abcd"),
            ("/standby-leader", "", ""),
            ("/nothing", "", ""),
        ] {
            let holds: String =
                ["a", "b", "c", "d"].into_iter().filter(|node| seen(node, &view).holds(path, query)).collect();
            assert_eq!(holds, of, "{path}?{query}");
        }
    }

    #[test]
    fn nobody_is_primary_without_a_lease_or_with_an_older_term() {
        let view = view();
        let without = Seen { has_lease: false, ..seen("a", &view) };
        assert!(!without.holds("/primary", "") && !without.holds("/leader", "") && without.holds("/health", ""));
        let old = View { is_current: false, ..view.clone() };
        assert!(!seen("a", &old).holds("/read-write", ""));
        let mut next = view.clone();
        next.plan.term = 5;
        assert!(!seen("a", &next).holds("/primary", ""), "it has led with an older term");
        next.plan.phase = Phase::Electing { from: "a".to_owned(), forced: None };
        assert!(!seen("a", &next).holds("/leader", ""));
        assert_eq!(seen("a", &next).body()["cluster_unlocked"], true);
        // Readers are not led to one that is to have none, and a primary that may act without a lease is one.
        let spared = Seen { no_reads: true, ..seen("b", &view) };
        assert!(!spared.holds("/replica", "") && !spared.holds("/read-only", "") && spared.holds("/health", ""));
        let own =
            mainstay_failover::group::board::Own { without_lease: Some("paused".to_owned()), ..Default::default() };
        let paused = View { own: Some(own), is_current: false, ..view.clone() };
        let runs_on = Seen { has_lease: false, ..seen("a", &paused) };
        assert!(runs_on.holds("/primary", "") && runs_on.holds("/leader", ""));
        let unknown = Seen { view: None, ..seen("a", &view) };
        assert!(!unknown.holds("/primary", "") && !unknown.holds("/health", "") && !unknown.holds("/replica", ""));
        assert_eq!(unknown.body()["state"], "unknown");
    }

    #[test]
    fn bodies_have_the_members_that_are_asked_for() {
        let view = view();
        let primary = seen("a", &view).body();
        assert_eq!(
            (&primary["state"], &primary["role"], &primary["timeline"]),
            (&json!("running"), &json!("master"), &json!(3))
        );
        assert_eq!((&primary["xlog"]["location"], &primary["server_version"]), (&json!(5_000), &json!(150_000)));
        assert_eq!(primary["patroni"]["scope"], "orders");
        let replica = seen("b", &view).body();
        assert_eq!((&replica["role"], &replica["sync_standby"]), (&json!("replica"), &json!(true)));
        assert_eq!(replica["xlog"]["received_location"], 5_000);
        assert_eq!(seen("d", &view).body()["state"], "stopped");
    }

    #[test]
    fn sizes_are_read_as_patroni_does() {
        for (text, value) in
            [("16", Some(16)), ("16kB", Some(16_384)), ("1GB", Some(1 << 30)), ("1kb", None), ("", None)]
        {
            assert_eq!(bytes(text), value, "{text}");
        }
        assert_eq!(bytes("99999999999999999999"), None);
        assert_eq!(bytes("99999999999TB"), None);
    }
}
