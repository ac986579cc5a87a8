//! From a record to an explanation: places become names, and what was not noted is worked out.

use std::time::SystemTime;

use mainstay_core::fallback::Form;
use mainstay_core::route::{self, Request};
use mainstay_core::time::Moment;

use super::ring::{Record, Scene};
use super::trace::Step;
use super::view::View;
use super::{
    Admitted, Asked, Attempt, Choice, Considered, Explanation, RouteLooked, RouteVerdict, Target, Tenant, Verdict,
};
use crate::http::{record, respond};
use crate::state::{Route, Service, State};
use crate::worker::shard;

/// Endpoints that one choice lists, at most.
pub(super) const ENDPOINTS_MAX: usize = 256;
/// Routes that are listed, at most.
const ROUTES_MAX: usize = 256;

/// The present, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present {
    pub(crate) moment: Moment,
    pub(crate) time: SystemTime,
}

/// Explains the request of a record. `None` for one that was never written.
pub(super) fn tell(record: &Record, worker: usize, present: Present) -> Option<Explanation> {
    let Scene(state) = &**record.scene.as_ref()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let route = record.route.and_then(|number| state.routes.get(number));
    let cells = route.and_then(|route| route.spec.cells.as_ref());
    let cell = cells.and_then(|cells| cells.choices.get(usize::from(record.cell?)));
    let service = route.map(|route| cell.map_or(&route.spec.service, |(_cell, service)| service));
    let service = service.and_then(|name| state.services.iter().find(|it| it.spec.name == *name));
    let fallback = route.and_then(|route| route.spec.fallback.as_ref()?.service.as_ref());
    let other = fallback.and_then(|name| state.services.iter().find(|it| it.spec.name == *name)).map(AsRef::as_ref);
    let asked = record.has_head.then(|| Asked {
        method: text(record.method.get()),
        host: text(record.host.get()),
        // As routes are matched: `OPTIONS *` counts as `/`.
        path: match record.path.get() {
            b"" | b"*" => "/".to_owned(),
            path => text(path),
        },
        is_cut: record.method.is_cut || record.host.is_cut || record.path.is_cut,
    });
    let shard = service.and_then(|service| Some((record.tenant?, shard::of(&service.spec)?)));
    let shard = shard.map(|(tenant, mut shards)| (shards.partition(tenant), shards.of(tenant).to_vec()));
    let listener = state.listeners.get(record.listener).map_or("", |listener| &listener.spec.name);
    // What the gateway answers without looking for a route (a redirect to https, say) has none to tell of.
    let was_routed = record.route.is_some() || record.ending.error == Some(respond::NO_ROUTE.reason);
    let target = route.zip(service).map(|(route, service)| Target {
        route: route.spec.name.clone(),
        service: service.spec.name.clone(),
        balance: service.spec.balance.policy,
        attempts_max: route.spec.retry.attempts,
        mirror: route.spec.mirror.as_ref().map(|mirror| mirror.service.clone()),
        copied: record.copied,
        fallback: record.fallback.map(Form::word),
        cache: record.cache,
        session: record.session,
        cell: cell.map(|(cell, _service)| cell.clone()),
        tenant: record.tenant.map(|hash| tenant(service, hash, &shard)),
    });
    Some(Explanation {
        id: text(record.id.get()),
        trace_id: trace_id(record),
        worker,
        generation: state.generation,
        started_at: present.time.checked_sub(present.moment.since(record.started)).unwrap_or(SystemTime::UNIX_EPOCH),
        began: record.started,
        duration: record.duration,
        client: text(record.client.get()),
        listener: listener.to_owned(),
        routes: asked
            .as_ref()
            .filter(|_asked| was_routed)
            .map(|asked| routes(state, listener, asked, record.route))
            .unwrap_or_default(),
        asked,
        admitted: Admitted {
            class: route.and_then(|route| route.spec.admission.criticality.as_ref()).map(|_by| record.admission.class),
            waited: record.admission.waited,
            refused: record.admission.refused.map(|reason| (reason, record.admission.retry_after)),
        },
        choices: service.map(|service| choices(service, other, record, &shard)).unwrap_or_default(),
        target,
        status: record.ending.status,
        error: record.ending.error,
        client_gone: record.ending.client_gone,
        bytes_in: record.bytes.0,
        bytes_out: record.bytes.1,
    })
}

/// The id of the trace, if the request carried one.
fn trace_id(record: &Record) -> Option<String> {
    let [high, low] = record.trace_id;
    (high | low != 0).then(|| format!("{high:016x}{low:016x}"))
}

/// The routes up to the one that took the request. Headers are not remembered, but where all else fits, they did not.
fn routes(state: &State, listener: &str, asked: &Asked, taken: Option<usize>) -> Vec<RouteLooked> {
    let serves = |route: &&std::sync::Arc<Route>| route.spec.listeners.iter().any(|name| name == listener);
    let routes: Vec<&Route> = state.routes.iter().filter(serves).map(AsRef::as_ref).collect();
    let taken = taken.and_then(|number| state.routes.get(number)).map(|route| route.spec.name.as_str());
    let matches: Vec<&route::Match> = routes.iter().map(|route| &route.spec.matches).collect();
    let host = asked.host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let request = Request { host, path: &asked.path, method: &asked.method };
    let mut looked = Vec::new();
    for index in route::by_precedence(&matches).into_iter().take(ROUTES_MAX) {
        let name = &routes[index].spec.name;
        let verdict = match route::miss(matches[index], request) {
            _ if taken == Some(name) => RouteVerdict::Taken,
            Some(miss) => RouteVerdict::Missed(miss),
            None => RouteVerdict::MissedHeaders,
        };
        looked.push(RouteLooked { name: name.clone(), verdict });
        if verdict == RouteVerdict::Taken {
            break;
        }
    }
    looked
}

/// The tenant's partition, if it has one, and its endpoints.
type Shard = Option<(Option<(usize, usize)>, Vec<usize>)>;

fn tenant(service: &Service, hash: u64, shard: &Shard) -> Tenant {
    let names = |(_partition, own): &(_, Vec<usize>)| {
        let own = own.iter().take(ENDPOINTS_MAX).filter_map(|index| service.endpoints.get(*index));
        own.map(|endpoint| endpoint.name.clone()).collect()
    };
    Tenant {
        hash,
        partition: shard.as_ref().and_then(|(partition, _own)| partition.map(|(number, of)| (number + 1, of))),
        shard: shard.as_ref().map(names),
    }
}

/// `other` is the service that the route falls back on.
fn choices(service: &Service, other: Option<&Service>, record: &Record, shard: &Shard) -> Vec<Choice> {
    let mut tried = Vec::new();
    let mut choices = Vec::new();
    for step in record.trace.steps() {
        let chosen = step.attempt.map(|attempt| attempt.endpoint);
        let (service, shard) = match other {
            Some(other) if step.attempt.is_some_and(|attempt| attempt.elsewhere) => {
                tried.clear();
                (other, &None)
            }
            Some(_) | None => (service, shard),
        };
        let (endpoints, left_out) = match &step.view {
            Some(view) => considered(service, view, step, (chosen, &tried), shard),
            None => (Vec::new(), 0),
        };
        let attempt = step.attempt.map(|attempt| self::attempt(service, step, &attempt, record.started));
        choices.push(Choice { endpoints, left_out, attempt, next: step.next });
        tried.extend(chosen);
    }
    choices
}

fn considered(
    service: &Service,
    view: &View,
    step: &Step,
    (chosen, tried): (Option<usize>, &[usize]),
    shard: &Shard,
) -> (Vec<Considered>, usize) {
    let is_outside = |index: usize| shard.as_ref().is_some_and(|(_partition, own)| !own.contains(&index));
    let verdict = |index: usize, eligible: bool| {
        let load = step.drawn.load(index);
        match (chosen == Some(index), eligible, load) {
            (true, _, load) => Verdict::Chosen(load),
            (false, _, _) if is_outside(index) => Verdict::OutsideShard,
            (false, false, _) => Verdict::NotEligible,
            (false, true, _) if tried.contains(&index) => Verdict::AlreadyTried,
            (false, true, _) if step.refused.contains(&index) => Verdict::BreakerOpen,
            (false, true, Some(load)) => Verdict::MoreLoaded(load),
            (false, true, None) => Verdict::NotDrawn,
        }
    };
    let all = view.endpoints().iter().zip(&service.endpoints).enumerate();
    let told = all.map(|(index, (seen, endpoint))| Considered {
        name: endpoint.name.clone(),
        standing: seen.standing,
        reason: view.reason(index).to_owned(),
        verdict: verdict(index, seen.eligible),
        share: seen.share,
    });
    (told.take(ENDPOINTS_MAX).collect(), view.endpoints().len().saturating_sub(ENDPOINTS_MAX))
}

fn attempt(service: &Service, step: &Step, attempt: &record::Attempt, began: Moment) -> Attempt {
    Attempt {
        endpoint: service.endpoints.get(attempt.endpoint).map_or_else(String::new, |endpoint| endpoint.name.clone()),
        start: step.started.since(began),
        duration: attempt.duration,
        outcome: attempt.outcome.word(),
        status: attempt.outcome.status(),
        reused: attempt.reused,
    }
}
