//! Copies of requests for another service. They go beside the request, which never waits for them; their answers are read
//! and thrown away.
//!
//! A request without a body is copied before its first attempt. One with a body is copied once the body has gone to its own
//! endpoint whole, from the buffer that it went through: it is never held back for the copy's sake.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use mainstay_core::random::Rng;
use mainstay_core::retry;
use mainstay_core::time::Moment;
use mainstay_runtime::task::{self, Kind};

use crate::http::attempt::Answered;
use crate::http::exchange::{self, Exchange, Run};
use crate::http::unattended;
use crate::http1::field::Name;
use crate::http1::write::Ops;
use crate::spec;
use crate::state;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::worker::account::Purse;
use crate::worker::table::{Route, Service};

/// Tells a copy from a request.
const HEADER: &str = "x-mainstay-mirror";
/// Bytes of a body, as received, that a copy may have.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer that are read so that its connection can be used again; beyond them it is closed.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// What became of a request's copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copied {
    /// None was wanted.
    #[default]
    No,
    /// It is to be sent once the body is there.
    Waits,
    /// It was sent.
    Sent,
    /// It was not sent: enough were under way.
    Busy,
    /// It was not sent: the body was too large, or not complete when the request ended.
    Body,
}

/// A route's mirror as a worker sees it.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// The route that copies take.
    route: Rc<Route>,
    /// The route of which they are copies.
    of: Arc<state::Route>,
    share: f64,
    max_in_flight: u32,
}

impl Mirror {
    pub(crate) fn new(of: &Arc<state::Route>, mirror: &spec::Mirror, service: &Rc<Service>) -> Self {
        let spec = spec::Route {
            service: mirror.service.clone(),
            timeout: mirror.timeout,
            attempt_timeout: None,
            retry: retry::Policy { attempts: 1, ..of.spec.retry },
            mirror: None,
            fallback: None,
            breaker: None,
            // What limits the route's requests does not count its copies, which have a limit of their own.
            admission: spec::Admission {
                deadline: of.spec.admission.deadline.clone(),
                criticality: of.spec.admission.criticality.clone(),
                ..spec::Admission::default()
            },
            cache: None,
            hedge: None,
            ..of.spec.clone()
        };
        let mut headers = spec.request_headers.clone();
        headers.set.push((HEADER.to_owned(), "1".to_owned()));
        let state = Arc::new(state::Route::new(spec, 1, None, Moment::ZERO));
        let route = Route {
            purse: Purse::new(&state.retry_budget),
            state,
            service: Rc::clone(service),
            request_ops: Ops::new(&headers),
            response_ops: Ops::default(),
            log_part: Vec::new(),
            number: 0,
            mirror: None,
            fallback: None,
            cache: None,
            cells: Vec::new(),
            primary: None,
        };
        Self { route: Rc::new(route), of: Arc::clone(of), share: mirror.share, max_in_flight: mirror.max_in_flight }
    }

    fn counters(&self, worker: &Worker) -> &state::MirrorCounters {
        &self.of.shards.of(worker.index).mirror
    }
}

/// A copy under way is counted for as long as this lives.
struct Place(Arc<AtomicU32>);

impl Place {
    fn take(mirror: &Mirror) -> Option<Self> {
        let place = Self(Arc::clone(&mirror.of.mirrors));
        let before = place.0.fetch_add(1, Ordering::Relaxed);
        (before < mirror.max_in_flight).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Decides, before the first attempt, whether the request is copied; does so at once if it has no body.
pub(crate) fn begin(run: &Run<'_>, exchange: &mut Exchange) {
    let Some(mirror) = &run.route.mirror else { return };
    let is_drawn = mirror.share >= 1.0 || run.worker.with_rng(Rng::unit) < mirror.share;
    let head = &exchange.head;
    // A copy is not copied again: mirrors that lead back here would never end.
    if !is_drawn || head.wants_upgrade || head.find(Name::Mirror).is_some() || run.worker.is_draining() {
        return;
    }
    let end = head.length;
    exchange.copied = if head.framing.has_body() { Copied::Waits } else { send(run, mirror, exchange, end) };
}

/// Sends the copy of a request whose body is there. `over` says that nothing more of it will come.
pub(crate) fn body(run: &Run<'_>, exchange: &mut Exchange, over: bool) {
    let Some(mirror) = run.route.mirror.as_ref().filter(|_mirror| exchange.copied == Copied::Waits) else { return };
    // What was kept of the body ends where the client's next request begins.
    let end = exchange.input.start();
    let fits = exchange.up.retains && end.saturating_sub(exchange.head.length) <= BODY_BYTES_MAX;
    if exchange.up.has_ended() && fits {
        exchange.copied = send(run, mirror, exchange, end);
    } else if over || exchange.up.has_ended() {
        exchange.copied = Copied::Body;
        mirror.counters(run.worker).body.add(1);
    }
}

/// Copies the first `end` bytes of the request and has them sent.
fn send(run: &Run<'_>, mirror: &Mirror, exchange: &Exchange, end: usize) -> Copied {
    let Some(place) = Place::take(mirror) else {
        mirror.counters(run.worker).busy.add(1);
        return Copied::Busy;
    };
    let mut copy = run.worker.store.take_exchange();
    copy.copy(exchange, end, run.worker.now());
    copy.context = exchange.context.beside(run.worker);
    mirror.counters(run.worker).sent.add(1);
    let sending = Sending {
        at: unattended::Place {
            worker: Rc::clone(run.worker),
            listener: Rc::clone(run.listener),
            route: Rc::clone(&mirror.route),
            is_trusted: run.is_trusted,
        },
        of: Arc::clone(&mirror.of),
        place,
    };
    task::spawn_local(Kind::Mirror, sending.run(copy));
    Copied::Sent
}

/// What a copy under way needs.
struct Sending {
    at: unattended::Place,
    of: Arc<state::Route>,
    place: Place,
}

impl Sending {
    async fn run(self, mut copy: Box<Exchange>) {
        let worker = &self.at.worker;
        let slot = worker.wheel.slot();
        let Some(run) = self.at.run(&slot, &copy) else { return };
        if !attempt(&run, &mut copy).await {
            self.of.shards.of(worker.index).mirror.failures.add(1);
        }
        worker.store.give_exchange(copy);
        drop(self.place);
    }
}

/// The one attempt that a copy gets. Answers whether it was answered well.
async fn attempt(run: &Run<'_>, copy: &mut Exchange) -> bool {
    let Some((index, answered)) = unattended::attempt(run, copy).await else { return false };
    let status = copy.response.status;
    read_away(run, index, answered, copy).await;
    status < 500
}

/// Reads the answer, as far as that is worth a connection.
async fn read_away(run: &Run<'_>, index: usize, answered: Answered, copy: &mut Exchange) {
    let Answered { mut connection, in_flight, request_broke } = answered;
    copy.down.pending.clear();
    copy.down.start(connection.stream.body_framing(copy.response.framing), false, 0, false);
    copy.output.consume(copy.response.length);
    run.slot.set(run.deadline);
    let read = poll_fn(|cx| match copy.down.poll(cx, &mut connection.stream, &mut copy.output, &mut Stream::Nobody) {
        Poll::Pending if copy.down.bytes <= ANSWER_BYTES_MAX => Poll::Pending,
        Poll::Pending => Poll::Ready(false),
        Poll::Ready(read) => Poll::Ready(read.is_ok()),
    });
    let is_read = run.slot.within(read).await == Ok(true);
    drop(in_flight);
    if is_read && copy.response.keep_alive && !request_broke && copy.up.is_done() && copy.output.is_empty() {
        exchange::keep(run, index, connection);
    }
}
