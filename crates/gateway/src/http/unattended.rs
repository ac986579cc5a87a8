//! Requests for which no client waits: a copy for another service, a validation of what is stored. Each gets one attempt.

use std::cell::RefCell;
use std::rc::Rc;

use mainstay_core::balance::Wanted;
use mainstay_core::retry::Failure;

use super::attempt::{self, Answered, Failed};
use super::exchange::{Exchange, Run};
use super::isolation;
use super::record::{Attempt, Outcome};
use crate::spec::Protocol;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::table::{Listener, Route};

/// What such a request is part of, kept while it is under way.
pub(crate) struct Place {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Rc<Listener>,
    pub(crate) route: Rc<Route>,
    pub(crate) is_trusted: bool,
}

impl Place {
    /// What `exchange` carries through its attempt: it has the route's time. `None` if the listener does not speak HTTP.
    pub(crate) fn run<'a>(&'a self, slot: &'a Rc<Slot>, exchange: &Exchange) -> Option<Run<'a>> {
        let Protocol::Http(http) = &self.listener.state.spec.protocol else { return None };
        Some(Run {
            worker: &self.worker,
            listener: &self.listener,
            route: &self.route,
            http,
            slot,
            deadline: exchange.started.after(self.route.state.spec.timeout),
            is_trusted: self.is_trusted,
            is_cut: false,
        })
    }
}

/// Makes the one attempt, at an endpoint that the request's tenant may use. It counts for its endpoint as any other does. Answers
/// which endpoint has answered, if one has.
pub(crate) async fn attempt(run: &Run<'_>, exchange: &mut Exchange) -> Option<(usize, Answered)> {
    let service = &run.route.service;
    // What must not reach others' endpoints must not reach them in the background either.
    if isolation::enter(run, &Stream::Nobody, exchange).is_some() {
        return None;
    }
    let wanted = Wanted { within: exchange.isolation.within(), ..Wanted::default() };
    let (when_empty, started) = (service.state.spec.when_empty, run.worker.now());
    let picked = run.worker.with_rng(|rng| service.pick_for(when_empty, &wanted, started, rng, &RefCell::default()));
    let index = picked?;
    match attempt::run(run, index, false, &mut Stream::Nobody, exchange).await {
        Ok(answered) => {
            let (outcome, duration) = (Outcome::Answered(exchange.response.status), run.worker.now().since(started));
            let reused = answered.reused();
            exchange.attempts.push(Attempt { endpoint: index, outcome, duration, reused, elsewhere: false });
            run.worker.endpoint_answered(service, index, exchange);
            Some((index, answered))
        }
        Err(failed) => {
            match failed {
                Failed::Endpoint { failure, .. } => run.worker.endpoint_failed(service, index, failure),
                Failed::Deadline => run.worker.endpoint_failed(service, index, Failure::Timeout),
                Failed::Body(_) | Failed::ClientGone => {}
            }
            None
        }
    }
}
