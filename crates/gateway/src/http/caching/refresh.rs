//! Validation in the background: a response that may be served while it is stale is served, and its origin asked meanwhile.

use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::random::Rng;
use mainstay_core::retry::Failure;
use mainstay_runtime::task::{self, Kind};

use super::asked::Question;
use super::settle::{self, Settled};
use super::{Cache, HOLD, Plan, counters};
use crate::cache::Refreshing;
use crate::cache::object::Object;
use crate::http::exchange::{Exchange, Run};
use crate::http::unattended;

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
    copy.context = exchange.context.beside(run.worker);
    copy.cache.stale = Some(Arc::clone(object));
    let validates = object.can_be_validated();
    copy.cache.plan = Some(Box::new(Plan { question: *question, lead: Some(lead), began: now, validates }));
    let task = Task {
        at: unattended::Place {
            worker: Rc::clone(run.worker),
            listener: Rc::clone(run.listener),
            route: Rc::clone(route),
            is_trusted: run.is_trusted,
        },
        place,
    };
    task::spawn_local(Kind::Refresh, task.run(copy));
}

/// What a validation under way needs.
struct Task {
    at: unattended::Place,
    place: Refreshing,
}

impl Task {
    async fn run(self, mut copy: Box<Exchange>) {
        let worker = &self.at.worker;
        let slot = worker.wheel.slot();
        let (Some(run), Some(cache)) = (self.at.run(&slot, &copy), &self.at.route.cache) else { return };
        let stale = copy.cache.stale.clone();
        if !attempt(&run, cache, &mut copy).await
            && let Some(object) = stale
        {
            object.hold(worker.now().after(HOLD.mul_f64(1.0 + worker.with_rng(Rng::unit))));
        }
        // Whoever waits for it is told by the plan's end.
        copy.cache.clear();
        worker.store.give_exchange(copy);
        drop(self.place);
    }
}

/// The one attempt that a validation gets. Answers whether the origin answered.
async fn attempt(run: &Run<'_>, cache: &Cache, copy: &mut Exchange) -> bool {
    let Some((index, answered)) = unattended::attempt(run, copy).await else { return false };
    let Some(plan) = copy.cache.plan.take() else { return false };
    match settle::settle(run, cache, index, answered, copy, *plan).await {
        Settled::Object(_, _) => true,
        Settled::Relay(_) | Settled::Large(_, _, _) => copy.response.status < 500,
        Settled::Broken => {
            run.worker.endpoint_failed(&run.route.service, index, Failure::Reset);
            false
        }
    }
}
