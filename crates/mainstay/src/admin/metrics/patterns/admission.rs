//! The families about requests that are let in and refused, for routes that limit them.

use std::fmt;

use mainstay_core::criticality::Criticality;
use mainstay_gateway::admission::{GateSnapshot, Reason};
use mainstay_gateway::spec::RateKey;
use mainstay_gateway::state::{Histogram, Route, State};
use prometheus_client::registry::Unit;

use super::super::{Durations, Families};

impl Families<'_, '_> {
    pub(super) fn admission(&mut self, state: &State) -> fmt::Result {
        let limited = || state.routes.iter().filter(|route| limits(route)).map(AsRef::as_ref);
        if limited().next().is_none() {
            return Ok(());
        }
        let admitted = limited().flat_map(|route| {
            classes(route).iter().map(move |class| {
                let count = route.shards.sum(|counters| counters.admission.admitted[class.index()].get());
                ([("route", name(route)), ("criticality", class.word())], count)
            })
        });
        self.counter(("mainstay_admitted", "Requests let in by the route's limits."), admitted)?;
        let refused = limited().flat_map(|route| {
            Reason::ALL.into_iter().filter(|reason| is_possible(route, *reason)).flat_map(move |reason| {
                classes(route).iter().map(move |class| {
                    let count = |counters: &mainstay_gateway::state::RouteCounters| {
                        counters.admission.refused[reason as usize][class.index()].get()
                    };
                    let labels = [("route", name(route)), ("reason", reason.word()), ("criticality", class.word())];
                    (labels, route.shards.sum(count))
                })
            })
        });
        self.counter(("mainstay_refused", "Requests refused, by the limit that fired."), refused)?;
        self.gates(state)?;
        let parts = state.routes.iter().filter_map(|route| Some((route, route.admission.as_ref()?)));
        let parts = parts.flat_map(|(route, admission)| {
            // The first one: a route with several limits of the cluster's has the same demand on all of them.
            let part = admission.limits().find_map(|limit| limit.part);
            part.map(|part| ([("route", name(route))], part))
        });
        let help = "How much of a rate limit of the whole cluster is this node's; 1 is all of it.";
        self.gauge(("mainstay_rate_limit_part", help), None, parts)?;
        let evicted = state.routes.iter().filter_map(|route| Some((route, route.admission.as_ref()?)));
        let evicted = evicted.flat_map(|(route, admission)| {
            let keyed = admission.limits().filter(|limit| *limit.key != RateKey::All);
            keyed.map(|limit| ([("route", name(route)), ("key", key_word(limit.key))], limit.evicted))
        });
        let help = "Keys of a rate limit that were forgotten while they still counted, for want of room.";
        self.counter(("mainstay_rate_limit_evictions", help), evicted)
    }

    fn gates(&mut self, state: &State) -> fmt::Result {
        let gates: Vec<(&Route, GateSnapshot)> =
            state.routes.iter().filter_map(|route| Some((&**route, route.admission.as_ref()?.gate()?))).collect();
        if gates.is_empty() {
            return Ok(());
        }
        let each = |read: fn(&GateSnapshot) -> f64| {
            gates.iter().map(move |(route, gate)| ([("route", name(route))], read(gate)))
        };
        let name_and_help = ("mainstay_concurrency_limit", "Requests that may be in at once.");
        self.gauge(name_and_help, None, each(|gate| f64::from(gate.limit)))?;
        let name_and_help = ("mainstay_concurrency", "Requests that are in.");
        self.gauge(name_and_help, None, each(|gate| f64::from(gate.in_flight)))?;
        self.gauge(("mainstay_queue_length", "Requests that wait."), None, each(|gate| f64::from(gate.waiting)))?;
        let bases = gates.iter().filter_map(|(route, gate)| {
            Some(([("route", name(route))], gate.base.filter(|_base| gate.is_adaptive)?.as_secs_f64()))
        });
        let help = "What the adaptive limit compares latencies with: the median when little is going on.";
        self.gauge(("mainstay_adaptive_base", help), Some(&Unit::Seconds), bases)?;
        let waits = gates.iter().map(|(route, _gate)| {
            let read = |read: &dyn Fn(&Histogram) -> u64| route.shards.sum(|counters| read(&counters.admission.waited));
            ([("route", name(route))], Durations::sum(read))
        });
        self.durations(("mainstay_queue_wait", "How long those waited who were let in from the queue."), waits)
    }
}

fn name(route: &Route) -> &str {
    &route.spec.name
}

fn limits(route: &Route) -> bool {
    route.spec.admission.has_memory() || route.spec.admission.deadline.is_some()
}

/// The classes that requests of the route may be of.
fn classes(route: &Route) -> &'static [Criticality] {
    if route.spec.admission.criticality.is_some() { &Criticality::ALL } else { &[Criticality::Normal] }
}

/// Whether the settings have what fires.
fn is_possible(route: &Route, reason: Reason) -> bool {
    let settings = &route.spec.admission;
    let has_queue = settings.queue.size > 0;
    match reason {
        Reason::DeadlineExpired => settings.deadline.is_some() || has_queue,
        Reason::RateLimited => !settings.rate_limits.is_empty(),
        Reason::BulkheadFull => settings.bulkhead.is_some(),
        Reason::Overloaded => settings.adaptive.is_some(),
        Reason::QueueTimeout => has_queue,
        Reason::Displaced => has_queue && settings.criticality.is_some(),
    }
}

fn key_word(key: &RateKey) -> &str {
    match key {
        RateKey::All => "all",
        RateKey::Client => "client",
        RateKey::Path => "path",
        RateKey::Header(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mainstay_core::time::Moment;
    use mainstay_gateway::spec::{self, Admission, Bulkhead};
    use mainstay_gateway::state::{Route, State};

    use super::super::super::{Facts, Format, render};
    use crate::admin::sample_state::sample;

    #[test]
    fn only_limits_that_are_there_are_told_of() {
        let plain = render(sample(), Facts::default(), Format::OpenMetrics).expect("text");
        assert!(!plain.contains("mainstay_admitted") && !plain.contains("mainstay_concurrency"));
        let state = sample();
        let admission = Admission { bulkhead: Some(Bulkhead { concurrency: 7 }), ..Admission::default() };
        let route = spec::Route { admission, ..state.routes[0].spec.clone() };
        let route = Route::new(route, 2, None, Moment::ZERO);
        route.shards.of(0).admission.refused[2][1].add(5);
        let state = State {
            telemetry: Arc::default(),
            generation: 1,
            applied_at: state.applied_at,
            listeners: Vec::new(),
            databases: Vec::new(),
            routes: vec![Arc::new(route)],
            services: Vec::new(),
            resolver: spec::Resolver::default(),
            cells: None,
            cache: None,
            sessions: None,
        };
        let text = render(Arc::new(state), Facts::default(), Format::OpenMetrics).expect("text");
        for line in [
            "mainstay_refused_total{route=\"default\",reason=\"bulkhead-full\",criticality=\"normal\"} 5",
            "mainstay_admitted_total{route=\"default\",criticality=\"normal\"} 0",
            "mainstay_concurrency_limit{route=\"default\"} 7.0",
        ] {
            assert!(text.lines().any(|given| given == line), "{line}\n{text}");
        }
        assert!(!text.contains("rate-limited") && !text.contains("critical\""));
    }
}
