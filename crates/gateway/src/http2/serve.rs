//! A client's HTTP/2 connection: one task drives it, and each request on it is served by another one.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_core::time::Moment;
use mainstay_http2::{Event, Role, Settings};

use super::link::{Link, Pump};
use super::request;
use crate::http::connection::linger;
use crate::peer::Peer;
use crate::spec::{Http, Http2, Protocol};
use crate::stream::{Buffer, Stream};
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::listen::Cell;

/// A connection without a request gives memory back after this time: clients that ask several things at once and then the next
/// ones leave no request open between them, hundreds of times a second.
const REST: Duration = Duration::from_secs(1);
/// How long the answer to the PING that goes with the first GOAWAY is waited for.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// Serves a connection until it closes. `input` is what was read from it already.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    cell: Rc<Cell>,
    mut stream: Stream,
    peer: Peer,
    slot: Rc<Slot>,
    input: Buffer,
) {
    let listener = cell.current();
    let Protocol::Http(http) = &listener.state.spec.protocol else { return };
    let Some(http2) = http.http2 else { return };
    let link = Link::new(Role::Server, settings(http, http2), worker.now());
    link.keep_server_name(stream.server_name());
    let mut pump = Pump::new(Rc::clone(&link), input);
    let mut driver = Driver {
        worker: &worker,
        cell: &cell,
        http,
        slot: &slot,
        link: &link,
        leave_at: None,
        idle: None,
        idle_until: Moment::ZERO,
        written: 0,
        is_leaving: false,
    };
    slot.set(worker.clock.now().after(http.head_timeout));
    slot.multiplexed.set(true);
    let mut turn = |cx: &mut Context<'_>| {
        loop {
            let over = pump.poll(cx, &worker, &mut stream, |event| {
                if let Event::Request(id) = event {
                    request::begin(&worker, &cell, &link, id, &peer);
                }
            });
            if over.is_ready() {
                return Poll::Ready(());
            }
            if let Some(result) = driver.poll(cx, &pump, &stream) {
                return result;
            }
        }
    };
    poll_fn(|cx| worker.turn(|| turn(cx))).await;
    let was_refused = link.engine().error().is_some();
    link.engine().lose();
    if was_refused {
        // The client may still be sending: closing on that would reset the GOAWAY that says why.
        Box::pin(linger(stream, &slot, &worker)).await;
    }
}

fn settings(http: &Http, http2: Http2) -> Settings {
    Settings {
        max_streams: http2.max_streams,
        max_header_list: u32::try_from(http.max_head_bytes).unwrap_or(u32::MAX),
        max_fields: http.max_headers,
        ..Settings::default()
    }
}

/// What a connection waits for besides its bytes.
struct Driver<'a> {
    worker: &'a Worker,
    cell: &'a Cell,
    http: &'a Http,
    slot: &'a Slot,
    link: &'a Link,
    /// When a drain reaches this connection.
    leave_at: Option<Moment>,
    /// Whether there was no stream when that was looked at last; `None` before.
    idle: Option<bool>,
    /// When a connection without a request closes, if it is one.
    idle_until: Moment,
    written: u64,
    is_leaving: bool,
}

impl Driver<'_> {
    /// What is to be done now that the bytes have moved: `None` to move them again.
    fn poll(&mut self, cx: &Context<'_>, pump: &Pump, stream: &Stream) -> Option<Poll<()>> {
        let now = self.worker.now();
        let (is_idle, is_stuck, is_settled) = {
            let engine = self.link.engine();
            if engine.has_left() && engine.output().is_empty() {
                return Some(Poll::Ready(()));
            }
            (engine.streams() == 0, !engine.output().is_empty(), engine.is_settled())
        };
        if self.leave_at.is_none()
            && (self.worker.is_draining() || self.cell.is_closed() || self.worker.is_relieved(stream))
        {
            self.leave_at = Some(self.worker.idle_close_at(now));
            self.rearm(now, is_idle, is_stuck);
        } else if self.slot.has_expired() {
            return self.expired(now, is_idle, is_stuck);
        } else if is_settled && (self.idle != Some(is_idle) || self.written != pump.written) {
            self.written = pump.written;
            self.rearm(now, is_idle, is_stuck);
        }
        self.slot.register(cx);
        Some(Poll::Pending)
    }

    /// Sets the deadline for what is waited for now. Streams have deadlines of their own.
    fn rearm(&mut self, now: Moment, is_idle: bool, is_stuck: bool) {
        self.idle = Some(is_idle);
        let own = if is_stuck {
            now.after(self.http.body_timeout)
        } else if is_idle {
            self.idle_until = now.after(self.http.keep_alive_timeout);
            self.idle_until.min(now.after(REST))
        } else {
            Moment::NEVER
        };
        self.slot.set(own.min(self.next_leave()));
    }

    /// When a drain reaches this connection, unless it has.
    fn next_leave(&self) -> Moment {
        self.leave_at.filter(|_at| !self.is_leaving).unwrap_or(Moment::NEVER)
    }

    fn expired(&mut self, now: Moment, is_idle: bool, is_stuck: bool) -> Option<Poll<()>> {
        if self.is_leaving {
            // The client has not answered to the PING, or has not closed since: it has been told for long enough.
            self.link.engine().leave_finally();
            self.slot.set(if is_stuck { now } else { Moment::NEVER });
            return if is_stuck && is_idle { Some(Poll::Ready(())) } else { None };
        }
        if self.leave_at.is_some_and(|at| now >= at) {
            self.is_leaving = true;
            self.link.engine().leave();
            self.slot.set(now.after(ROUND_TRIP));
            return None;
        }
        if is_idle && !is_stuck && now < self.idle_until {
            self.link.engine().rest();
            self.slot.set(self.idle_until.min(self.next_leave()));
            return None;
        }
        if is_stuck || !self.link.engine().is_settled() {
            return Some(Poll::Ready(()));
        }
        if is_idle {
            // Nothing was asked for long: what is on its way now can safely be sent again elsewhere.
            self.is_leaving = true;
            self.link.engine().leave_finally();
            self.slot.set(now.after(ROUND_TRIP));
            return None;
        }
        self.rearm(now, is_idle, is_stuck);
        Some(Poll::Pending)
    }
}
