//! Graceful degradation: what a client gets in place of an error. Which form comes when is decided by
//! [`mainstay_core::fallback`]; only requests of which nothing was answered yet come here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::balance::Wanted;
use mainstay_core::fallback::{self, Cause, Form, Situation};
use mainstay_core::retry::Failure;

use crate::gateway::StartError;
use crate::http::attempt::{self, Answered, Failed};
use crate::http::caching;
use crate::http::caching::answer::How;
use crate::http::connection::Next;
use crate::http::exchange::{Exchange, Run};
use crate::http::isolation;
use crate::http::ready::{self, Ready};
use crate::http::record::{self, Attempt, Ending, Outcome};
use crate::http::respond::{self, OwnError};
use crate::http1::write::{self, Ops};
use crate::spec::{self, CONTENT_BYTES_MAX, Content};
use crate::state::{self, Counter};
use crate::stream::Stream;
use crate::worker::account::Purse;
use crate::worker::table::{Route, Service};

/// Bodies of fixed answers, by the names of their routes.
pub(crate) type Answers = HashMap<String, Arc<[u8]>>;

/// A route's fallback as a worker sees it.
#[derive(Debug)]
pub(crate) struct Fallback {
    /// The route to the other service.
    elsewhere: Option<Rc<Route>>,
    answer: Option<Fixed>,
}

#[derive(Debug)]
struct Fixed {
    status: u16,
    fields: Vec<u8>,
    body: Arc<[u8]>,
}

/// Reads what fixed answers consist of.
pub(crate) fn load(routes: &[spec::Route]) -> Result<Answers, StartError> {
    let mut answers = Answers::new();
    for route in routes {
        let Some(answer) = route.fallback.as_ref().and_then(|fallback| fallback.answer.as_ref()) else { continue };
        let body = match &answer.content {
            Content::None => Vec::new(),
            Content::Text(text) => text.clone().into_bytes(),
            Content::File(path) => read(path).map_err(|why| {
                StartError::Spec(format!("route `{}`: the fallback's file {}: {why}", route.name, path.display()))
            })?,
        };
        answers.insert(route.name.clone(), body.into());
    }
    Ok(answers)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(CONTENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > CONTENT_BYTES_MAX {
        return Err(format!("it is larger than {CONTENT_BYTES_MAX} bytes, which stay in memory"));
    }
    Ok(bytes)
}

impl Fallback {
    /// The fallback of a route, if it has one. `number` is the route's place in the state.
    pub(crate) fn new(
        of: &Arc<state::Route>,
        number: usize,
        services: &HashMap<String, Rc<Service>>,
        answers: &Answers,
    ) -> Option<Self> {
        let spec = of.spec.fallback.as_ref()?;
        let other = spec.service.as_ref().and_then(|name| services.get(name));
        let elsewhere = other.zip(services.get(&of.spec.service)).map(|(other, primary)| {
            Rc::new(Route {
                service: Rc::clone(other),
                cells: Vec::new(),
                primary: Some(Rc::clone(primary)),
                request_ops: Ops::new(&of.spec.request_headers),
                response_ops: Ops::new(&of.spec.response_headers),
                log_part: record::part(&[("route", &of.spec.name), ("service", &of.spec.service)]),
                number,
                mirror: None,
                fallback: None,
                cache: None,
                purse: Purse::new(&of.retry_budget),
                state: Arc::clone(of),
            })
        });
        let answer = spec.answer.as_ref().map(|answer| {
            let mut fields = Vec::new();
            if answer.status != 204 {
                write::field(&mut fields, b"content-type", answer.content_type.as_bytes());
            }
            // Nobody is to keep what stands in for something better.
            write::field(&mut fields, b"cache-control", b"no-store");
            let body = answers.get(&of.spec.name).cloned().unwrap_or_default();
            Fixed { status: answer.status, fields, body }
        });
        Some(Self { elsewhere, answer })
    }

    /// The service that is asked in place of the route's own.
    pub(crate) fn service(&self) -> Option<&Rc<Service>> {
        self.elsewhere.as_ref().map(|route| &route.service)
    }
}

/// The line that tells the client what it got.
pub(crate) const fn mark(form: Form) -> &'static [u8] {
    match form {
        Form::Stale => b"x-mainstay-fallback: stale\r\n",
        Form::Service => b"x-mainstay-fallback: service\r\n",
        Form::Static => b"x-mainstay-fallback: static\r\n",
        Form::Empty => b"x-mainstay-fallback: empty\r\n",
    }
}

/// What to blame for an answer of the gateway's own that ends the attempts.
fn cause(error: OwnError) -> Cause {
    match error.status {
        status if error.reason == "upstream-status" => Cause::Status(status),
        502..=504 => Cause::Upstream,
        _of_the_request => Cause::Request,
    }
}

/// Answers in place of an error of the gateway's own that ends the attempts, if the route has anything to give.
pub(crate) async fn instead(
    run: &Run<'_>,
    client: &mut Stream,
    exchange: &mut Exchange,
    error: OwnError,
) -> Option<Next> {
    let fallback = run.route.fallback.as_ref()?;
    let cause = if exchange.admission.refused.is_some() { Cause::Limit } else { cause(error) };
    // Boxed because it is rare: the memory of a connection's task is sized for its largest part.
    Box::pin(fall_back(run, client, exchange, fallback, cause, Some(error.reason))).await
}

/// Relays an endpoint's answer, or answers in its place if its status counts as a failure.
pub(crate) async fn or_relay(
    run: &Run<'_>,
    index: usize,
    mut answered: Answered,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Next {
    let cause = Cause::Status(exchange.response.status);
    if let Some(fallback) = &run.route.fallback
        && policy(run).is_some_and(|policy| policy.counts(cause))
    {
        let kept = (std::mem::take(&mut exchange.output), std::mem::take(&mut exchange.response));
        if let Some(next) = Box::pin(fall_back(run, client, exchange, fallback, cause, None)).await {
            return next;
        }
        // The endpoint's own words are better than nothing. What was left of the request has gone elsewhere.
        (exchange.output, exchange.response) = kept;
        answered.request_broke |= !exchange.up.is_done();
    }
    respond::relay(run, index, answered, client, exchange).await
}

fn policy<'a>(run: &Run<'a>) -> Option<&'a fallback::Policy> {
    run.route.state.spec.fallback.as_ref().map(|fallback| &fallback.policy)
}

async fn fall_back(
    run: &Run<'_>,
    client: &mut Stream,
    exchange: &mut Exchange,
    fallback: &Fallback,
    cause: Cause,
    error: Option<&'static str>,
) -> Option<Next> {
    let policy = policy(run)?;
    let mut tried = None;
    loop {
        let situation = Situation {
            cause,
            method: exchange.head.method.text(exchange.head_bytes()),
            is_special: exchange.call.is_some() || exchange.head.wants_upgrade,
            replayable: exchange.attempts.is_empty() || exchange.up.retains || !exchange.head.framing.has_body(),
            has_time: run.worker.now() < run.deadline,
        };
        let Some(form) = fallback::next(policy, &situation, tried) else {
            if tried.is_some() {
                run.route.state.shards.of(run.worker.index).fallback.failed.add(1);
            }
            return None;
        };
        let answered = match form {
            Form::Stale => last_copy(run, policy, client, exchange).await,
            Form::Service => match &fallback.elsewhere {
                Some(route) => elsewhere(&Run { route, ..*run }, policy, client, exchange).await,
                None => None,
            },
            Form::Static | Form::Empty => match &fallback.answer {
                Some(answer) => Some(fixed(run, client, exchange, answer, form, error).await),
                None => None,
            },
        };
        if answered.is_some() {
            return answered;
        }
        tried = Some(form);
    }
}

fn counter<'a>(run: &Run<'a>, form: Form) -> &'a Counter {
    let counters = &run.route.state.shards.of(run.worker.index).fallback;
    match form {
        Form::Stale => &counters.stale,
        Form::Service => &counters.service,
        Form::Static => &counters.fixed,
        Form::Empty => &counters.empty,
    }
}

/// Notes that the client gets this form.
fn note(run: &Run<'_>, exchange: &mut Exchange, form: Form) {
    exchange.fallback = Some(form);
    counter(run, form).add(1);
}

async fn fixed(
    run: &Run<'_>,
    client: &mut Stream,
    exchange: &mut Exchange,
    answer: &Fixed,
    form: Form,
    error: Option<&'static str>,
) -> Next {
    note(run, exchange, form);
    let Fixed { status, fields, body } = answer;
    let ready = Ready { status: *status, fields, marks: mark(form), body, has_date: false, error };
    ready::send(run, client, exchange, ready).await
}

/// The last good copy, if the cache has one that is not too old.
async fn last_copy(
    run: &Run<'_>,
    policy: &fallback::Policy,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Option<Next> {
    let object = caching::last_copy(run, exchange, policy.stale?)?;
    note(run, exchange, Form::Stale);
    Some(caching::answer::send(run, client, exchange, &object, How::Fallback).await)
}

/// The one attempt that the other service gets; `run` leads there. It counts for its endpoint as any other does. `None` if
/// that fails, too.
async fn elsewhere(
    run: &Run<'_>,
    policy: &fallback::Policy,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Option<Next> {
    let (service, drawn) = (&run.route.service, RefCell::default());
    if isolation::enter(run, client, exchange).is_some() {
        return None;
    }
    let wanted = Wanted { within: exchange.isolation.within(), ..Wanted::default() };
    let index = run
        .worker
        .with_rng(|rng| service.pick_for(service.state.spec.when_empty, &wanted, run.worker.now(), rng, &drawn))?;
    exchange.trace.choice(service.view(), drawn.into_inner(), &[]);
    exchange.input.rewind(exchange.head.length);
    exchange.output.clear();
    let started = run.worker.now();
    exchange.trace.started(started);
    let result = attempt::run(run, index, false, client, exchange).await;
    let duration = run.worker.now().since(started);
    let (outcome, reused) = match &result {
        Ok(answered) => (Outcome::Answered(exchange.response.status), answered.reused()),
        Err(Failed::Endpoint { failure, reused, .. }) => (Outcome::Failed(*failure), *reused),
        Err(Failed::Deadline) => (Outcome::Failed(Failure::Timeout), false),
        Err(Failed::Body(_) | Failed::ClientGone) => (Outcome::Abandoned, false),
    };
    exchange.attempts.push(Attempt { endpoint: index, outcome, duration, reused, elsewhere: true });
    if let Outcome::Failed(failure) = outcome {
        run.worker.endpoint_failed(service, index, failure);
    }
    match result {
        Ok(answered) => {
            run.worker.endpoint_answered(service, index, exchange);
            if policy.counts(Cause::Status(exchange.response.status)) {
                return None;
            }
            note(run, exchange, Form::Service);
            Some(respond::relay(run, index, answered, client, exchange).await)
        }
        Err(Failed::ClientGone) => {
            let ending = Ending { status: 0, error: None, client_gone: true };
            record::finish(run.worker, run.listener, Some(run.route), exchange, ending, (exchange.up.bytes, 0));
            Some(Next::Reset)
        }
        Err(Failed::Endpoint { .. } | Failed::Deadline | Failed::Body(_)) => None,
    }
}
