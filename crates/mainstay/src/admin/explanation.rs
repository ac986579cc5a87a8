//! What `/api/v1/requests/ID` answers; `mainstay explain` reads the same types.

use std::time::Duration;

use mainstay_core::balance::Policy;
use mainstay_core::retry::Refusal;
use mainstay_core::route::Miss;
use mainstay_gateway::explain::{self, Copied, Next, RouteVerdict, Session, Standing, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::timestamp::rfc3339;

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Requests {
    /// Every request with the id, the newest first: ids that trusted proxies choose may occur more than once.
    pub requests: Vec<Explained>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    /// Its id, as in `x-request-id`.
    pub id: String,
    /// When it began.
    pub time: String,
    /// From its first byte to its end.
    pub duration_ms: f64,
    /// The id of the trace that it carried, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The worker that served it.
    pub worker: u64,
    /// The generation of the configuration by which it was served.
    pub generation: u64,
    /// The client's address.
    pub client: String,
    /// The listener's name.
    pub listener: String,
    /// Absent if the head was refused.
    pub method: Option<String>,
    /// Without port.
    pub host: Option<String>,
    /// Without query.
    pub path: Option<String>,
    /// Whether method, host or path were too long to be remembered whole.
    pub cut: bool,
    /// `passed`, or what kept the request from being routed.
    pub admission: String,
    /// The status that the client got; 0 if none.
    pub status: u16,
    /// The gateway's own reason, as in `x-mainstay-error`.
    pub error: Option<String>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// The route that took it.
    pub route: Option<String>,
    /// The service that it leads to.
    pub service: Option<String>,
    /// How the service spreads requests.
    pub balance: Option<String>,
    /// What became of the copy for the route's mirror, if it has one.
    pub mirror: Option<String>,
    /// What the client got in place of an error: `stale`, `service`, `static` or `empty`.
    #[serde(default)]
    pub fallback: Option<String>,
    /// What the response cache had: `hit`, `stale`, `validated`, `miss`, `coalesced` or `bypass`.
    #[serde(default)]
    pub cache: Option<String>,
    /// The cell of the account, if the route leads to cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// What became of the session: `new`, `kept`, `moved` or `ignored`; absent if the service has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Whom the request belonged to, by the hash of its name, if the route asks for tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The tenant's partition, such as `3/4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// The endpoints that the tenant may use, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Vec<String>>,
    /// The routes that were looked at, most specific first, up to the one that took the request.
    pub routes: Vec<RouteLooked>,
    /// The attempts, one after another.
    pub attempts: Vec<Attempt>,
    /// The choices of an endpoint: one before each attempt, and one more if nobody was left to choose.
    pub choices: Vec<Choice>,
}

/// A route that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteLooked {
    /// Its name.
    pub route: String,
    /// `taken`, or the part of its match that the request failed: `host`, `path`, `method` or `headers`.
    pub verdict: String,
}

/// An attempt at an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// The endpoint's name.
    pub endpoint: String,
    /// When it began, after the begin of the request.
    pub start_ms: f64,
    /// Until the head of the response, or the failure.
    pub duration_ms: f64,
    /// What came of it, as in the access log.
    pub outcome: String,
    /// The status of the endpoint's answer.
    pub status: Option<u16>,
    /// On a connection that had carried a request before.
    pub reused: bool,
    /// What followed: `end`, `retry`, or `no-retry`.
    pub then: String,
    /// With `no-retry`, why.
    pub no_retry: Option<String>,
    /// With `retry`, the wait before it.
    pub backoff_ms: Option<f64>,
}

/// One choice of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    /// Every endpoint of the service.
    pub endpoints: Vec<Considered>,
    /// Endpoints that are not listed, because there are so many.
    pub left_out: u64,
}

/// An endpoint at a choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Considered {
    /// Its name.
    pub endpoint: String,
    /// What was known of it: `up`, `spare`, `other-zone`, `guarded`, `unknown`, `down`, `ejected`, `unresolved` or `draining`.
    pub state: String,
    /// Why it was not well; empty if it was.
    pub reason: String,
    /// `chosen`, or why not: `not-eligible`, `already-tried`, `more-loaded`, `not-drawn` or `outside-shard`.
    pub verdict: String,
    /// Requests in flight at it, if the balancer compared them.
    pub in_flight: Option<u64>,
    /// Percent of its weight that it got.
    #[serde(default)]
    pub weight_percent: f64,
}

/// The answer about these requests.
pub fn document(explanations: &[explain::Explanation]) -> Requests {
    Requests { requests: explanations.iter().map(explained).collect() }
}

fn explained(it: &explain::Explanation) -> Explained {
    let asked = |read: fn(&explain::Asked) -> &String| it.asked.as_ref().map(|asked| read(asked).clone());
    let target = it.target.as_ref();
    let tenant = target.and_then(|target| target.tenant.as_ref());
    Explained {
        id: it.id.clone(),
        time: rfc3339(it.started_at),
        duration_ms: millis(it.duration),
        trace_id: it.trace_id.clone(),
        worker: it.worker as u64,
        generation: it.generation,
        client: it.client.clone(),
        listener: it.listener.clone(),
        method: asked(|asked| &asked.method),
        host: asked(|asked| &asked.host),
        path: asked(|asked| &asked.path),
        cut: it.asked.as_ref().is_some_and(|asked| asked.is_cut),
        admission: admission(it),
        status: it.status,
        error: if it.client_gone { Some("client-gone".to_owned()) } else { it.error.map(str::to_owned) },
        bytes_in: it.bytes_in,
        bytes_out: it.bytes_out,
        route: target.map(|target| target.route.clone()),
        service: target.map(|target| target.service.clone()),
        balance: target.map(|target| balance(target.balance).to_owned()),
        mirror: target.and_then(mirror),
        fallback: target.and_then(|target| target.fallback).map(str::to_owned),
        cache: target.and_then(|target| target.cache).map(str::to_owned),
        cell: target.and_then(|target| target.cell.clone()),
        session: target.map(|target| target.session).filter(|it| *it != Session::Off).map(|it| it.word().to_owned()),
        tenant: tenant.map(|tenant| format!("{:016x}", tenant.hash)),
        partition: tenant.and_then(|tenant| tenant.partition).map(|(number, of)| format!("{number}/{of}")),
        shard: tenant.and_then(|tenant| tenant.shard.clone()),
        routes: it.routes.iter().map(looked).collect(),
        attempts: it.choices.iter().filter_map(|choice| attempt(choice, it)).collect(),
        choices: it.choices.iter().map(choice).collect(),
    }
}

/// What stood before the first attempt: a head that was refused, a listener that only redirects, a limit of the route.
fn admission(it: &explain::Explanation) -> String {
    match (&it.asked, it.error) {
        (None, Some(reason)) => format!("rejected: {reason}"),
        (None, None) => "rejected".to_owned(),
        (Some(_), Some("https-required")) => "redirected: https-required".to_owned(),
        (Some(_), _) => limits(&it.admitted),
    }
}

fn limits(it: &explain::Admitted) -> String {
    let class = it.class.map_or_else(String::new, |class| format!(", {}", class.word()));
    let waited =
        if it.waited.is_zero() { String::new() } else { format!(", after {:.1} ms in the queue", millis(it.waited)) };
    match it.refused {
        None => format!("passed{class}{waited}"),
        Some((reason, 0)) => format!("rejected: {}{class}{waited}", reason.word()),
        Some((reason, seconds)) => {
            format!("rejected: {}{class}{waited}; told to come again after {seconds} s", reason.word())
        }
    }
}

fn mirror(target: &explain::Target) -> Option<String> {
    let to = target.mirror.as_ref()?;
    Some(match target.copied {
        Copied::No => format!("not copied to {to}: not in its share, or not to be copied"),
        Copied::Sent => format!("copied to {to}"),
        Copied::Busy => format!("not copied to {to}: `max_in_flight` copies were under way"),
        Copied::Waits | Copied::Body => format!("not copied to {to}: the body was too large or not complete"),
    })
}

fn balance(policy: Policy) -> &'static str {
    match policy {
        Policy::RoundRobin => "round-robin",
        Policy::Random => "random",
        Policy::LeastRequest => "least-request",
        Policy::PeakEwma => "peak-ewma",
        Policy::Hash => "hash",
    }
}

fn looked(it: &explain::RouteLooked) -> RouteLooked {
    let verdict = match it.verdict {
        RouteVerdict::Taken => "taken",
        RouteVerdict::Missed(Miss::Host) => "host",
        RouteVerdict::Missed(Miss::Path) => "path",
        RouteVerdict::Missed(Miss::Method) => "method",
        RouteVerdict::MissedHeaders => "headers",
    };
    RouteLooked { route: it.name.clone(), verdict: verdict.to_owned() }
}

fn attempt(choice: &explain::Choice, it: &explain::Explanation) -> Option<Attempt> {
    let attempt = choice.attempt.as_ref()?;
    let (then, no_retry, backoff) = match choice.next {
        Next::End => ("end", None, None),
        Next::Retry(wait) => ("retry", None, Some(millis(wait))),
        Next::Refused(refusal) => ("no-retry", Some(self::refusal(refusal, it)), None),
        Next::Deadline => ("no-retry", Some("the request's timeout would be over before it".to_owned()), None),
        Next::Quarantined => (
            "no-retry",
            Some("such requests have reset connections at several endpoints (quarantine)".to_owned()),
            None,
        ),
        Next::Hedge => ("hedge", None, None),
        Next::Budget => ("no-retry", Some("the retry budget is used up".to_owned()), None),
    };
    Some(Attempt {
        endpoint: attempt.endpoint.clone(),
        start_ms: millis(attempt.start),
        duration_ms: millis(attempt.duration),
        outcome: attempt.outcome.to_owned(),
        status: attempt.status,
        reused: attempt.reused,
        then: then.to_owned(),
        no_retry,
        backoff_ms: backoff,
    })
}

fn refusal(refusal: Refusal, it: &explain::Explanation) -> String {
    let most = it.target.as_ref().map_or(0, |target| target.attempts_max);
    match refusal {
        Refusal::Answered => "the client has seen a part of the response".to_owned(),
        Refusal::RetriedUpstream => "the proxy in front retries it (x-mainstay-attempt)".to_owned(),
        Refusal::Attempts if most == 1 => "the route allows one attempt".to_owned(),
        Refusal::Attempts => format!("the route allows {most} attempts"),
        Refusal::Failure => "the route does not retry such failures".to_owned(),
        Refusal::NotIdempotent => "the request is not idempotent, and the endpoint may have acted on it".to_owned(),
        Refusal::Pushback => "the endpoint asked not to be asked again (grpc-retry-pushback-ms)".to_owned(),
        Refusal::Told => "the endpoint said that no other attempt may follow (x-mainstay-no-retry)".to_owned(),
        Refusal::TooLong => "the endpoint asked for a longer wait than the route allows (retry-after)".to_owned(),
        Refusal::NotReplayable => "the body was too large to be kept for another attempt".to_owned(),
    }
}

fn choice(it: &explain::Choice) -> Choice {
    Choice { endpoints: it.endpoints.iter().map(considered).collect(), left_out: it.left_out as u64 }
}

fn considered(it: &explain::Considered) -> Considered {
    let state = match it.standing {
        Standing::Draining => "draining",
        Standing::Unresolved => "unresolved",
        Standing::Ejected => "ejected",
        Standing::Down => "down",
        Standing::Unknown => "unknown",
        Standing::Spare => "spare",
        Standing::Degraded => "degraded",
        Standing::OtherZone => "other-zone",
        Standing::Guarded => "guarded",
        Standing::Up => "up",
    };
    let (verdict, in_flight) = match it.verdict {
        Verdict::Chosen(load) => ("chosen", load),
        Verdict::NotEligible => ("not-eligible", None),
        Verdict::AlreadyTried => ("already-tried", None),
        Verdict::BreakerOpen => ("breaker-open", None),
        Verdict::MoreLoaded(load) => ("more-loaded", Some(load)),
        Verdict::NotDrawn => ("not-drawn", None),
        Verdict::OutsideShard => ("outside-shard", None),
    };
    Considered {
        endpoint: it.name.clone(),
        state: state.to_owned(),
        reason: it.reason.clone(),
        verdict: verdict.to_owned(),
        in_flight: in_flight.map(u64::from),
        weight_percent: f64::from(it.share.as_permille()) / 10.0,
    }
}

/// Milliseconds with three decimals, as in the access log.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
