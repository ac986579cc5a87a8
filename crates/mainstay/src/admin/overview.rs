//! `/api/v1/overview`: nodes and services on one page, of one node or of all nodes of its cluster together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State as Shared};
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::VIEWER;
use mainstay_observe::history::{Counts, Kind, Series};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::document::ServiceState;
use super::history::counts::{CountsStatus, add};
use super::history::now;
use super::scope::{self, Coverage, MissingNode, Scope};

/// Rates are those of so many seconds before now.
const SPAN: Duration = Duration::from_secs(10);

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/overview", VIEWER, "Nodes and services on one page, of this node or of the cluster")
            .command("mainstay status --cluster")
            .words("scope", Scope::WORDS, "Of the node, or of the cluster")
            .answers::<Overview>()
            .by(overview),
    ]
}

/// The page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClusterOverview)]
pub struct Overview {
    /// Who answers.
    pub node: String,
    /// Over how many seconds rates and durations are.
    pub span_seconds: u64,
    /// Whose numbers are in it.
    pub coverage: Coverage,
    /// The nodes, by name.
    pub nodes: Vec<NodeOverview>,
    /// The services, by name.
    pub services: Vec<ServiceOverview>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClusterNodeOverview)]
pub struct NodeOverview {
    /// Its name.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// Since how many seconds it runs.
    pub uptime_seconds: u64,
    /// Whether it gets traffic.
    pub ready: bool,
    /// One line for people: whether everything is served.
    pub verdict: String,
    /// Requests a second at all its routes.
    pub rate: f64,
    /// Percent of them that failed.
    pub error_percent: Option<f64>,
}

/// A service, over all nodes that are in the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClusterServiceOverview)]
pub struct ServiceOverview {
    /// Its name.
    pub name: String,
    /// Requests a second.
    pub rate: f64,
    /// Percent of them that failed.
    pub error_percent: Option<f64>,
    /// Median duration in milliseconds, estimated from the histograms of all nodes added.
    pub p50_ms: Option<f64>,
    /// 99th percentile, likewise.
    pub p99_ms: Option<f64>,
    /// What these numbers are made from.
    pub counts: CountsStatus,
    /// What each node makes of its endpoints.
    pub seen: Vec<ServiceSeen>,
}

/// A service as a node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ServiceSeenByNode)]
pub struct ServiceSeen {
    /// The node.
    pub node: String,
    /// How well it is there.
    pub state: ServiceState,
    /// Endpoints that get traffic of that node.
    pub eligible: u64,
    /// All of them.
    pub endpoints: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverviewQuery {
    #[serde(default)]
    scope: Scope,
}

async fn overview(Shared(node): Shared<Arc<Node>>, Query(query): Query<OverviewQuery>) -> Response {
    let own = of_node(&node);
    if query.scope == Scope::Node {
        return Json(own).into_response();
    }
    let (answers, coverage) = scope::ask_others::<Overview>(&node, "/api/v1/overview").await;
    Json(merge(own, answers, coverage)).into_response()
}

fn of_node(node: &Node) -> Overview {
    let (status, now) = (node.status(), now());
    let counts = |kind, name: &str| node.history.window(&Series::new(kind, name), SPAN, now);
    let mut all = Counts::default();
    status.routes.iter().for_each(|route| add(&mut all, &counts(Kind::Route, &route.name)));
    let services = status.services.iter().map(|service| {
        let seen = ServiceSeen {
            node: status.node.name.clone(),
            state: service.state,
            eligible: service.eligible,
            endpoints: service.endpoints.len() as u64,
        };
        service_of(service.name.clone(), &counts(Kind::Service, &service.name), vec![seen])
    });
    Overview {
        services: services.collect(),
        nodes: vec![NodeOverview {
            name: status.node.name.clone(),
            version: status.node.version,
            uptime_seconds: status.node.uptime_seconds,
            ready: status.node.ready,
            verdict: status.verdict,
            rate: rounded(all.per_second(all.requests)),
            error_percent: error_percent(&all),
        }],
        coverage: Coverage { nodes: vec![status.node.name.clone()], missing: Vec::new() },
        span_seconds: SPAN.as_secs(),
        node: status.node.name,
    }
}

fn service_of(name: String, counts: &Counts, seen: Vec<ServiceSeen>) -> ServiceOverview {
    let millis = |q: f64| counts.quantile(q).map(|it| rounded(it.as_secs_f64() * 1e3));
    ServiceOverview {
        name,
        rate: rounded(counts.per_second(counts.requests)),
        error_percent: error_percent(counts),
        p50_ms: millis(0.5),
        p99_ms: millis(0.99),
        counts: CountsStatus::from(counts),
        seen,
    }
}

fn error_percent(counts: &Counts) -> Option<f64> {
    let share = || (counts.errors as f64 * 100.0 / counts.requests as f64).min(100.0);
    (counts.requests > 0).then(|| rounded(share()))
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// All nodes on one page; who cannot be added is missing.
fn merge(own: Overview, answers: Vec<(String, Overview)>, mut coverage: Coverage) -> Overview {
    let Overview { node, span_seconds, mut nodes, services, .. } = own;
    let mut sums: BTreeMap<String, (Counts, Vec<ServiceSeen>)> = BTreeMap::new();
    let mut put = |services: Vec<ServiceOverview>| -> Result<(), String> {
        // All of a node or nothing.
        let counted = services.into_iter().map(|it| Ok((it.counts.counts()?, it.name, it.seen)));
        for (counts, name, seen) in counted.collect::<Result<Vec<_>, String>>()? {
            let (sum, all) = sums.entry(name).or_default();
            add(sum, &counts);
            all.extend(seen);
        }
        Ok(())
    };
    // Its own buckets are its own.
    let _whole = put(services);
    for (name, answer) in answers {
        match put(answer.services) {
            Ok(()) => nodes.extend(answer.nodes),
            Err(reason) => {
                coverage.nodes.retain(|it| *it != name);
                coverage.missing.push(MissingNode { name, reason });
            }
        }
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let services = sums.into_iter().map(|(name, (counts, mut seen))| {
        seen.sort_by(|a, b| a.node.cmp(&b.node));
        service_of(name, &counts, seen)
    });
    Overview { node, span_seconds, services: services.collect(), nodes, coverage }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(node: &str, requests: u64, errors: u64) -> Overview {
        let mut counts = Counts { seconds: 10, requests, errors, ..Counts::default() };
        counts.buckets[0] = requests;
        let seen = ServiceSeen { node: node.to_owned(), state: ServiceState::Healthy, eligible: 2, endpoints: 2 };
        Overview {
            node: node.to_owned(),
            services: vec![service_of("app".to_owned(), &counts, vec![seen])],
            ..Overview::default()
        }
    }

    #[test]
    fn services_of_all_nodes_are_one_line_each() {
        let coverage = Coverage { nodes: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], missing: Vec::new() };
        let mut odd = page("c", 1_000, 1_000);
        odd.services[0].counts.buckets.pop();
        let answers = vec![("b".to_owned(), page("b", 10, 10)), ("c".to_owned(), odd)];
        let merged = merge(page("a", 90, 0), answers, coverage);
        let service = &merged.services[0];
        assert_eq!((service.rate, service.error_percent, service.counts.requests), (10.0, Some(10.0), 100));
        assert_eq!(service.seen.iter().map(|it| it.node.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (merged.coverage.nodes, merged.coverage.missing[0].name.as_str()),
            (vec!["a".to_owned(), "b".to_owned()], "c")
        );
    }
}
