//! HTTP/2 connections to an endpoint, each shared by many requests.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use mainstay_core::time::Moment;
use mainstay_http2::{Role, Settings};
use mainstay_runtime::task::{self, Kind};

use super::link::{Link, Pump};
use super::stream::H2Stream;
use crate::spec::Connections;
use crate::stream::{Buffer, Stream};
use crate::worker::Worker;
use crate::worker::table::Endpoint;

/// A connection on which requests wait and nothing comes for this long is asked whether it is alive, and given up after as
/// long again: other than one of HTTP/1.1 it does not end with the request that found it dead.
const SILENCE: Duration = Duration::from_secs(5);

/// The connections of one worker to one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Links {
    open: RefCell<Vec<Rc<Link>>>,
    /// Held while a connection is opened: requests that come meanwhile share it rather than opening one each.
    pub(crate) opening: tokio::sync::Mutex<()>,
}

impl Links {
    /// A new stream on a connection that has room for one.
    pub(crate) fn stream(&self) -> Option<H2Stream> {
        let open = self.open.borrow();
        open.iter().find_map(|link| {
            let id = link.engine().open()?;
            Some(H2Stream::new(Rc::clone(link), id, Role::Client))
        })
    }

    /// Opens no more streams on the connections there are; they close when the last one ends.
    pub(crate) fn leave(&self) {
        for link in self.open.borrow().iter() {
            link.engine().leave_finally();
            link.wake_driver();
        }
    }

    /// Makes `stream` a connection of `owner` and answers its first stream.
    pub(crate) fn start(
        worker: &Rc<Worker>,
        owner: &Rc<Endpoint>,
        limits: Connections,
        stream: Stream,
    ) -> Option<H2Stream> {
        let settings = Settings { max_header_list: 64 * 1024, max_fields: 256, ..Settings::default() };
        let link = Link::new(Role::Client, settings, worker.now());
        let id = link.engine().open()?;
        owner.links.open.borrow_mut().push(Rc::clone(&link));
        owner.state.shards.of(worker.index).connections_opened.add(1);
        let first = H2Stream::new(Rc::clone(&link), id, Role::Client);
        task::spawn_local(Kind::Upstream, drive(Rc::clone(worker), Rc::clone(owner), limits, link, stream));
        Some(first)
    }
}

/// Moves the connection's bytes until it closes.
async fn drive(worker: Rc<Worker>, owner: Rc<Endpoint>, limits: Connections, link: Rc<Link>, mut stream: Stream) {
    let slot = worker.wheel.slot();
    let opened = worker.clock.now();
    let mut pump = Pump::new(Rc::clone(&link), Buffer::new());
    let mut was_idle = None;
    let mut heard = 0;
    let mut asked = false;
    poll_fn(|cx| {
        loop {
            if pump.poll(cx, &worker, &mut stream, |_event| {}).is_ready() {
                return Poll::Ready(());
            }
            let now = worker.clock.now();
            let mut engine = link.engine();
            let is_idle = engine.streams() == 0;
            if is_idle && engine.is_closing() && engine.output().is_empty() {
                return Poll::Ready(());
            }
            if slot.has_expired() {
                if is_idle {
                    engine.leave_finally();
                } else if asked {
                    return Poll::Ready(());
                } else {
                    engine.ping();
                    asked = true;
                }
                slot.set(now.after(if is_idle { limits.connect_timeout } else { SILENCE }));
                continue;
            }
            if was_idle != Some(is_idle) || heard != pump.read {
                was_idle = Some(is_idle);
                heard = pump.read;
                asked = false;
                if now.since(opened) >= limits.max_age && !engine.is_closing() {
                    engine.leave_finally();
                    continue;
                }
                slot.set(if is_idle { idle_until(now, opened, &limits) } else { now.after(SILENCE) });
            }
            slot.register(cx);
            return Poll::Pending;
        }
    })
    .await;
    link.engine().lose();
    owner.links.open.borrow_mut().retain(|open| !Rc::ptr_eq(open, &link));
    owner.state.shards.of(worker.index).connections_closed.add(1);
}

fn idle_until(now: Moment, opened: Moment, limits: &Connections) -> Moment {
    now.after(limits.idle_timeout).min(opened.after(limits.max_age))
}
