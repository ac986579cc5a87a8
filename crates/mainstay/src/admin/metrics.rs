//! `/metrics`: the gateway's counters in the OpenMetrics text format.
//!
//! Names follow OpenTelemetry where it has one. Labels are names from the configuration, never anything that a client
//! sends, so that their number is bounded.

mod acme;
mod alerts;
mod balance;
mod checks;
mod cluster;
mod database_listeners;
mod databases;
mod exemplars;
mod format;
mod history;
pub mod ledger;
mod loads;
mod objectives;
mod patterns;
mod probes;
mod process;
mod shared;
mod shared_config;
mod sources;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_core::health;
use mainstay_gateway::state::{
    BUCKETS, Counter, Endpoint, EndpointCounters, Histogram, ListenerCounters, RouteCounters, Service, State,
};
use mainstay_observe::acme::desk::View;
use mainstay_observe::alerts::desk::Desk;
use mainstay_observe::otlp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::admin::certificates::CertificateStatus;
use crate::admin::databases::document::DatabaseStatus;
use crate::admin::document::{Reload, ReloadOutcome};
use crate::admin::objectives::ObjectiveStatus;
use crate::admin::probes::ProbeStatus;
use crate::admin::process::Usage;
use crate::admin::shared::{OpinionsStatus, SessionsStatus};
use crate::admin::snapshot::health_word;

pub use cluster::ClusterFacts;
pub use format::Format;
pub use shared_config::SharedFacts;

use format::as_prometheus;

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What the metrics say besides the gateway's state.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether the node should get traffic.
    pub ready: bool,
    /// The last reload.
    pub reload: Reload,
    /// Lines that the access log dropped.
    pub access_log_dropped: u64,
    /// Access-log lines that were left out because there were too many in a second.
    pub access_log_limited: u64,
    /// Lines of the operational log that were left out because there were too many of one message.
    pub log_left_out: u64,
    /// What became of what is sent to other systems.
    pub telemetry: otlp::Counts,
    /// When the process started.
    pub started_at: Option<SystemTime>,
    /// What the process uses.
    pub usage: Usage,
    /// How its history is.
    pub history: mainstay_observe::history::Facts,
    /// How its objectives stand.
    pub objectives: Vec<ObjectiveStatus>,
    /// How its synthetic probes stand.
    pub probes: Vec<ProbeStatus>,
    /// The tables of sessions.
    pub sessions: Vec<SessionsStatus>,
    /// Of the configuration that it shares with others, if it is in a cluster.
    pub shared_config: Option<SharedFacts>,
    /// What nodes make of each other's verdicts, in a cluster.
    pub opinions: Option<OpinionsStatus>,
    /// Of the cluster and its addresses, if it is in one.
    pub cluster: Option<ClusterFacts>,
    /// Groups of database servers.
    pub databases: Vec<DatabaseStatus>,
    /// Alerts.
    pub alerts: Option<Arc<Desk>>,
    /// Certificates in use.
    pub certificates: Arc<Vec<CertificateStatus>>,
    /// Those that authorities issue.
    pub acme: Vec<View>,
    /// The availability ledger.
    pub ledger: ledger::LedgerFacts,
}

/// The answer to one scrape.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn render(state: Arc<State>, facts: Facts, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { state: Arc::clone(&state), facts }));
    let mut answer = String::with_capacity(16 * 1024);
    text::encode(&mut answer, &registry)?;
    Ok(match format {
        Format::OpenMetrics => exemplars::complete(&answer, &state),
        Format::Prometheus => as_prometheus(&answer),
    })
}

#[derive(Debug)]
struct Scrape {
    state: Arc<State>,
    facts: Facts,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(&mut encoder);
        families.routes(&self.state)?;
        families.patterns(&self.state)?;
        families.endpoint_attempts(&self.state)?;
        families.endpoint_states(&self.state)?;
        families.checks(&self.state)?;
        families.loads(&self.state)?;
        families.balance(&self.state)?;
        families.services(&self.state)?;
        families.listeners(&self.state)?;
        families.database_listeners(&self.state)?;
        families.configuration(&self.state, &self.facts)?;
        families.shared(&self.facts)?;
        families.cluster(self.facts.cluster.as_ref())?;
        families.databases(&self.facts.databases)?;
        families.history(&self.facts)?;
        families.objectives(&self.facts)?;
        families.probes(&self.facts)?;
        families.alerts(self.facts.alerts.as_deref())?;
        families.certificates(&self.facts.certificates)?;
        families.acme(&self.facts.acme)?;
        families.ledger(&self.facts.ledger)?;
        families.process(&self.facts)
    }
}

struct Families<'e, 'w>(&'e mut DescriptorEncoder<'w>);

type Pair<'a> = (&'static str, &'a str);

impl Families<'_, '_> {
    fn counter<'a, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        rows: impl IntoIterator<Item = ([Pair<'a>; N], u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            if N == 0 {
                // A family without labels would be written with empty braces.
                metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            } else {
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        Ok(())
    }

    fn gauge<'a, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = ([Pair<'a>; N], f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in rows {
            if N == 0 {
                metric.encode_gauge(&value)?;
            } else {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    fn durations<'a, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        rows: impl IntoIterator<Item = ([Pair<'a>; N], Durations)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, Durations { sum, count, buckets }) in rows {
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn routes(&mut self, state: &State) -> fmt::Result {
        let each = |read: fn(&RouteCounters) -> u64| {
            state.routes.iter().map(move |route| ([("route", route.spec.name.as_str())], route.shards.sum(read)))
        };
        let durations = state.routes.iter().map(|route| {
            let read = |read: &dyn Fn(&Histogram) -> u64| route.shards.sum(|counters| read(&counters.duration));
            ([("route", route.spec.name.as_str())], Durations::sum(read))
        });
        let name = ("http_server_request_duration", "From the first byte of a request to the last of its response.");
        self.durations(name, durations)?;
        let classes = state.routes.iter().flat_map(|route| {
            CLASSES.iter().enumerate().map(move |(index, class)| {
                let count = route.shards.sum(|counters| class_count(&counters.by_class, index));
                ([("route", route.spec.name.as_str()), ("code_class", *class)], count)
            })
        });
        self.counter(("mainstay_requests", "Responses sent, by class of status code."), classes)?;
        self.counter(("mainstay_requests_started", "Requests begun."), each(|counters| counters.started.get()))?;
        let name = ("mainstay_requests_client_gone", "Requests whose client left before the response was complete.");
        self.counter(name, each(|counters| counters.client_gone.get()))?;
        let name = ("mainstay_own_errors", "Error responses that the gateway made itself.");
        self.counter(name, each(|counters| counters.own_errors.get()))?;
        self.counter(("mainstay_retries", "Attempts beyond the first."), each(|counters| counters.retries.get()))
    }

    fn endpoint_attempts(&mut self, state: &State) -> fmt::Result {
        let each = |read: fn(&EndpointCounters) -> u64| {
            endpoints(state).map(move |(labels, endpoint)| (labels, endpoint.shards.sum(read)))
        };
        let name = ("mainstay_endpoint_attempts", "Attempts begun (TCP: connections).");
        self.counter(name, each(|counters| counters.attempts.get()))?;
        let classes = endpoints(state).flat_map(|([service, name], endpoint)| {
            CLASSES.iter().enumerate().map(move |(index, class)| {
                let count = endpoint.shards.sum(|counters| class_count(&counters.by_class, index));
                ([service, name, ("code_class", *class)], count)
            })
        });
        self.counter(("mainstay_endpoint_responses", "Responses received, by class of status code."), classes)?;
        let name = ("mainstay_endpoint_connect_failures", "Attempts that found no connection.");
        self.counter(name, each(|counters| counters.connect_failures.get()))?;
        let name = ("mainstay_endpoint_resets", "Attempts that were reset or closed before a response.");
        self.counter(name, each(|counters| counters.resets.get()))?;
        let name = ("mainstay_endpoint_timeouts", "Attempts without a response in time.");
        self.counter(name, each(|counters| counters.timeouts.get()))?;
        let name = ("mainstay_endpoint_connections_opened", "Connections opened to the endpoint.");
        self.counter(name, each(|counters| counters.connections_opened.get()))?;
        let durations = endpoints(state).map(|(labels, endpoint)| {
            let read = |read: &dyn Fn(&Histogram) -> u64| endpoint.shards.sum(|counters| read(&counters.duration));
            (labels, Durations::sum(read))
        });
        self.durations(("mainstay_endpoint_duration", "From the start of an attempt to its response head."), durations)
    }

    fn endpoint_states(&mut self, state: &State) -> fmt::Result {
        let each =
            |read: fn(&Endpoint) -> f64| endpoints(state).map(move |(labels, endpoint)| (labels, read(endpoint)));
        let name = ("mainstay_endpoint_active", "Requests in flight.");
        self.gauge(name, None, each(|endpoint| f64::from(endpoint.in_flight.load(Ordering::Relaxed))))?;
        let open = |endpoint: &Endpoint| {
            let opened = endpoint.shards.sum(|counters| counters.connections_opened.get());
            opened.saturating_sub(endpoint.shards.sum(|counters| counters.connections_closed.get())) as f64
        };
        self.gauge(("mainstay_endpoint_connections", "Open connections to the endpoint."), None, each(open))?;
        let states = endpoints(state).flat_map(|([service, name], endpoint)| {
            [health::State::Unknown, health::State::Up, health::State::Down].map(|value| {
                let is = if endpoint.health() == value { 1.0 } else { 0.0 };
                ([service, name, ("state", health_word(value))], is)
            })
        });
        self.gauge(
            ("mainstay_endpoint_health", "1 for the state that active checks found, 0 for others."),
            None,
            states,
        )?;
        let name = ("mainstay_endpoint_ejected", "1 while passive checks keep the endpoint out.");
        self.gauge(name, None, each(|endpoint| f64::from(u8::from(endpoint.ejected.load(Ordering::Acquire)))))?;
        let name = ("mainstay_endpoint_draining", "1 while the endpoint gets no new requests by wish.");
        self.gauge(name, None, each(|endpoint| f64::from(u8::from(endpoint.is_draining()))))?;
        let ejections = endpoints(state).map(|(labels, endpoint)| (labels, endpoint.ejections.load(Ordering::Relaxed)));
        self.counter(("mainstay_endpoint_ejections", "Times that passive checks took the endpoint out."), ejections)?;
        let probes = endpoints(state).flat_map(|([service, name], endpoint)| {
            let (passed, failed) = (&endpoint.probes_passed, &endpoint.probes_failed);
            [("passed", passed), ("failed", failed)]
                .map(|(result, count)| ([service, name, ("result", result)], count.load(Ordering::Relaxed)))
        });
        self.counter(("mainstay_endpoint_probes", "Active checks, by result."), probes)
    }

    fn services(&mut self, state: &State) -> fmt::Result {
        let each = |read: fn(&Service) -> u64| {
            state.services.iter().map(move |service| ([("service", service.spec.name.as_str())], read(service)))
        };
        let name = ("mainstay_service_budget_refusals", "Retries that the budget refused.");
        self.counter(name, each(|service| service.budget_refusals.load(Ordering::Relaxed)))?;
        let name = ("mainstay_service_empty", "Requests answered 503 because no endpoint was eligible.");
        self.counter(name, each(|service| service.empty.load(Ordering::Relaxed)))?;
        self.sources(state)
    }

    fn listeners(&mut self, state: &State) -> fmt::Result {
        let each = |read: fn(&ListenerCounters) -> u64| {
            state
                .listeners
                .iter()
                .map(move |listener| ([("listener", listener.spec.name.as_str())], listener.shards.sum(read)))
        };
        let name = ("mainstay_listener_connections_accepted", "Connections accepted.");
        self.counter(name, each(|counters| counters.accepted.get()))?;
        let open = state.listeners.iter().map(|listener| {
            let closed = listener.shards.sum(|counters| counters.closed.get());
            let open = listener.shards.sum(|counters| counters.accepted.get()).saturating_sub(closed);
            ([("listener", listener.spec.name.as_str())], open as f64)
        });
        self.gauge(("mainstay_listener_connections", "Open connections."), None, open)?;
        let name = ("mainstay_listener_tls_failures", "TLS handshakes that failed.");
        self.counter(name, each(|counters| counters.tls_failures.get()))?;
        let name = ("mainstay_listener_proxy_protocol_failures", "Connections closed for want of a PROXY header.");
        let expecting = state.listeners.iter().filter(|listener| listener.spec.proxy_protocol.is_some());
        let failures = expecting.flat_map(|listener| {
            let row = |reason, read: fn(&ListenerCounters) -> u64| {
                ([("listener", listener.spec.name.as_str()), ("reason", reason)], listener.shards.sum(read))
            };
            [
                row("untrusted", |counters| counters.proxy_protocol.untrusted.get()),
                row("timeout", |counters| counters.proxy_protocol.timeouts.get()),
                row("malformed", |counters| counters.proxy_protocol.malformed.get()),
            ]
        });
        self.counter(name, failures)?;
        let name = ("mainstay_listener_rejected", "Requests refused before a route was known.");
        self.counter(name, each(|counters| counters.rejected.get()))
    }

    fn configuration(&mut self, state: &State, facts: &Facts) -> fmt::Result {
        let generation = [([], state.generation as f64)];
        self.gauge(("mainstay_config_generation", "1 at start, one more at each applied reload."), None, generation)?;
        let name = ("mainstay_config_applied_timestamp", "When the configuration was applied.");
        self.gauge(name, Some(&Unit::Seconds), [([], unix_seconds(state.applied_at))])?;
        let successful = if facts.reload.outcome == ReloadOutcome::Refused { 0.0 } else { 1.0 };
        let name = ("mainstay_config_last_reload_successful", "0 if the last reload was refused.");
        self.gauge(name, None, [([], successful)])?;
        if facts.reload.outcome != ReloadOutcome::None {
            let name = ("mainstay_config_last_reload_timestamp", "When the last reload was tried.");
            self.gauge(name, Some(&Unit::Seconds), [([], facts.reload.at_unix_seconds as f64)])?;
        }
        let name = ("mainstay_ready", "1 while the node should get traffic, as /ready says.");
        self.gauge(name, None, [([], f64::from(u8::from(facts.ready)))])?;
        let name = ("mainstay_access_log_dropped", "Access-log lines that could not be written.");
        self.counter(name, [([], facts.access_log_dropped)])?;
        let name = ("mainstay_access_log_limited", "Access-log lines left out because of events.max_per_second.");
        self.counter(name, [([], facts.access_log_limited)])?;
        let name = ("mainstay_log_left_out", "Lines of the operational log that were too many of one message.");
        self.counter(name, [([], facts.log_left_out)])?;
        let name = ("mainstay_otlp_sent", "Records, spans and metrics that the collector has accepted.");
        self.counter(name, [([], facts.telemetry.sent)])?;
        let name = ("mainstay_otlp_dropped", "Records, spans and metrics that found no room or were given up.");
        self.counter(name, [([], facts.telemetry.dropped)])?;
        let name = ("mainstay_otlp_failures", "Messages that the collector did not accept, each try counted.");
        self.counter(name, [([], facts.telemetry.failures)])
    }
}

fn endpoints(state: &State) -> impl Iterator<Item = ([Pair<'_>; 2], &Endpoint)> {
    state.services.iter().flat_map(|service| {
        service.endpoints.iter().map(|endpoint| {
            ([("service", service.spec.name.as_str()), ("endpoint", endpoint.name.as_str())], &**endpoint)
        })
    })
}

fn class_count(classes: &[Counter; 5], index: usize) -> u64 {
    classes.get(index).map_or(0, Counter::get)
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1e3
}

struct Durations {
    sum: f64,
    count: u64,
    buckets: [(f64, u64); BUCKETS.len() + 1],
}

impl Durations {
    fn sum(read: impl Fn(&dyn Fn(&Histogram) -> u64) -> u64) -> Self {
        let buckets = std::array::from_fn(|index| {
            let bound = BUCKETS.get(index).copied().unwrap_or(f64::INFINITY);
            (bound, read(&|histogram| histogram.buckets.get(index).map_or(0, Counter::get)))
        });
        let sum = Duration::from_nanos(read(&|histogram| histogram.sum_nanos.get())).as_secs_f64();
        Self { sum, count: buckets.iter().map(|(_bound, count)| count).sum(), buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample_state::{sample, serve};

    #[test]
    fn counts_durations_and_states_are_all_there() {
        let state = sample();
        serve(&state, 0, 1, 7, Duration::from_millis(30));
        serve(&state, 0, 1, 1, Duration::from_secs(60));
        let text = render(state, Facts::default(), Format::OpenMetrics).expect("a string takes everything");
        for line in [
            "# TYPE http_server_request_duration_seconds histogram",
            "http_server_request_duration_seconds_bucket{le=\"0.025\",route=\"default\"} 0",
            "http_server_request_duration_seconds_bucket{le=\"0.05\",route=\"default\"} 7",
            "http_server_request_duration_seconds_bucket{le=\"+Inf\",route=\"default\"} 8",
            "http_server_request_duration_seconds_count{route=\"default\"} 8",
            "mainstay_requests_total{route=\"default\",code_class=\"2xx\"} 8",
            "mainstay_endpoint_attempts_total{service=\"shop\",endpoint=\"127.0.0.1:3002\"} 8",
            "mainstay_endpoint_health{service=\"shop\",endpoint=\"127.0.0.1:3001\",state=\"up\"} 1.0",
            "mainstay_endpoint_health{service=\"shop\",endpoint=\"127.0.0.1:3001\",state=\"down\"} 0.0",
            "mainstay_config_generation 3.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "`{line}` is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_family_is_described_once_and_no_sample_stands_twice() {
        for format in [Format::OpenMetrics, Format::Prometheus] {
            let text = render(sample(), Facts::default(), format).expect("a string takes everything");
            let mut seen = std::collections::HashSet::new();
            for line in text.lines() {
                let key = if line.starts_with('#') { line } else { line.rsplit_once(' ').expect("name and value").0 };
                assert!(seen.insert(key.to_owned()), "twice: {key}");
            }
        }
    }

    #[test]
    fn tools_that_know_only_the_older_format_get_it() {
        assert_eq!(Format::wanted(None), Format::OpenMetrics);
        assert_eq!(Format::wanted(Some("*/*")), Format::OpenMetrics);
        assert_eq!(Format::wanted(Some("application/openmetrics-text, text/plain;q=0.5")), Format::OpenMetrics);
        assert_eq!(Format::wanted(Some("text/plain")), Format::Prometheus);
        let text = render(sample(), Facts::default(), Format::Prometheus).expect("a string takes everything");
        assert!(text.contains(
            "# HELP mainstay_retries_total Attempts beyond the first.\n# TYPE mainstay_retries_total counter\n"
        ));
        assert!(text.contains("# TYPE mainstay_build_info gauge\nmainstay_build_info{"));
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"));
    }
}
