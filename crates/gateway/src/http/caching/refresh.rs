//! Validation in the background: a response that may be served while it is stale is served, and its origin asked meanwhile.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::balance::Wanted;
use mainstay_core::random::Rng;
use mainstay_core::retry::Failure;
use mainstay_runtime::task::{self, Kind};

use super::asked::Question;
use super::settle::{self, Settled};
use super::{Cache, HOLD, Plan, counters};
use crate::cache::Refreshing;
use crate::cache::object::Object;
use crate::http::attempt::{self, Failed};
use crate::http::exchange::{Exchange, Run};
use crate::http::isolation;
use crate::spec::Protocol;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::worker::table::{Listener, Route};

/// Has the origin asked, unless it is being asked already.
pub(crate) fn begin(run: &Run<'_>, cache: &Cache, exchange: &Exchange, object: &Arc<Object>, question: &Question) {
    let now = run.worker.now();
    // The answer to HEAD is nothing to store.
    if question.to_head || object.is_held(now) || run.worker.is_draining() {
        return;
    }
    let Some(route) = run.listener.targets.iter().find(|it| std::ptr::eq(it.as_ref(), run.route)) else { return };
    let Some(place) = Refreshing::begin(&cache.store) else { return };
    let Some(lead) = cache.store.flights.lead(&question.flight(cache, exchange)) else { return };
    counters(run).refreshed.add(1);
    let mut copy = run.worker.store.take_exchange();
    copy.copy(exchange, exchange.head.length, now);
    copy.cache.stale = Some(Arc::clone(object));
    let validates = object.can_be_validated();
    copy.cache.plan = Some(Box::new(Plan { question: *question, lead: Some(lead), began: now, validates }));
    let task = Task {
        worker: Rc::clone(run.worker),
        listener: Rc::clone(run.listener),
        route: Rc::clone(route),
        is_trusted: run.is_trusted,
        place,
    };
    task::spawn_local(Kind::Refresh, task.run(copy));
}

/// What a validation under way needs.
struct Task {
    worker: Rc<Worker>,
    listener: Rc<Listener>,
    route: Rc<Route>,
    is_trusted: bool,
    place: Refreshing,
}

impl Task {
    async fn run(self, mut copy: Box<Exchange>) {
        let (Protocol::Http(http), Some(cache)) = (&self.listener.state.spec.protocol, &self.route.cache) else {
            return;
        };
        let slot = self.worker.wheel.slot();
        let run = Run {
            worker: &self.worker,
            listener: &self.listener,
            route: &self.route,
            http,
            slot: &slot,
            deadline: copy.started.after(self.route.state.spec.timeout),
            is_trusted: self.is_trusted,
            is_cut: false,
        };
        let stale = copy.cache.stale.clone();
        if !attempt(&run, cache, &mut copy).await
            && let Some(object) = stale
        {
            object.hold(self.worker.now().after(HOLD.mul_f64(1.0 + self.worker.with_rng(Rng::unit))));
        }
        // Whoever waits for it is told by the plan's end.
        copy.cache.clear();
        self.worker.store.give_exchange(copy);
        drop(self.place);
    }
}

/// The one attempt that a validation gets. It counts for its endpoint as any other does. Answers whether the origin answered.
async fn attempt(run: &Run<'_>, cache: &Cache, copy: &mut Exchange) -> bool {
    let service = &run.route.service;
    // A validation stays with the endpoints of the tenant that it is made for.
    if isolation::enter(run, &Stream::Nobody, copy).is_some() {
        return false;
    }
    let wanted = Wanted { within: copy.isolation.within(), ..Wanted::default() };
    let (when_empty, now) = (service.state.spec.when_empty, run.worker.now());
    let picked = run.worker.with_rng(|rng| service.pick_for(when_empty, &wanted, now, rng, &RefCell::default()));
    let Some(index) = picked else { return false };
    match attempt::run(run, index, false, &mut Stream::Nobody, copy).await {
        Ok(answered) => {
            run.worker.endpoint_answered(service, index, copy);
            let Some(plan) = copy.cache.plan.take() else { return false };
            match settle::settle(run, cache, index, answered, copy, *plan).await {
                Settled::Object(_, _) => true,
                Settled::Relay(_) | Settled::Large(_, _, _) => copy.response.status < 500,
                Settled::Broken => {
                    run.worker.endpoint_failed(service, index, Failure::Reset);
                    false
                }
            }
        }
        Err(failed) => {
            match failed {
                Failed::Endpoint { failure, .. } => run.worker.endpoint_failed(service, index, failure),
                Failed::Deadline => run.worker.endpoint_failed(service, index, Failure::Timeout),
                Failed::Body(_) | Failed::ClientGone => {}
            }
            false
        }
    }
}
