//! The attempts that one request gets: which endpoint is asked, whether another one is asked after it, and when.

use std::cell::RefCell;
use std::time::Duration;

use mainstay_core::balance::Wanted;
use mainstay_core::grpc::Status;
use mainstay_core::retry::Failure;

use super::attempt::Failed;
use super::caching;
use super::connection::Next;
use super::exchange::{Exchange, Run};
use super::grpc;
use super::hedge::{self, Made};
use super::record::{Attempt, Outcome};
use super::retrying;
use super::{quarantine, respond, sticky};
use crate::explain::trace::Drawn;
use crate::fallback;
use crate::mirror;
use crate::state::Permit;
use crate::stream::Stream;
use crate::worker::table::{Service, raise};

/// What a client is told that is sent away while the service comes back.
const RESTARTING: respond::OwnError = respond::OwnError { status: 503, reason: "restart-ramp" };

/// Attempts until one is answered or none is left, if the route's circuit breaker lets any be made.
pub(crate) async fn run(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, key: Option<u64>) -> Next {
    if let Some(wait) = restarting(run) {
        exchange.retry_after = Some(wait);
        return give_up(run, client, exchange, RESTARTING).await;
    }
    let entered = run.route.state.breaker.as_ref().map(|breaker| breaker.admit(run.worker.now())).transpose();
    match entered {
        Ok(permit) => attempts(run, client, exchange, key, permit).await,
        Err(wait) => {
            exchange.retry_after = Some(wait);
            give_up(run, client, exchange, respond::BREAKER_OPEN).await
        }
    }
}

/// The attempts of a request whose route has given it a `permit`, unless it has no circuit breaker.
async fn attempts(
    run: &Run<'_>,
    client: &mut Stream,
    exchange: &mut Exchange,
    key: Option<u64>,
    permit: Option<Permit<'_>>,
) -> Next {
    let mut last = exchange.isolation.nobody();
    // Where one idle connection was stale, so may be the others: the next attempt opens a new one.
    let mut fresh = false;
    loop {
        // A request may run out of its time between attempts.
        if run.worker.now() >= run.deadline {
            return give_up(run, client, exchange, respond::TIMEOUT).await;
        }
        let Some(chosen) = choose(run, exchange, key, fresh) else {
            if exchange.attempts.is_empty() {
                last = nobody(run, exchange);
            } else {
                exchange.no_retry = Some(retrying::RETRIED);
                settle(run, permit, true);
            }
            return give_up(run, client, exchange, last).await;
        };
        exchange.trace.started(run.worker.now());
        let Made { index, leave, started, result } = hedge::attempt(run, chosen, fresh, client, exchange).await;
        let duration = run.worker.now().since(started);
        mirror::body(run, exchange, false);
        let failed = match result {
            Ok(answered) => {
                let outcome = Outcome::Answered(exchange.response.status);
                note(exchange, index, outcome, duration, answered.reused());
                grpc::read_head(exchange);
                run.worker.endpoint_answered(&run.route.service, index, exchange);
                settle(run, leave, says_failure(exchange));
                if let Some(failure) = retrying::after_answer(run, index, exchange).await {
                    last = respond::after(failure);
                    continue;
                }
                settle(run, permit, says_failure(exchange));
                return caching::settle::answered(run, index, answered, client, exchange).await;
            }
            Err(failed) => failed,
        };
        let outcome = failed.outcome(run.is_cut);
        note(exchange, index, outcome, duration, failed.reused());
        match after_failure(run, index, leave, failed, exchange).await {
            Then::Another(failure) => {
                last = respond::after(failure);
                fresh |= failure == Failure::StaleConnection;
            }
            Then::Tell(error) => {
                // Nothing can be said of the service if the client's own body was at fault.
                if !matches!(outcome, Outcome::Abandoned) {
                    settle(run, permit, true);
                }
                return give_up(run, client, exchange, error).await;
            }
            Then::Refuse(error) => return refuse(run, client, exchange, error).await,
            Then::Reset => {
                return respond::abandoned(run, exchange);
            }
        }
    }
}

fn note(exchange: &mut Exchange, endpoint: usize, outcome: Outcome, duration: Duration, reused: bool) {
    exchange.attempts.push(Attempt { endpoint, outcome, duration, reused, elsewhere: false });
}

/// What follows a failed attempt.
enum Then {
    /// Another one.
    Another(Failure),
    /// The client is told this.
    Tell(respond::OwnError),
    /// The client is told this, and nothing is answered in its place: the request itself is at fault.
    Refuse(respond::OwnError),
    /// Nobody waits for an answer.
    Reset,
}

/// Counts a failed attempt at endpoint `index` and decides what follows.
async fn after_failure(
    run: &Run<'_>,
    index: usize,
    leave: Option<Permit<'_>>,
    failed: Failed,
    exchange: &mut Exchange,
) -> Then {
    match failed {
        Failed::Endpoint { failure, sent, .. } => {
            run.worker.endpoint_failed(&run.route.service, index, failure);
            match failure {
                // Nothing is wrong with the endpoint: it was about to close the connection, or it is busy.
                Failure::StaleConnection | Failure::Refused => drop(leave),
                _other => settle(run, leave, true),
            }
            exchange.tried.push(index);
            if let Some(held) = quarantine::after_failure(run, exchange, index, failure) {
                return Then::Refuse(held);
            }
            if retrying::after_failure(run, exchange, failure, sent).await {
                Then::Another(failure)
            } else {
                Then::Tell(respond::after(failure))
            }
        }
        Failed::Deadline if run.is_cut => Then::Tell(respond::TIMEOUT),
        Failed::Deadline => {
            run.worker.endpoint_failed(&run.route.service, index, Failure::Timeout);
            settle(run, leave, true);
            Then::Tell(respond::TIMEOUT)
        }
        Failed::Body(error) => Then::Tell(error),
        Failed::ClientGone => Then::Reset,
    }
}

/// Tells a circuit breaker how what it let through ended.
fn settle(run: &Run<'_>, permit: Option<Permit<'_>>, failed: bool) {
    if let Some(permit) = permit {
        permit.settle(run.worker.now(), run.worker.index, failed);
    }
}

/// Tells circuit breakers that what had counted as a success has failed after all.
pub(crate) fn belie(run: &Run<'_>, index: usize) {
    let of_route = run.route.state.breaker.as_deref();
    for breaker in of_route.into_iter().chain(run.route.service.breaker(index)) {
        breaker.belie(run.worker.now());
    }
}

/// Whether what the endpoint has answered says that it does not work. The trailers of a gRPC call may say so later.
fn says_failure(exchange: &Exchange) -> bool {
    let said = exchange.call.and_then(|call| call.status).map(Status::http_equivalent);
    exchange.response.status >= 500 || said.is_some_and(|status| status >= 500)
}

/// An endpoint, and the leave of its circuit breaker if it has one.
pub(crate) type Chosen<'a> = (usize, Option<Permit<'a>>);

/// Chooses an endpoint for the next attempt, and notes the choice.
fn choose<'a>(run: &Run<'a>, exchange: &mut Exchange, key: Option<u64>, after_stale: bool) -> Option<Chosen<'a>> {
    let drawn = RefCell::default();
    let tried = exchange.tried.len();
    let (chosen, soonest) = select(run, exchange, key, after_stale, &drawn);
    exchange.trace.choice(run.route.service.view(), drawn.into_inner(), &exchange.tried[tried..]);
    exchange.tried.truncate(tried);
    if chosen.is_none() {
        exchange.retry_after = soonest;
    }
    chosen
}

/// Selects an endpoint that was not tried yet and whose circuit breaker lets an attempt be made. After a stale connection one
/// that was tried will do if there is no other: nothing was wrong with the endpoint. Endpoints whose circuit breakers refuse
/// are added to those that were tried; the soonest time at which one of them lets something through comes with the answer.
pub(crate) fn select<'a>(
    run: &Run<'a>,
    exchange: &mut Exchange,
    key: Option<u64>,
    after_stale: bool,
    drawn: &RefCell<Drawn>,
) -> (Option<Chosen<'a>>, Option<Duration>) {
    let service: &'a Service = &run.route.service;
    let now = run.worker.now();
    let when_empty = run.route.state.spec.when_empty.unwrap_or(service.state.spec.when_empty);
    let pick = |excluded: &[usize]| {
        let wanted = Wanted { key, excluded, within: exchange.isolation.within() };
        run.worker.with_rng(|rng| service.pick_for(when_empty, &wanted, now, rng, drawn))
    };
    let tried = exchange.tried.len();
    let mut soonest: Option<Duration> = None;
    // Each turn of the loop adds an endpoint to those that are excluded.
    loop {
        let (all, refused) = (&exchange.tried, &exchange.tried[tried..]);
        let bound = sticky::endpoint(exchange, if after_stale { refused } else { all });
        if bound.is_some() {
            service.refresh(now);
        }
        let picked = bound.or_else(|| pick(all)).or_else(|| if after_stale { pick(refused) } else { None });
        let Some(index) = picked else { return (None, soonest) };
        match service.breaker(index).map(|breaker| breaker.admit(now)).transpose() {
            Ok(permit) => return (Some((index, permit)), soonest),
            Err(wait) => {
                soonest = Some(soonest.map_or(wait, |other| other.min(wait)));
                exchange.tried.push(index);
                drawn.take();
            }
        }
    }
}

/// Whether the request is one of those that are sent away while the service comes back from an outage; and after how long its
/// client may try again.
fn restarting(run: &Run<'_>) -> Option<Duration> {
    let service = &run.route.service.state;
    let restart = service.restart.as_ref().filter(|restart| restart.is_at_work())?;
    // As long as nobody can be asked, the outage goes on.
    if !service.eligible().contains(&true) {
        return None;
    }
    restart.let_through(run.worker.now()).err()
}

/// What a client is told when no endpoint could be asked.
fn nobody(run: &Run<'_>, exchange: &mut Exchange) -> respond::OwnError {
    // Circuit breakers say when they let something through again.
    if exchange.retry_after.is_some() {
        return respond::BREAKER_OPEN;
    }
    raise(&run.route.service.state.empty);
    if let Some(restart) = &run.route.service.state.restart {
        restart.empty(run.worker.now());
    }
    exchange.retry_after = Some(respond::RETRY_NO_ENDPOINT);
    exchange.isolation.nobody()
}

/// Answers what it can in place of an answer of an endpoint.
pub(crate) async fn give_up(
    run: &Run<'_>,
    client: &mut Stream,
    exchange: &mut Exchange,
    error: respond::OwnError,
) -> Next {
    if exchange.cache.plan.is_some()
        && let Some(next) = Box::pin(caching::settle::failed(run, client, exchange)).await
    {
        return next;
    }
    if let Some(next) = fallback::instead(run, client, exchange, error).await {
        return next;
    }
    refuse(run, client, exchange, error).await
}

/// Answers with `error`, from which no fallback is wanted.
async fn refuse(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, error: respond::OwnError) -> Next {
    respond::own(run.worker, run.listener, Some(run.route), client, run.slot, exchange, error).await
}
