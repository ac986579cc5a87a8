//! Whether a request is let in: one pipeline for each route, asked once, before the first attempt.
//!
//! Deadline, rate, then a place: each step costs less than the one after it, and what is refused costs less than what is
//! served. The state belongs to the node and not to a worker, and outlives reloads that do not change the settings.

mod gate;
mod limit;
mod said;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_core::bulkhead::Settled;
use mainstay_core::criticality::{CLASSES, Criticality, Shares};
use mainstay_core::random::Rng;
use mainstay_core::retry::Failure;
use mainstay_core::time::Moment;

pub(crate) use self::said::{Passed, asked, passed};

pub use self::gate::Snapshot as GateSnapshot;
pub use self::limit::Snapshot as LimitSnapshot;

use self::gate::{Entered, Gate, Waiting};
use self::limit::Limit;
use crate::http::exchange::{Exchange, Run};
use crate::http::record::Outcome;
use crate::http::respond::OwnError;
use crate::spec;
use crate::state::{Counter, Histogram};
use crate::stream::{MAX_HEAD_BYTES, Stream};

/// Which limit refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its deadline had passed when it came, or while it waited.
    DeadlineExpired,
    /// The rate limit.
    RateLimited,
    /// All places of the bulkhead were taken, and all places in the queue.
    BulkheadFull,
    /// The adaptive limit was reached, and all places in the queue were taken.
    Overloaded,
    /// It waited for a place for too long.
    QueueTimeout,
    /// It gave its place in the queue to a more important one.
    Displaced,
}

/// How many reasons there are.
pub const REASONS: usize = 6;

impl Reason {
    /// All reasons.
    pub const ALL: [Self; REASONS] = [
        Self::DeadlineExpired,
        Self::RateLimited,
        Self::BulkheadFull,
        Self::Overloaded,
        Self::QueueTimeout,
        Self::Displaced,
    ];

    /// The word for it, as in `x-mainstay-error`.
    pub const fn word(self) -> &'static str {
        self.error().reason
    }

    const fn error(self) -> OwnError {
        match self {
            Self::DeadlineExpired => OwnError { status: 504, reason: "deadline-expired" },
            Self::RateLimited => OwnError { status: 429, reason: "rate-limited" },
            Self::BulkheadFull => OwnError { status: 503, reason: "bulkhead-full" },
            Self::Overloaded => OwnError { status: 503, reason: "overloaded" },
            Self::QueueTimeout => OwnError { status: 503, reason: "queue-timeout" },
            Self::Displaced => OwnError { status: 503, reason: "displaced" },
        }
    }
}

/// What a route's limits remember.
#[derive(Debug)]
pub struct Admission {
    spec: spec::Admission,
    limits: Vec<Limit>,
    gate: Option<Arc<Gate>>,
}

/// Counters of a route's admission, one set a worker.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests let in, by class.
    pub admitted: [Counter; CLASSES],
    /// Requests refused, by reason and class.
    pub refused: [[Counter; CLASSES]; REASONS],
    /// How long those waited who were let in from the queue.
    pub waited: Histogram,
}

impl Counters {
    /// All requests refused.
    pub fn refused(&self) -> u64 {
        self.refused.iter().flatten().map(Counter::get).sum()
    }
}

impl Admission {
    /// The memory for `spec`; that of `known`, if its settings are the same. `None` if there is nothing to remember.
    pub(crate) fn new(spec: &spec::Admission, known: Option<&Arc<Self>>, now: Moment) -> Option<Arc<Self>> {
        if !spec.has_memory() {
            return None;
        }
        if let Some(known) = known.filter(|known| known.spec == *spec) {
            return Some(Arc::clone(known));
        }
        // A limit whose settings are the same goes on, also if another one beside it has changed.
        let limits = spec.rate_limits.iter().map(|wanted| {
            let same = known.and_then(|known| known.limits.iter().find(|limit| limit.is_of(wanted)));
            same.map_or_else(|| Limit::new(wanted), Limit::share)
        });
        let same_gate = known.filter(|known| {
            let known = &known.spec;
            (known.bulkhead, known.adaptive, known.queue) == (spec.bulkhead, spec.adaptive, spec.queue)
        });
        let gate = same_gate.map_or_else(|| Gate::new(spec, now).map(Arc::new), |known| known.gate.clone());
        Some(Arc::new(Self { limits: limits.collect(), gate, spec: spec.clone() }))
    }

    /// The places and the queue, if requests at once are limited.
    pub fn gate(&self) -> Option<GateSnapshot> {
        self.gate.as_deref().map(Gate::snapshot)
    }

    /// The rate limits, in order.
    pub fn limits(&self) -> impl Iterator<Item = LimitSnapshot<'_>> {
        self.limits.iter().map(Limit::snapshot)
    }

    /// What this node asked of each rate limit that the cluster shares, by its place among all.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.limits.iter().enumerate().filter(|(_, limit)| limit.is_shared()).map(|(place, it)| (place, it.asked()))
    }

    /// Gives this part of every shared rate limit that is still whole to the node.
    pub(crate) fn begin(&self, part: f64) {
        for limit in self.limits.iter().filter(|limit| limit.is_shared() && limit.part() == 1.0) {
            limit.set_part(part);
        }
    }

    /// Sets how much of each shared rate limit is this node's: what `part` says of its place among all, if anything.
    pub(crate) fn allot(&self, part: impl Fn(usize) -> Option<f64>) {
        for (place, limit) in self.limits.iter().enumerate().filter(|(_, limit)| limit.is_shared()) {
            if let Some(part) = part(place) {
                limit.set_part(part);
            }
        }
    }
}

/// What is noted of a request at its admission.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Note {
    pub(crate) class: Criticality,
    /// How long it waited for a place.
    pub(crate) waited: Duration,
    pub(crate) refused: Option<Reason>,
    /// Seconds after which the client may come again, if it was refused; 0 if that cannot be told.
    pub(crate) retry_after: u32,
}

/// Leave to go on; a place at the gate, if there is one.
pub(crate) struct Permit<'a> {
    place: Option<Place<'a>>,
}

struct Place<'a> {
    run: &'a Run<'a>,
    gate: &'a Gate,
    entered_with: u32,
    sample: Option<Duration>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let sample = self.sample.map(|latency| (latency, self.entered_with));
        self.gate.release(self.run.worker.now(), sample);
    }
}

impl Permit<'_> {
    /// The request is over: what its last attempt took tells the adaptive limit how the endpoints are doing.
    pub(crate) fn finish(mut self, exchange: &Exchange) {
        let Some(place) = &mut self.place else { return };
        // What another service answered says nothing of this one.
        let Some(last) = exchange.attempts.iter().rfind(|attempt| !attempt.elsewhere) else { return };
        let failed_call =
            exchange.call.and_then(|call| call.status).is_some_and(|status| status.http_equivalent() >= 500);
        place.sample = match last.outcome {
            // What fails at once would look like spare room.
            Outcome::Answered(status) if status < 500 && !failed_call => Some(last.duration),
            Outcome::Failed(Failure::Timeout) => Some(last.duration),
            Outcome::Answered(_) | Outcome::Failed(_) | Outcome::Abandoned => None,
        };
    }
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Tell the client this.
    Because(OwnError),
    /// Nobody waits for the answer any more.
    ClientGone,
}

/// Lets the request in, or refuses it; may take as long as the queue's time-out.
pub(crate) async fn admit<'a>(
    run: &'a Run<'a>,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Result<Permit<'a>, Refused> {
    let settings = &run.route.state.spec.admission;
    let now = run.worker.now();
    exchange.admission.class = match &settings.criticality {
        Some(by) => said::criticality(by, exchange, run.is_trusted),
        None => Criticality::default(),
    };
    if settings.deadline.is_some() && now >= run.deadline {
        return Err(refuse(run, exchange, Reason::DeadlineExpired, None));
    }
    let Some(state) = &run.route.state.admission else {
        // Only counted where someone may be refused.
        return Ok(Permit { place: None });
    };
    let class = exchange.admission.class;
    let share = if settings.criticality.is_some() { Shares::GRADED.of(class) } else { 1.0 };
    if let Err(limited) = limit::take_all(&state.limits, now, exchange, share) {
        return Err(refuse(run, exchange, Reason::RateLimited, Some(limited.after)));
    }
    let place = match state.gate.as_deref() {
        Some(gate) => match enter(run, gate, client, exchange).await {
            Ok(place) => Some(place),
            Err(None) => return Err(Refused::ClientGone),
            Err(Some(reason)) => {
                // What was taken for a request that does not go on is there for the next one.
                limit::put_all_back(&state.limits, exchange);
                return Err(refuse(run, exchange, reason, None));
            }
        },
        None => None,
    };
    run.route.state.shards.of(run.worker.index).admission.admitted[class.index()].add(1);
    Ok(Permit { place })
}

fn refuse(run: &Run<'_>, exchange: &mut Exchange, reason: Reason, after: Option<Duration>) -> Refused {
    let note = &mut exchange.admission;
    note.refused = Some(reason);
    note.retry_after = match (reason, after) {
        (Reason::DeadlineExpired, _) => 0,
        (_, Some(after)) => u32::try_from(after.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1),
        // Those who are told the same come back together.
        (_, None) => 1 + run.worker.with_rng(|rng: &mut Rng| rng.below(3)) as u32,
    };
    exchange.retry_after = (note.retry_after > 0).then(|| Duration::from_secs(note.retry_after.into()));
    let counters = &run.route.state.shards.of(run.worker.index).admission;
    counters.refused[reason as usize][note.class.index()].add(1);
    Refused::Because(reason.error())
}

/// Takes a place, or waits for one. `None` as the reason if the client has left.
async fn enter<'a>(
    run: &'a Run<'a>,
    gate: &'a Gate,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Result<Place<'a>, Option<Reason>> {
    let came = run.worker.now();
    let place = |entered_with: u32| Place { run, gate, entered_with, sample: None };
    let ticket = match gate.enter(came, exchange.admission.class) {
        Entered::In(entered_with) => return Ok(place(entered_with)),
        Entered::Full(reason) => return Err(Some(reason)),
        Entered::Waiting(ticket) => ticket,
    };
    let mut waiting = Waiting::new(gate, run.worker, ticket);
    run.slot.set(came.after(gate.queue_timeout()).min(run.deadline));
    let mut watches = !exchange.head.framing.has_body();
    let called = run.slot.within(poll_fn(|cx| {
        if let Poll::Ready(settled) = waiting.poll(cx) {
            return Poll::Ready(Some(settled));
        }
        if watches && is_gone(cx, client, exchange, &mut watches) {
            return Poll::Ready(None);
        }
        Poll::Pending
    }));
    let settled = match called.await {
        Ok(Some(settled)) => settled,
        Ok(None) => return Err(None),
        // It may have been called in this very moment.
        Err(_expired) => waiting.leave(),
    };
    let now = run.worker.now();
    exchange.admission.waited = now.since(came);
    match settled {
        (Settled::Admitted, entered_with) => {
            let place = place(entered_with);
            run.route.state.shards.of(run.worker.index).admission.waited.record(exchange.admission.waited);
            if now >= run.deadline { Err(Some(Reason::DeadlineExpired)) } else { Ok(place) }
        }
        (Settled::Displaced, _) => Err(Some(Reason::Displaced)),
        (Settled::Left | Settled::Unknown, _) if now >= run.deadline => Err(Some(Reason::DeadlineExpired)),
        (Settled::Left | Settled::Unknown, _) => Err(Some(Reason::QueueTimeout)),
    }
}

/// Notices a client that leaves while it waits. What it sends meanwhile is the next request.
fn is_gone(cx: &mut Context<'_>, client: &mut Stream, exchange: &mut Exchange, watches: &mut bool) -> bool {
    if let Some(stream) = client.http2() {
        return stream.poll_closed(cx).is_ready();
    }
    if !exchange.input.has_room() || exchange.input.data().len() > MAX_HEAD_BYTES / 4 {
        *watches = false;
        return false;
    }
    match exchange.input.poll_fill(cx, client) {
        Poll::Pending => false,
        Poll::Ready(Ok(_closed_half_or_pipelined)) => {
            *watches = false;
            false
        }
        Poll::Ready(Err(_reset)) => true,
    }
}
