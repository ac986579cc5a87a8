//! The attempts that one request gets: which endpoint is asked, whether another one is asked after it, and when.

use std::cell::RefCell;
use std::time::Duration;

use mainstay_core::backoff;
use mainstay_core::balance::Wanted;
use mainstay_core::grpc::Status;
use mainstay_core::retry::{self, Failure, Situation, Verdict};

use super::attempt::{self, Failed, Sent};
use super::connection::Next;
use super::exchange::{Exchange, Run};
use super::grpc::{self, Call};
use super::record::{self, Attempt, Ending, Outcome};
use super::respond;
use crate::explain::trace;
use crate::fallback;
use crate::http1::field::Name;
use crate::mirror;
use crate::stream::Stream;
use crate::worker::table::raise;

/// Attempts until one is answered or none is left.
pub(crate) async fn run(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, key: Option<u64>) -> Next {
    let mut last = exchange.isolation.nobody();
    // Where one idle connection was stale, so may be the others: the next attempt opens a new one.
    let mut fresh = false;
    loop {
        // A call may arrive when its time is over already, or run out of it between attempts.
        if exchange.call.is_some() && run.worker.now() >= run.deadline {
            return give_up(run, client, exchange, respond::TIMEOUT).await;
        }
        let Some(index) = choose(run, exchange, key, fresh) else {
            if last == exchange.isolation.nobody() {
                raise(&run.route.service.state.empty);
            }
            return give_up(run, client, exchange, last).await;
        };
        let started = run.worker.now();
        exchange.trace.started(started);
        let result = attempt::run(run, index, fresh, client, exchange).await;
        let duration = run.worker.now().since(started);
        mirror::body(run, exchange, false);
        let failed = match result {
            Ok(answered) => {
                let outcome = Outcome::Answered(exchange.response.status);
                note(exchange, index, outcome, duration, answered.reused());
                grpc::read_head(exchange);
                run.worker.endpoint_answered(&run.route.service, index, exchange);
                if let Some(failure) = retry_answer(run, index, exchange).await {
                    last = respond::after(failure);
                    continue;
                }
                return fallback::or_relay(run, index, answered, client, exchange).await;
            }
            Err(failed) => failed,
        };
        match failed {
            Failed::Endpoint { failure, reused, sent } => {
                let outcome = Outcome::Failed(failure);
                note(exchange, index, outcome, duration, reused);
                run.worker.endpoint_failed(&run.route.service, index, failure);
                last = respond::after(failure);
                fresh |= failure == Failure::StaleConnection;
                exchange.tried.push(index);
                if !retry(run, exchange, failure, sent).await {
                    return give_up(run, client, exchange, last).await;
                }
            }
            Failed::Deadline => {
                let outcome = Outcome::Failed(Failure::Timeout);
                note(exchange, index, outcome, duration, false);
                run.worker.endpoint_failed(&run.route.service, index, Failure::Timeout);
                return give_up(run, client, exchange, respond::TIMEOUT).await;
            }
            Failed::Body(error) => {
                let outcome = Outcome::Abandoned;
                note(exchange, index, outcome, duration, false);
                return give_up(run, client, exchange, error).await;
            }
            Failed::ClientGone => {
                let outcome = Outcome::Abandoned;
                note(exchange, index, outcome, duration, false);
                let ending = Ending { status: 0, error: None, client_gone: true };
                record::finish(run.worker, run.listener, Some(run.route), exchange, ending, (exchange.up.bytes, 0));
                return Next::Reset;
            }
        }
    }
}

fn note(exchange: &mut Exchange, endpoint: usize, outcome: Outcome, duration: Duration, reused: bool) {
    exchange.attempts.push(Attempt { endpoint, outcome, duration, reused, elsewhere: false });
}

/// Chooses an endpoint that was not tried yet. After a stale connection one that was tried will do if there is no other:
/// nothing was wrong with the endpoint.
fn choose(run: &Run<'_>, exchange: &mut Exchange, key: Option<u64>, after_stale: bool) -> Option<usize> {
    let (service, drawn) = (&run.route.service, RefCell::default());
    let now = run.worker.now();
    let pick = |excluded: &[usize]| {
        let wanted = Wanted { key, excluded, within: exchange.isolation.within() };
        run.worker.with_rng(|rng| service.pick_for(&wanted, now, rng, &drawn))
    };
    let chosen = pick(&exchange.tried).or_else(|| if after_stale { pick(&[]) } else { None });
    exchange.trace.choice(service.view(), drawn.into_inner());
    chosen
}

async fn give_up(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, error: respond::OwnError) -> Next {
    if let Some(next) = fallback::instead(run, client, exchange, error).await {
        return next;
    }
    respond::own(run.worker, run.listener, Some(run.route), client, run.slot, exchange, error).await
}

/// Why a response that says that the endpoint cannot serve is dropped for another attempt. If it is not, the client gets it.
async fn retry_answer(run: &Run<'_>, index: usize, exchange: &mut Exchange) -> Option<Failure> {
    let failure = match (exchange.response.status, exchange.call.and_then(|call| call.status)) {
        (_, Some(Status::UNAVAILABLE)) => Failure::Unavailable,
        (status @ 500..=599, _) if run.route.state.spec.retry.on_5xx => Failure::Status(status),
        _answer => return None,
    };
    // The endpoint's own words are worth more than ours if there is nobody else to ask.
    let eligible = run.route.service.state.eligible();
    let is_new = |other: usize| other != index && !exchange.tried.contains(&other) && exchange.isolation.reaches(other);
    if !eligible.iter().enumerate().any(|(other, is_eligible)| *is_eligible && is_new(other)) {
        exchange.trace.next(trace::Next::End);
        return None;
    }
    if !retry(run, exchange, failure, Sent::Something).await {
        return None;
    }
    exchange.tried.push(index);
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.outcome = Outcome::Failed(failure);
    }
    Some(failure)
}

/// Decides whether another attempt follows, charges the budget for it and waits for as long as the backoff says.
async fn retry(run: &Run<'_>, exchange: &mut Exchange, failure: Failure, sent: Sent) -> bool {
    let policy = &run.route.state.spec.retry;
    let bytes = exchange.head_bytes();
    let made = exchange.attempts.len() as u32;
    let situation = Situation {
        failure,
        made,
        idempotent: exchange.head.is_idempotent(bytes),
        replayable: sent == Sent::Nothing || exchange.up.retains || !exchange.head.framing.has_body(),
        answered: false,
        retried_upstream: run.is_trusted && exchange.head.find(Name::Attempt).is_some(),
    };
    let wait = match retry::decide(policy, &situation) {
        Verdict::GiveUp => {
            exchange.trace.next(retry::refusal(policy, &situation).map_or(trace::Next::End, trace::Next::Refused));
            return false;
        }
        Verdict::RetryNow => Duration::ZERO,
        Verdict::RetryAfterBackoff
            if failure == Failure::Unavailable && exchange.call.is_some_and(Call::is_pushed_back) =>
        {
            exchange.trace.next(trace::Next::Refused(retry::Refusal::Pushback));
            return false;
        }
        Verdict::RetryAfterBackoff => match exchange.call.and_then(Call::asked_wait) {
            Some(wait) => wait,
            None => run.worker.with_rng(|rng| backoff::delay(&policy.backoff, made.saturating_sub(1), rng)),
        },
    };
    let now = run.worker.now();
    if now.after(wait) >= run.deadline {
        exchange.trace.next(trace::Next::Deadline);
        return false;
    }
    if !run.worker.may_retry(&run.route.service) {
        exchange.trace.next(trace::Next::Budget);
        return false;
    }
    exchange.trace.next(trace::Next::Retry(wait));
    if !wait.is_zero() {
        run.slot.set(now.after(wait));
        let _waited = run.slot.within(std::future::pending::<()>()).await;
    }
    run.route.state.shards.of(run.worker.index).retries.add(1);
    exchange.input.rewind(exchange.head.length);
    exchange.output.clear();
    true
}
