//! `[[service]]`: groups of endpoints that are interchangeable.

use std::time::Duration;

use mainstay_core::budget;
use mainstay_gateway::spec::{
    Address, CertificateFiles, Connections, HttpVersion, ProxyVersion, Scope, Service, UpstreamTls, WhenEmpty,
};

use super::admission::SCOPES;
use super::endpoints::Endpoints;
use super::problem::Fault;
use super::reader::{Item, Place, Section};
use super::{
    WEEK, balance, breaker, endpoints, guard, health, isolation, keys, outlier, restart, sticky, words, zones,
};

const MILLI: Duration = Duration::from_millis(1);
/// Shares are renewed four times a second.
const SLOW_START_LEAST: Duration = Duration::from_secs(1);
const SLOW_START_MOST: Duration = Duration::from_secs(3_600);

/// A service, and where it stands.
pub(super) struct Read {
    pub(super) service: Service,
    pub(super) place: Place,
    pub(super) name: Place,
    /// Where TLS is set up.
    pub(super) tls: Option<Place>,
}

/// What happens when no endpoint is eligible, by name.
pub(super) const WHEN_EMPTY: &[(&str, WhenEmpty)] =
    &[("refuse", WhenEmpty::Refuse), ("fail-open", WhenEmpty::FailOpen)];

/// What is spoken with endpoints, by name.
const PROTOCOLS: &[(&str, HttpVersion)] =
    &[("http1", HttpVersion::Http1), ("http2", HttpVersion::Http2), ("auto", HttpVersion::Auto)];

pub(super) fn read(section: &Section<'_>) -> Read {
    let name = super::read_name(section);
    let default = Service::new("");
    let tls_item = section.item("tls");
    let tls = tls_item.as_ref().and_then(read_tls);
    let health = match section.item("health") {
        Some(item) => health::read(&item, tls.is_some()),
        None => default.health,
    };
    let Endpoints { endpoints, sources } = endpoints::read(section);
    if health.as_ref().is_some_and(|check| check.port.is_some())
        && let Some(endpoint) = endpoints.iter().find(|endpoint| matches!(endpoint.address, Address::Unix(_)))
        && let Some(item) = section.item("health")
    {
        let fault = Fault::new(format!("`port` has no meaning for the endpoint `{}`", endpoint.address));
        item.error(fault.hint("leave `port` out: checks go through the socket"));
    }
    let guard = guard::read(section, health.as_ref());
    let mut service = Service {
        name: name.value,
        balance: balance::read(section),
        endpoints,
        sources,
        health,
        outlier: section.field("outlier", default.outlier, |item| Some(outlier::read(item))).value,
        slow_start: read_slow_start(section),
        guard,
        zones: zones::read(section),
        capacity: zones::read_capacity(section),
        restart: section.item("restart").and_then(|item| restart::read(&item)),
        breaker: section.item("breaker").and_then(|item| breaker::read(&item)),
        retry_budget: section.item("retry_budget").map(|item| read_budget(&item)).unwrap_or_default(),
        protocol: section.field("protocol", HttpVersion::Http1, |item| item.one_of(PROTOCOLS)).value,
        tls,
        when_empty: section.field("when_empty", WhenEmpty::Refuse, |item| item.one_of(WHEN_EMPTY)).value,
        send_proxy: read_send_proxy(section),
        connections: read_connections(section, default.connections),
        tenant: section.item("tenant").and_then(|item| isolation::tenant(&item)),
        shard: section.item("shard").and_then(|item| isolation::shard(&item)),
        sticky: None,
    };
    service.sticky = sticky::read(section, &service.name, service.balance.policy);
    isolation::check_service(section, &service);
    Read { service, place: section.place.clone(), name: name.place, tls: tls_item.map(|item| item.place) }
}

fn read_connections(section: &Section<'_>, default: Connections) -> Connections {
    let max_idle = section.integer("max_idle", default.max_idle as u64, 0..=65_536).value;
    Connections {
        connect_timeout: section.duration("connect_timeout", default.connect_timeout, MILLI..=WEEK).value,
        max_idle: usize::try_from(max_idle).unwrap_or(default.max_idle),
        idle_timeout: section.duration("idle_timeout", default.idle_timeout, MILLI..=WEEK).value,
        max_age: section.duration("max_age", default.max_age, MILLI..=WEEK).value,
    }
}

fn read_slow_start(section: &Section<'_>) -> Option<Duration> {
    section.field("slow_start", None, |item| item.duration(&(SLOW_START_LEAST..=SLOW_START_MOST)).map(Some)).value
}

fn read_send_proxy(section: &Section<'_>) -> Option<ProxyVersion> {
    let words = [("v1", Some(ProxyVersion::V1)), ("v2", Some(ProxyVersion::V2)), ("off", None)];
    let version = section.field("send_proxy", None, |item| item.one_of(&words)).value?;
    for item in ["max_idle", "idle_timeout", "max_age"].iter().filter_map(|key| section.item(key)) {
        let fault =
            Fault::new("this has no effect with `send_proxy`: a connection belongs to one client and is not kept");
        item.error(fault.hint("leave it out"));
    }
    if let Some(item) = section.item("protocol").filter(|item| item.text() != Some("http1")) {
        let fault = Fault::new("a connection of HTTP/2 is shared by clients, and `send_proxy` names one");
        item.error(fault.hint("use protocol = \"http1\" with `send_proxy`"));
    }
    Some(version)
}

/// How many retries a route or a service may cause.
pub(super) fn read_budget(item: &Item<'_>) -> budget::Policy {
    let default = budget::Policy::default();
    if !item.is_table() {
        item.wrong_type("a table", "write retry_budget = { ratio = \"20%\", floor = 3 }");
        return default;
    }
    let Some(section) = item.section(&keys::RETRY_BUDGET) else { return default };
    let ratio = section.field("ratio", default.ratio, |item| item.share(&(0.0..=1.0))).value;
    let floor = section.integer("floor", default.floor_per_second as u64, 0..=1_000_000).value;
    let scope = section.field("scope", Scope::Node, |item| item.one_of(&SCOPES)).value;
    let shared = scope == Scope::Cluster;
    budget::Policy { ratio, floor_per_second: floor as f64, shared, window: default.window }
}

pub(super) fn read_tls(item: &Item<'_>) -> Option<UpstreamTls> {
    let plain = UpstreamTls { verify: true, ca: None, server_name: None, client: None };
    if let Some(flag) = item.as_flag() {
        return flag.then_some(plain);
    }
    if !item.is_table() {
        item.wrong_type("true or a table", "write tls = true to verify by the system's authorities");
        return Some(plain);
    }
    let section = item.section(&keys::SERVICE_TLS)?;
    let verify = section.flag("verify", true);
    let ca = section.field("ca", None, |item| item.path().map(Some));
    let server_name = section.field("server_name", None, |item| {
        item.parsed(|text| {
            let lower = text.to_ascii_lowercase();
            words::domain(&lower).map(|()| lower)
        })
        .map(Some)
    });
    if !verify.value {
        if ca.is_given {
            section.reader.error(&ca.place, Fault::new("`ca` has no effect while `verify` is false"));
        }
        let fault =
            Fault::new("certificates of endpoints are not verified: anyone in between can read and change traffic");
        section.reader.warn(&verify.place, fault.hint("name the endpoints' authority with `ca` instead"));
    }
    let client = (section.has("cert") || section.has("key")).then(|| read_client(&section)).flatten();
    Some(UpstreamTls { verify: verify.value, ca: ca.value, server_name: server_name.value, client })
}

fn read_client(section: &Section<'_>) -> Option<CertificateFiles> {
    let cert = section.required("cert", "`cert` and `key` go together").and_then(|item| item.path());
    let key = section.required("key", "`cert` and `key` go together").and_then(|item| item.path());
    Some(CertificateFiles { cert: cert?, key: key? })
}
