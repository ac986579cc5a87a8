//! Requests that reset connections are known by a fingerprint, and kept from further endpoints.

use std::future::poll_fn;
use std::hash::Hasher;
use std::task::Poll;

use mainstay_core::quarantine::Verdict;
use mainstay_core::random;
use mainstay_core::retry::Failure;

use super::exchange::{Exchange, Run};
use super::identity;
use super::respond::OwnError;
use crate::explain::trace::Next;
use crate::http1::body::Framing;
use crate::spec::RequestKind;
use crate::state::Guard;
use crate::stream::Stream;

/// As it stands in headers, logs and metrics.
pub(crate) const REASON: &str = "quarantined";

/// Answers why the request is refused, if requests of its kind are held.
pub(crate) async fn enter(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange) -> Option<OwnError> {
    let (guard, spec) = run.route.state.guard.as_deref().zip(run.route.state.spec.quarantine.as_ref())?;
    let has_body = spec.kind.body > 0 && exchange.head.framing.has_body() && !exchange.head.expects_continue;
    if has_body {
        // What was sent of a body need not be there any more when an attempt has failed, so that it is looked at before.
        // Boxed because it is rare, as the memory of a connection's task is sized for its largest part.
        Box::pin(body_start(run, client, exchange, spec.kind.body)).await;
    } else if guard.is_quiet() {
        return None;
    }
    let fingerprint = fingerprint(guard, &spec.kind, exchange, has_body);
    exchange.isolation.fingerprint = Some(fingerprint);
    match guard.ask(run.worker.now(), fingerprint) {
        Verdict::Pass | Verdict::Try => None,
        Verdict::Hold(_rest) => Some(OwnError { status: spec.status, reason: REASON }),
    }
}

/// Waits until the first `wanted` bytes of the body are there, or all of it, or no more comes.
async fn body_start(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange, wanted: usize) {
    let wanted = match exchange.head.framing {
        Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX).min(wanted),
        Framing::None | Framing::Empty | Framing::Chunked | Framing::UntilClose => wanted,
    };
    run.slot.set(run.worker.now().after(run.http.body_timeout).min(run.deadline));
    client.acknowledge();
    let read = poll_fn(|cx| {
        while exchange.input.data().len() < wanted && exchange.input.has_room() {
            match exchange.input.poll_fill(cx, client) {
                Poll::Ready(Ok(1..)) => {}
                // What is wrong with the body shows when it is sent on.
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Pending if is_whole(exchange) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    });
    let _in_time = run.slot.within(read).await;
}

/// Whether nothing more of a body in chunks is to come.
fn is_whole(exchange: &Exchange) -> bool {
    exchange.head.framing == Framing::Chunked && exchange.input.data().ends_with(b"0\r\n\r\n")
}

/// What requests of one kind have in common. Each part is ended by a byte that stands in none of them.
fn fingerprint(guard: &Guard, kind: &RequestKind, exchange: &Exchange, with_body: bool) -> u64 {
    let bytes = exchange.head_bytes();
    let head = &exchange.head;
    let mut hasher = guard.hasher();
    let mut part = |part: &[u8]| {
        hasher.write(part);
        hasher.write_u8(0xff);
    };
    part(head.method.get(bytes));
    part(head.host.get(bytes));
    part(if kind.query { head.target.get(bytes) } else { head.path.get(bytes) });
    for name in &kind.headers {
        part(identity::header(head, bytes, name).unwrap_or_default());
    }
    if with_body {
        let body = exchange.input.data();
        part(body.get(..kind.body).unwrap_or(body));
    }
    hasher.write_u64(exchange.isolation.tenant.unwrap_or(0));
    hasher.finish()
}

/// An attempt at endpoint `index` has failed. Answers what the client is told if no other may follow for that.
pub(crate) fn after_failure(
    run: &Run<'_>,
    exchange: &mut Exchange,
    index: usize,
    failure: Failure,
) -> Option<OwnError> {
    // With a quarantine an idle connection is looked at before it is used, so that one that closes then was closed for the
    // request.
    let is_reset = matches!(failure, Failure::Reset | Failure::StaleConnection);
    let spec = run.route.state.spec.quarantine.as_ref().filter(|_spec| is_reset)?;
    if !reset(run, exchange, index) {
        return None;
    }
    exchange.trace.next(Next::Quarantined);
    Some(OwnError { status: spec.status, reason: REASON })
}

/// The endpoint at `index` reset the connection. Answers whether requests of the kind are held from now on.
pub(crate) fn reset(run: &Run<'_>, exchange: &Exchange, index: usize) -> bool {
    let state = &run.route.state;
    let Some((guard, spec)) = state.guard.as_deref().zip(state.spec.quarantine.as_ref()) else { return false };
    let Some(endpoint) = run.route.service.endpoints.get(index) else { return false };
    let fingerprint = exchange.isolation.fingerprint.unwrap_or_else(|| fingerprint(guard, &spec.kind, exchange, false));
    let held = guard.reset(run.worker.now(), fingerprint, random::hash(endpoint.state.name.as_bytes()));
    if held {
        let path = exchange.head.path.text(exchange.head_bytes());
        tracing::warn!(route = state.spec.name, path, "quarantined: such requests have reset several endpoints");
    }
    held
}

/// The request was answered to its end.
pub(crate) fn answered(run: &Run<'_>, exchange: &Exchange) {
    let Some(guard) = run.route.state.guard.as_deref().filter(|guard| !guard.is_quiet()) else { return };
    let Some(spec) = run.route.state.spec.quarantine.as_ref() else { return };
    let of_now = || fingerprint(guard, &spec.kind, exchange, false);
    guard.answered(exchange.isolation.fingerprint.unwrap_or_else(of_now));
}
