//! The page that `mainstay status` prints: the verdict first, then the node, services, routes and listeners.

use crate::admin::document::{
    ActivityStatus, BreakerStatus, EndpointStatus, ListenerStatus, ReloadOutcome, RouteStatus, ServiceState,
    ServiceStatus, SharedStatus, SourceStatus, Status,
};
use crate::status::table::{Cell, Paint, Tone, printable, render as table};
use crate::status::{attention, cluster};
use crate::telemetry;

/// What a circuit breaker is while there is nothing to say of it.
const CLOSED: &str = "closed";
/// The narrowest bucket of the histograms: below it, an estimate would be a guess.
const FINEST_MS: f64 = 5.0;
/// The histograms' last bound.
const COARSEST_MS: f64 = 10_000.0;

/// The whole page.
pub fn render(status: &Status, paint: Paint) -> String {
    let mut page = paint.apply(verdict_tone(status), &printable(&status.verdict));
    page.push('\n');
    page.push_str(&paint.apply(Tone::Faint, &printable(&node_line(status))));
    page.push('\n');
    if let Some(shared) = &status.configuration.cluster {
        page.push_str(&paint.apply(Tone::Faint, &printable(&shared_line(shared))));
        page.push('\n');
    }
    for reason in &status.node.not_ready {
        page.push_str(&paint.apply(Tone::Warning, &format!("not ready: {}", printable(reason))));
        page.push('\n');
    }
    let reload = &status.configuration.last_reload;
    if reload.outcome == ReloadOutcome::Refused {
        let at = reload.at.as_deref().unwrap_or_default();
        let line =
            format!("last reload REFUSED at {at}; generation {} is still served:", status.configuration.generation);
        page.push_str(&paint.apply(Tone::Bad, &line));
        page.push('\n');
        for problem in &reload.problems {
            page.push_str(&format!("  {}\n", printable(problem)));
        }
    }
    if let Some(cluster) = &status.cluster {
        page.push_str(&cluster::line(cluster, paint));
    }
    page.push_str(&super::shared::addresses(&status.addresses, paint));
    page.push_str(&super::databases::lines(&status.databases, paint));
    page.push_str(&attention::lines(&status.attention, paint));
    for temporary in &status.temporary {
        page.push_str(&paint.apply(Tone::Warning, &printable(&telemetry::command::line(temporary))));
        page.push('\n');
    }
    page.push('\n');
    page.push_str(&services(&status.services, paint));
    page.push_str(&notices(&status.services, paint));
    if !status.routes.is_empty() {
        page.push('\n');
        page.push_str(&routes(&status.routes, paint));
    }
    if status.routes.iter().any(|route| route.admission.is_some()) {
        page.push('\n');
        page.push_str(&limits(&status.routes, paint));
    }
    page.push('\n');
    page.push_str(&listeners(&status.listeners, paint));
    page.push_str(&super::shared::acme(&status.acme, paint));
    page.push_str(&super::shared::sessions(&status.sessions, paint));
    page.push_str(&super::shared::opinions(status.opinions.as_ref(), paint));
    page.push_str(&super::shared::probes(&status.probes, paint));
    page.push_str(&attention::availability(&status.attention, paint));
    page
}

fn verdict_tone(status: &Status) -> Tone {
    let is = |state: ServiceState| status.services.iter().any(|service| service.state == state);
    match (is(ServiceState::Down), is(ServiceState::Degraded) || !status.node.ready) {
        (true, _) => Tone::Bad,
        (false, true) => Tone::Warning,
        (false, false) => Tone::Good,
    }
}

fn node_line(status: &Status) -> String {
    let (node, configuration) = (&status.node, &status.configuration);
    let file = configuration.file.as_deref().unwrap_or("from the command line");
    format!(
        "node {} (pid {}, mainstay {}), up {}; configuration {file}, generation {}; rates over 10 s",
        node.name,
        node.pid,
        node.version,
        span(node.uptime_seconds),
        configuration.generation
    )
}

fn shared_line(shared: &SharedStatus) -> String {
    let mut line = match (shared.serves, shared.current) {
        (0, None) => "cluster configuration: none; the own file is served".to_owned(),
        (0, Some(current)) => format!("cluster configuration: version {current}, but the own file is served"),
        (serves, Some(current)) if serves != current => {
            format!("cluster configuration: version {serves} is served here, {current} elsewhere")
        }
        (serves, _) => format!("cluster configuration: version {serves}"),
    };
    if let (true, Some(version), Some(stage)) = (shared.releasing, shared.release, &shared.stage) {
        line.push_str(&format!("; being released: version {version}, {stage}"));
    }
    line
}

fn services(services: &[ServiceStatus], paint: Paint) -> String {
    let heading = ["SERVICE", "ENDPOINT", "STATE", "RPS", "ERRORS", "P50", "P99", "IN FLIGHT", "CONNS", "LAST CHANGE"];
    let mut rows = Vec::new();
    for service in services {
        let mut name = service.name.as_str();
        for endpoint in &service.endpoints {
            rows.push(endpoint_row(name, service, endpoint));
            // The name stands once, at its first endpoint.
            name = "";
        }
        for source in &service.sources {
            rows.push(source_row(name, service.state, source));
            name = "";
        }
    }
    table(&heading, &rows, paint)
}

/// What the table does not say of services.
fn notices(services: &[ServiceStatus], paint: Paint) -> String {
    let mut lines = String::new();
    for service in services {
        if service.guarded {
            let line = format!(
                "{}: CASCADE GUARD: checks fail nearly everywhere at once; requests go to all that take connections",
                service.name
            );
            lines.push_str(&paint.apply(Tone::Bad, &printable(&line)));
            lines.push('\n');
        }
        for warning in &service.warnings {
            lines.push_str(&paint.apply(Tone::Warning, &printable(&format!("{}: {warning}", service.name))));
            lines.push('\n');
        }
    }
    lines
}

/// A name that endpoints come from.
fn source_row(service: &str, state: ServiceState, source: &SourceStatus) -> Vec<Cell> {
    let (word, tone, change) = match (source.reason.as_str(), source.endpoints) {
        ("", 0) => ("asking", Tone::Warning, String::new()),
        ("", count) => ("answered", Tone::Normal, format!("{count} endpoints")),
        (reason, _kept) => ("unanswered", Tone::Bad, reason.to_owned()),
    };
    let mut row = vec![
        Cell::text(service).tone(service_tone(state)),
        Cell::text(source.name.as_str()).tone(Tone::Faint),
        Cell::text(word).tone(tone),
    ];
    row.resize(row.len() + 6, Cell::text(""));
    row.push(Cell::text(change));
    row
}

fn endpoint_row(name: &str, service: &ServiceStatus, endpoint: &EndpointStatus) -> Vec<Cell> {
    let (word, tone) = state_word(endpoint, service.guarded);
    let word = match endpoint.weight_percent {
        percent if word == "up" && percent < 100.0 => format!("up at {percent}%"),
        _whole => word.to_owned(),
    };
    let mut change = format!("{} ago", span(endpoint.since_seconds));
    if !endpoint.reason.is_empty() {
        change.push_str(&format!(": {}", endpoint.reason));
    }
    if let Some(breaker) = endpoint.breaker.as_ref().filter(|breaker| breaker.state != CLOSED) {
        change = breaker_change(breaker);
    }
    match endpoint.drained_by.as_deref() {
        Some("operator") => change.push_str("; drained by `mainstay drain`"),
        Some(who) => change.push_str(&format!("; drained by the {who}")),
        None => {}
    }
    let [rate, errors, p50, p99] = activity_cells(&endpoint.activity);
    vec![
        Cell::text(name).tone(service_tone(service.state)),
        Cell::text(endpoint.name.as_str()),
        Cell::text(word).tone(tone),
        rate,
        errors,
        p50,
        p99,
        Cell::number(endpoint.in_flight.to_string()),
        Cell::number(endpoint.connections.to_string()),
        Cell::text(change),
    ]
}

fn service_tone(state: ServiceState) -> Tone {
    match state {
        ServiceState::Healthy => Tone::Normal,
        ServiceState::Degraded => Tone::Warning,
        ServiceState::Down => Tone::Bad,
    }
}

/// What matters most about an endpoint, in one word.
fn state_word(endpoint: &EndpointStatus, guarded: bool) -> (&str, Tone) {
    if endpoint.draining {
        return ("draining", Tone::Warning);
    }
    if endpoint.address.is_none() {
        return ("unresolved", Tone::Bad);
    }
    if guarded && endpoint.eligible && (endpoint.ejected || endpoint.health == "down") {
        return ("guarded", Tone::Bad);
    }
    if endpoint.ejected {
        return ("ejected", Tone::Bad);
    }
    match endpoint.breaker.as_ref().map_or(CLOSED, |breaker| &breaker.state) {
        "open" => return ("breaker-open", Tone::Bad),
        "half-open" => return ("half-open", Tone::Warning),
        "ramping" => return ("ramping", Tone::Warning),
        _closed => {}
    }
    if endpoint.degraded {
        return ("degraded", Tone::Warning);
    }
    if endpoint.health == "up" && endpoint.weight_percent < 100.0 {
        return ("up", Tone::Warning);
    }
    if endpoint.health == "up" && !endpoint.eligible {
        return ("spare", Tone::Normal);
    }
    let tone = match endpoint.health.as_str() {
        "up" => Tone::Good,
        "down" => Tone::Bad,
        _unknown => Tone::Warning,
    };
    (&endpoint.health, tone)
}

fn routes(routes: &[RouteStatus], paint: Paint) -> String {
    let heading = ["ROUTE", "SERVICE", "LISTENERS", "RPS", "ERRORS", "P50", "P99", "REQUESTS", "RETRIES", "OWN ERRORS"];
    let row = |route: &RouteStatus| {
        let [rate, errors, p50, p99] = activity_cells(&route.activity);
        vec![
            Cell::text(route.name.as_str()),
            Cell::text(route.service.as_str()),
            Cell::text(route.listeners.join(",")),
            rate,
            errors,
            p50,
            p99,
            Cell::number(route.requests.to_string()),
            Cell::number(route.retries.to_string()),
            Cell::number(route.own_errors.to_string()),
        ]
    };
    let mut page = table(&heading, &routes.iter().map(row).collect::<Vec<_>>(), paint);
    for route in routes {
        let Some(breaker) = route.breaker.as_ref().filter(|breaker| breaker.state != CLOSED) else { continue };
        let tone = if breaker.state == "open" { Tone::Bad } else { Tone::Warning };
        let line = format!("route {}: circuit {}", route.name, breaker_change(breaker));
        page.push_str(&paint.apply(tone, &printable(&line)));
        page.push('\n');
    }
    page
}

/// What there is to say of a circuit breaker that is not closed.
fn breaker_change(breaker: &BreakerStatus) -> String {
    let since = breaker.since_seconds.map_or_else(String::new, |seconds| format!(" for {}", span(seconds)));
    format!("breaker {}{since}: {}; {} calls not let through so far", breaker.state, breaker.reason, breaker.refused)
}

/// The routes that limit requests. A limit that is reached stands out.
fn limits(routes: &[RouteStatus], paint: Paint) -> String {
    let heading = ["LIMITED ROUTE", "IN FLIGHT", "LIMIT", "WAITING", "QUEUE", "REFUSED"];
    let row = |route: &RouteStatus| {
        let admission = route.admission.as_ref()?;
        let limit = admission.limit.map_or_else(
            || "-".to_owned(),
            |limit| if admission.adaptive { format!("{limit} (adaptive)") } else { limit.to_string() },
        );
        let is_reached = admission.limit.is_some_and(|limit| admission.in_flight >= limit);
        let tone = if is_reached { Tone::Warning } else { Tone::Normal };
        Some(vec![
            Cell::text(route.name.as_str()).tone(tone),
            Cell::number(admission.in_flight.to_string()).tone(tone),
            Cell::number(limit),
            Cell::number(admission.waiting.to_string()),
            Cell::number(admission.queue.to_string()),
            Cell::number(admission.refused.to_string()),
        ])
    };
    table(&heading, &routes.iter().filter_map(row).collect::<Vec<_>>(), paint)
}

fn listeners(listeners: &[ListenerStatus], paint: Paint) -> String {
    let heading =
        ["LISTENER", "ADDRESS", "PROTOCOL", "CONNS", "ACCEPTED", "REJECTED", "TLS FAILURES", "PROXY FAILURES"];
    let row = |listener: &ListenerStatus| {
        vec![
            Cell::text(listener.name.as_str()),
            Cell::text(listener.bind.as_str()),
            Cell::text(listener.protocol.as_str()),
            Cell::number(listener.connections.to_string()),
            Cell::number(listener.accepted.to_string()),
            Cell::number(listener.rejected.to_string()),
            Cell::number(listener.tls_failures.to_string()),
            Cell::number(listener.proxy_protocol_failures.map_or_else(|| "-".to_owned(), |count| count.to_string())),
        ]
    };
    table(&heading, &listeners.iter().map(row).collect::<Vec<_>>(), paint)
}

fn activity_cells(activity: &ActivityStatus) -> [Cell; 4] {
    let errors = match activity.error_percent {
        None => Cell::number("-"),
        Some(percent) if percent <= 0.0 => Cell::number("0%"),
        Some(percent) if percent < 0.1 => Cell::number("<0.1%").tone(Tone::Warning),
        Some(percent) => {
            Cell::number(format!("{percent:.1}%")).tone(if percent < 1.0 { Tone::Warning } else { Tone::Bad })
        }
    };
    [
        Cell::number(rate(activity.rate)),
        errors,
        Cell::number(millis(activity.p50_ms)),
        Cell::number(millis(activity.p99_ms)),
    ]
}

fn rate(rate: f64) -> String {
    if rate <= 0.0 {
        "0".to_owned()
    } else if rate < 100.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

fn millis(millis: Option<f64>) -> String {
    match millis {
        None => "-".to_owned(),
        Some(millis) if millis <= FINEST_MS => "<5ms".to_owned(),
        Some(millis) if millis >= COARSEST_MS => ">10s".to_owned(),
        Some(millis) if millis >= 1000.0 => format!("{:.1}s", millis / 1000.0),
        Some(millis) => format!("{millis:.0}ms"),
    }
}

/// A span of time in its two largest units.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _minutes) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Instant;

    use mainstay_core::health;

    use super::*;
    use crate::admin::document::{Configuration, Node, Reload};
    use crate::admin::sample_state::sample;
    use crate::admin::sampler::Sampler;
    use crate::admin::snapshot;

    fn status(change: impl Fn(&mainstay_gateway::state::Endpoint)) -> Status {
        let state = sample();
        change(&state.services[0].endpoints[0]);
        let sampler = Sampler::default();
        let services = snapshot::services(&state, &sampler, Instant::now());
        Status {
            node: Node {
                name: "lb1".to_owned(),
                version: "0.1.0".to_owned(),
                pid: 7,
                started_at: String::new(),
                uptime_seconds: 3700,
                now: String::new(),
                ready: true,
                not_ready: Vec::new(),
            },
            verdict: snapshot::verdict(true, false, &services),
            configuration: Configuration {
                file: Some("lb.toml".to_owned()),
                generation: 3,
                applied_at: String::new(),
                last_reload: Reload::default(),
                cluster: None,
            },
            listeners: snapshot::listeners(&state),
            acme: Vec::new(),
            routes: snapshot::routes(&state, &sampler, Instant::now()),
            services,
            cells: Vec::new(),
            sessions: Vec::new(),
            opinions: None,
            probes: Vec::new(),
            cluster: None,
            addresses: Vec::new(),
            databases: Vec::new(),
            attention: crate::admin::attention::Attention::default(),
            temporary: Vec::new(),
        }
    }

    #[test]
    fn the_verdict_comes_first() {
        let page = render(&status(|_endpoint| {}), Paint::Plain);
        assert!(
            page.starts_with("serving: 1 of 1 services healthy\nnode lb1 (pid 7, mainstay 0.1.0), up 1h 1m;"),
            "{page}"
        );
        let page = render(&status(|endpoint| endpoint.set_health(health::State::Down)), Paint::Plain);
        assert!(
            page.starts_with("serving, degraded: 0 of 1 services healthy; degraded: shop (1 of 2 endpoints up)"),
            "{page}"
        );
    }

    #[test]
    fn every_state_has_its_word_and_reason() {
        let row = |change: &dyn Fn(&mainstay_gateway::state::Endpoint)| {
            let page = render(&status(change), Paint::Plain);
            page.lines().find(|line| line.contains("127.0.0.1:3001")).unwrap_or_default().to_owned()
        };
        assert!(row(&|_| {}).contains(" up "));
        let ejected = row(&|endpoint| {
            endpoint.ejected.store(true, Ordering::Release);
            *endpoint.reason.lock().expect("not poisoned") = "5 failures in a row\x1b[2J".to_owned();
        });
        assert!(ejected.contains(" ejected ") && ejected.ends_with("5 failures in a row [2J"), "{ejected}");
        assert!(row(&|endpoint| endpoint.drained.store(true, Ordering::Release)).contains(" draining "));
        assert!(row(&|endpoint| endpoint.locate(&[])).contains(" unresolved "));
    }

    #[test]
    fn a_drained_endpoint_does_not_make_a_service_unwell_and_the_last_one_does() {
        let one = status(|endpoint| endpoint.drained.store(true, Ordering::Release));
        assert_eq!(one.verdict, "serving: 1 of 1 services healthy");
        let state = sample();
        for endpoint in &state.services[0].endpoints {
            endpoint.set_health(health::State::Down);
        }
        let services = snapshot::services(&state, &Sampler::default(), Instant::now());
        let verdict = snapshot::verdict(true, false, &services);
        assert_eq!(verdict, "NOT SERVING: 0 of 1 services healthy; down: shop (0 of 2 endpoints up)");
    }

    #[test]
    fn a_refused_reload_is_shown_with_its_reasons() {
        let mut status = status(|_endpoint| {});
        status.configuration.last_reload.outcome = ReloadOutcome::Refused;
        status.configuration.last_reload.problems = vec!["lb.toml:3:1: unknown key".to_owned()];
        let page = render(&status, Paint::Plain);
        assert!(page.contains("last reload REFUSED") && page.contains("  lb.toml:3:1: unknown key\n"), "{page}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([rate(0.0), rate(12.34), rate(1234.5)], ["0", "12.3", "1234"]);
        assert_eq!(
            [millis(Some(2.5)), millis(Some(12.4)), millis(Some(1500.0)), millis(Some(10_000.0))],
            ["<5ms", "12ms", "1.5s", ">10s"]
        );
        assert_eq!([span(59), span(61), span(3661), span(90_000)], ["59s", "1m 1s", "1h 1m", "1d 1h"]);
    }
}
