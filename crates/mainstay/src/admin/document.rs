//! What `/api/v1/status` answers; `mainstay status` reads the same types.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::acme::AcmeStatus;

use super::addresses::AddressStatus;
use super::attention::Attention;
use super::cells::CellStatus;
use super::cluster::ClusterStatus;
use super::databases::document::DatabaseStatus;
use super::probes::ProbeStatus;
use super::shared::{OpinionsStatus, SessionsStatus};
use super::telemetry::TemporaryStatus;

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Of the process.
    pub node: Node,
    /// One line for people: whether everything is served.
    pub verdict: String,
    /// Of the configuration.
    pub configuration: Configuration,
    /// Where connections come in.
    pub listeners: Vec<ListenerStatus>,
    /// Certificates that authorities issue.
    #[serde(default)]
    pub acme: Vec<AcmeStatus>,
    /// Which service a request goes to.
    pub routes: Vec<RouteStatus>,
    /// Groups of endpoints.
    pub services: Vec<ServiceStatus>,
    /// Copies of sets of services, with their accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<CellStatus>,
    /// The tables of sessions that are in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionsStatus>,
    /// What nodes make of each other's verdicts, in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opinions: Option<OpinionsStatus>,
    /// Synthetic probes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeStatus>,
    /// The node's part in a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterStatus>,
    /// The addresses that one node of the cluster holds at a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressStatus>,
    /// Groups of database servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<DatabaseStatus>,
    /// What is worth a look now.
    #[serde(default)]
    pub attention: Attention,
    /// What an operator has changed of how much the node tells, for a time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temporary: Vec<TemporaryStatus>,
}

/// The process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = NodeStatus)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Since when it runs.
    pub started_at: String,
    /// The same in seconds.
    pub uptime_seconds: u64,
    /// When this answer was made.
    pub now: String,
    /// Whether it should get traffic.
    pub ready: bool,
    /// If not, why.
    pub not_ready: Vec<String>,
}

/// The configuration that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Configuration {
    /// The file, unless the node was started without one.
    pub file: Option<String>,
    /// 1 at start, one more at each reload that was applied.
    pub generation: u64,
    /// When it was applied.
    pub applied_at: String,
    /// What the last reload led to.
    pub last_reload: Reload,
    /// What is the cluster's of it, if the node is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<SharedStatus>,
}

/// The configuration that the nodes of a cluster share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SharedStatus {
    /// The version that this node serves; 0: its own file.
    pub serves: u64,
    /// The version that all nodes serve unless a release says otherwise, as far as this node knows.
    pub current: Option<u64>,
    /// The version that was released last.
    pub release: Option<u64>,
    /// How far that is, in words.
    pub stage: Option<String>,
    /// Whether that goes on.
    pub releasing: bool,
}

/// What a reload led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReloadOutcome {
    /// There was none yet.
    #[default]
    None,
    /// It is served.
    Applied,
    /// The configuration before it is still served.
    Refused,
}

/// The last reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reload {
    /// What it led to.
    pub outcome: ReloadOutcome,
    /// When.
    pub at: Option<String>,
    /// Why it was refused: every problem.
    pub problems: Vec<String>,
    /// Seconds since 1970, for the metrics.
    #[serde(skip)]
    pub at_unix_seconds: u64,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    pub bind: String,
    /// `http`, `https`, `tcp` or `tls`.
    pub protocol: String,
    /// Open connections.
    pub connections: u64,
    /// How many may be open.
    pub max_connections: u64,
    /// Connections accepted since it exists.
    pub accepted: u64,
    /// Handshakes that failed.
    pub tls_failures: u64,
    /// Connections closed for want of a PROXY header; none if it expects none.
    pub proxy_protocol_failures: Option<u64>,
    /// Requests that were refused before a route was known.
    pub rejected: u64,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// The listeners it serves.
    pub listeners: Vec<String>,
    /// The service it leads to.
    pub service: String,
    /// Over the last seconds.
    pub activity: ActivityStatus,
    /// Requests since it exists.
    pub requests: u64,
    /// Responses of class 5xx since it exists.
    pub responses_5xx: u64,
    /// Retries since it exists.
    pub retries: u64,
    /// Error responses that the gateway made itself.
    pub own_errors: u64,
    /// Its circuit breaker, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerStatus>,
    /// How its limits stand, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionStatus>,
}

/// A circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BreakerStatus {
    /// `closed`, `open`, `half-open` or `ramping`.
    pub state: String,
    /// How long ago it changed; none if it never did.
    pub since_seconds: Option<u64>,
    /// Why it changed; empty if it never did.
    pub reason: String,
    /// Times it has opened.
    pub opened: u64,
    /// Calls that it did not let through.
    pub refused: u64,
}

/// How the limits of a route stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdmissionStatus {
    /// Requests that may be in at once; absent if that is not limited.
    pub limit: Option<u32>,
    /// Whether the limit moves by itself.
    pub adaptive: bool,
    /// Requests that are in.
    pub in_flight: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Requests that may wait.
    pub queue: u32,
    /// Requests refused since the route exists.
    pub refused: u64,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// How well it is.
    pub state: ServiceState,
    /// Endpoints that get traffic.
    pub eligible: u64,
    /// The cascade guard holds: checks fail nearly everywhere, and requests go to all that take connections.
    #[serde(default)]
    pub guarded: bool,
    /// What should be seen to before something happens, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Attempts at all its endpoints together, over the last seconds.
    #[serde(default)]
    pub activity: ActivityStatus,
    /// The parts of the site that its endpoints are in, by name.
    #[serde(default)]
    pub zones: Vec<ZoneStatus>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
    /// Names that endpoints come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceStatus>,
    /// Requests that were answered 503 because no endpoint was eligible.
    pub empty_responses: u64,
    /// Retries that the budget refused.
    pub budget_refusals: u64,
}

/// The endpoints of a service in one part of the site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ZoneStatus {
    /// Its name; absent for endpoints that say none.
    pub zone: Option<String>,
    /// Endpoints in it.
    pub endpoints: u64,
    /// Those that get traffic.
    pub eligible: u64,
    /// Attempts at them together, over the last seconds.
    pub activity: ActivityStatus,
}

/// A name that endpoints of a service come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceStatus {
    /// The name of the SRV records, or `host:port`.
    pub name: String,
    /// Endpoints of the last good answer.
    pub endpoints: u64,
    /// Why the last answer was of no use; empty if it was.
    pub reason: String,
    /// Answers that were of use.
    pub answers: u64,
    /// Answers that were empty, and look-ups that failed.
    pub failures: u64,
}

/// How well a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Every endpoint that is not drained on purpose is up and gets traffic.
    Healthy,
    /// Some endpoints do.
    Degraded,
    /// None does.
    Down,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EndpointStatus {
    /// Its address as configured.
    pub name: String,
    /// Lower is served first.
    #[serde(default)]
    pub priority: u16,
    /// Share of traffic.
    #[serde(default)]
    pub weight: u32,
    /// The same if an operator gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_override: Option<u32>,
    /// Where that is, if it resolves.
    pub address: Option<String>,
    /// What active checks say: `up`, `down` or `unknown`.
    pub health: String,
    /// Up, but degraded by its own word.
    #[serde(default)]
    pub degraded: bool,
    /// Ejected by passive checks.
    pub ejected: bool,
    /// Gets no new requests by wish.
    pub draining: bool,
    /// Whose wish: `operator` (by `mainstay drain`) or `configuration`.
    pub drained_by: Option<String>,
    /// Gets traffic.
    pub eligible: bool,
    /// Percent of its weight that it gets while it is eligible.
    #[serde(default = "all_of_it")]
    pub weight_percent: f64,
    /// The part of the site that it fails with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Stands in for others.
    #[serde(default)]
    pub spare: bool,
    /// Why it is not well; empty otherwise.
    pub reason: String,
    /// Since when its state is what it is.
    pub since: String,
    /// The same in seconds before now.
    pub since_seconds: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Open connections to it.
    pub connections: u64,
    /// Over the last seconds.
    pub activity: ActivityStatus,
    /// Attempts since it exists.
    pub attempts: u64,
    /// Times it was ejected.
    pub ejections: u64,
    /// Its circuit breaker, if the service has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerStatus>,
    /// What it says of its own load, if it said so within the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadStatus>,
    /// The version of what operators said of it, for `If-Match` with a weight or a drain.
    #[serde(default)]
    pub etag: String,
}

/// What an endpoint says of its own load (Open Request Cost Aggregation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadStatus {
    /// Percent of its processors in use; may be above 100.
    pub cpu_percent: Option<f64>,
    /// Percent of its memory in use.
    pub memory_percent: Option<f64>,
    /// Percent of what the application is limited by; may be above 100.
    pub application_percent: Option<f64>,
    /// Requests a second.
    pub rate: Option<f64>,
    /// Errors a second.
    pub error_rate: Option<f64>,
}

/// What went on during the last ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActivityStatus {
    /// Requests (endpoints: attempts) a second.
    pub rate: f64,
    /// Percent that failed; absent if there were none.
    pub error_percent: Option<f64>,
    /// Median duration in milliseconds, estimated from the histogram's buckets (none is narrower than 5 ms).
    pub p50_ms: Option<f64>,
    /// 99th percentile, likewise.
    pub p99_ms: Option<f64>,
}

fn all_of_it() -> f64 {
    100.0
}
