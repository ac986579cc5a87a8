//! Whether a failed attempt is followed by another one, and what those in front are told if it is not.

use std::time::Duration;

use mainstay_core::breaker::Phase;
use mainstay_core::grpc::Status;
use mainstay_core::http_date;
use mainstay_core::retry::{self, Failure, Refusal, Situation, Verdict};

use super::attempt::Sent;
use super::exchange::{Exchange, Run};
use super::grpc::Call;
use super::record::Outcome;
use crate::explain::trace;
use crate::http1::field::Name;
use crate::http1::write::{decimal, field};

/// Tells layers in front that no other attempt may follow, and why: what is in its way here is in the way of theirs.
const HEADER: &[u8] = b"x-mainstay-no-retry";
/// What other products say for the same.
const HEADERS_OF_OTHERS: [&[u8]; 2] = [b"x-envoy-overloaded", b"x-envoy-ratelimited"];

/// The value of [`HEADER`]: this layer has retried, and it was of no use.
pub(crate) const RETRIED: &str = "retried";
/// The value of [`HEADER`]: there is too much load already.
const OVERLOADED: &str = "overloaded";
/// The value of [`HEADER`]: retries have used up their budget.
const BUDGET: &str = "budget";

/// What the head of an answer says about other attempts.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// No other attempt may follow.
    told_not_to: bool,
    /// `Retry-After`.
    asked: Option<Duration>,
}

fn read(run: &Run<'_>, exchange: &Exchange) -> Said {
    let bytes = exchange.output.all();
    let value = |wanted: &[u8]| {
        let mut fields = exchange.response.fields.iter().filter(|field| field.known == Name::Other);
        fields.find(|field| field.name.get(bytes).eq_ignore_ascii_case(wanted)).map(|field| field.value.get(bytes))
    };
    let told_not_to = value(HEADER).is_some() || HEADERS_OF_OTHERS.iter().any(|name| value(name).is_some());
    Said { told_not_to, asked: value(b"retry-after").and_then(|value| retry_after(value, run.worker.seconds())) }
}

/// The line by which a response that is relayed says that no other attempt may follow; an endpoint's own line stands as it is.
pub(crate) fn mark(exchange: &Exchange) -> &'static [u8] {
    let bytes = exchange.output.all();
    let is_told = || exchange.response.fields.iter().any(|field| field.name.get(bytes).eq_ignore_ascii_case(HEADER));
    match exchange.no_retry {
        Some(_) if is_told() => b"",
        Some(BUDGET) => b"x-mainstay-no-retry: budget\r\n",
        Some(_) => b"x-mainstay-no-retry: retried\r\n",
        None => b"",
    }
}

/// Writes the same into an answer of the gateway's own. A limit that has refused the request before it was sent anywhere says
/// so, too: asking again adds to what is too much already.
pub(crate) fn write(out: &mut Vec<u8>, no_retry: Option<&str>, is_limit: bool, is_call: bool) {
    let Some(why) = no_retry.or(is_limit.then_some(OVERLOADED)) else { return };
    field(out, HEADER, why.as_bytes());
    if is_call {
        out.extend_from_slice(b"grpc-retry-pushback-ms: -1\r\n");
    }
}

/// Writes after how long a client may try again, if that is known.
pub(crate) fn write_wait(out: &mut Vec<u8>, wait: Option<Duration>) {
    let Some(wait) = wait else { return };
    out.extend_from_slice(b"retry-after: ");
    // Whole seconds, and never too early.
    decimal(out, wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    out.extend_from_slice(b"\r\n");
}

/// Reads `Retry-After`: seconds or a date (RFC 9110, section 10.2.3). What has passed already is no wait.
fn retry_after(value: &[u8], now: u64) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than anybody can count is as good as the most.
        return (!text.is_empty()).then(|| Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))));
    }
    http_date::parse(text.as_bytes(), now).map(|at| Duration::from_secs(at.saturating_sub(now)))
}

/// Why a response that says that the endpoint cannot serve is dropped for another attempt. If it is not, the client gets it.
pub(crate) async fn after_answer(run: &Run<'_>, index: usize, exchange: &mut Exchange) -> Option<Failure> {
    let failure = match (exchange.response.status, exchange.call.and_then(|call| call.status)) {
        (_, Some(Status::UNAVAILABLE)) => Failure::Unavailable,
        (status @ 500..=599, _) if run.route.state.spec.retry.on_5xx => Failure::Status(status),
        _answer => return None,
    };
    // The endpoint's own words are worth more than ours if there is nobody else to ask.
    let eligible = run.route.service.state.eligible();
    let is_new = |other: usize| other != index && !exchange.tried.contains(&other) && exchange.isolation.reaches(other);
    let may = |other: usize| run.route.service.breaker(other).is_none_or(|it| it.phase() != Phase::Open);
    if !eligible.iter().enumerate().any(|(other, is_eligible)| *is_eligible && is_new(other) && may(other)) {
        if exchange.attempts.len() > 1 {
            exchange.no_retry = Some(RETRIED);
        }
        exchange.trace.next(trace::Next::End);
        return None;
    }
    let said = read(run, exchange);
    if !decide(run, exchange, failure, Sent::Something, said).await {
        return None;
    }
    exchange.tried.push(index);
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.outcome = Outcome::Failed(failure);
    }
    Some(failure)
}

/// Whether another attempt follows one that was not answered. If so, the budget is charged and the backoff is over.
pub(crate) async fn after_failure(run: &Run<'_>, exchange: &mut Exchange, failure: Failure, sent: Sent) -> bool {
    decide(run, exchange, failure, sent, Said::default()).await
}

/// Decides whether another attempt follows, charges the budget for it and waits for as long as the backoff says.
async fn decide(run: &Run<'_>, exchange: &mut Exchange, failure: Failure, sent: Sent, said: Said) -> bool {
    let policy = &run.route.state.spec.retry;
    let made = exchange.attempts.len() as u32;
    let situation = Situation {
        failure,
        made,
        idempotent: exchange.head.is_idempotent(exchange.head_bytes()),
        replayable: sent == Sent::Nothing || exchange.up.retains || !exchange.head.framing.has_body(),
        answered: false,
        retried_upstream: run.is_trusted && exchange.head.find(Name::Attempt).is_some(),
        told_not_to: said.told_not_to,
        asked: said.asked,
    };
    let call = exchange.call.filter(|_call| failure == Failure::Unavailable);
    let refusal = match retry::refusal(policy, &situation) {
        None if call.is_some_and(Call::is_pushed_back) => Some(Refusal::Pushback),
        refusal => refusal,
    };
    if let Some(refusal) = refusal {
        if retry::speaks_for_all(policy, refusal) {
            exchange.no_retry = Some(RETRIED);
        }
        exchange.trace.next(trace::Next::Refused(refusal));
        return false;
    }
    let wait = match (retry::decide(policy, &situation), call.and_then(Call::asked_wait)) {
        (Verdict::RetryNow | Verdict::GiveUp, _) => Duration::ZERO,
        (Verdict::RetryAfterBackoff, Some(wait)) => wait,
        (Verdict::RetryAfterBackoff, None) => {
            run.worker.with_rng(|rng| retry::wait(policy, said.asked, made.saturating_sub(1), rng))
        }
    };
    let now = run.worker.now();
    if now.after(wait) >= run.deadline {
        exchange.trace.next(trace::Next::Deadline);
        return false;
    }
    if !run.worker.may_retry(&run.route.service, &run.route.purse) {
        run.route.state.shards.of(run.worker.index).budget_refusals.add(1);
        exchange.no_retry = Some(BUDGET);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = 784_111_777;
        for (value, seconds) in [
            (&b"0"[..], Some(0)),
            (b" 120 ", Some(120)),
            (b"99999999999999999999999", Some(u64::from(u32::MAX))),
            (b"Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            (b"Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            (b"", None),
            (b"-1", None),
            (b"soon", None),
            (b"\xff", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
    }
}
