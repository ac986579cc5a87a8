//! What becomes of an endpoint's answer that may be stored.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mainstay_core::cache::{self, Arrival, Asked, Refusal, Vary, selecting};
use mainstay_core::coalesce::Ended;
use mainstay_core::retry::Failure;

use super::answer::{self, How};
use super::{Cache, Plan, asked, counters, invalidate, is_for_others, on_error};
use crate::cache::object::{self, About, Object};
use crate::fallback;
use crate::http::attempt::Answered;
use crate::http::attempts;
use crate::http::connection::Next;
use crate::http::exchange::{self, Exchange, Run};
use crate::http::respond;
use crate::http::respond::held::{self, Begun};
use crate::http1::body::Framing;
use crate::http1::field::Field;
use crate::stream::Stream;

/// For how long requests do not wait for each other at a URL whose responses are not for everybody.
const APART: Duration = Duration::from_secs(10);

/// What an answer has come to.
pub(crate) enum Settled {
    /// It can be served from memory.
    Object(Arc<Object>, How),
    /// It goes to the client as it comes.
    Relay(Answered),
    /// Likewise, but some of it has been read already.
    Large(Answered, Begun, Vec<u8>),
    /// It broke off.
    Broken,
}

/// Gives the client what the endpoint has answered, and stores it if it may be.
pub(crate) async fn answered(
    run: &Run<'_>,
    index: usize,
    answered: Answered,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Next {
    let (Some(cache), Some(plan)) = (&run.route.cache, exchange.cache.plan.take()) else {
        invalidate(run, exchange);
        return fallback::or_relay(run, index, answered, client, exchange).await;
    };
    if exchange.response.status >= 500
        && let Some(object) = on_error(run, exchange)
    {
        // Those who wait are served the same.
        end(*plan, Ended::Shared);
        return answer::send(run, client, exchange, &object, How::OnError).await;
    }
    match settle(run, cache, index, answered, exchange, *plan).await {
        Settled::Object(object, how) => answer::send(run, client, exchange, &object, how).await,
        Settled::Relay(answered) => fallback::or_relay(run, index, answered, client, exchange).await,
        Settled::Large(answered, begun, taken) => {
            held::resume(run, index, answered, begun, &taken, client, exchange).await
        }
        Settled::Broken => {
            run.worker.endpoint_failed(&run.route.service, index, Failure::Reset);
            attempts::give_up(run, client, exchange, respond::after(Failure::Reset)).await
        }
    }
}

/// Answers from the cache in place of an error, if that may be.
pub(crate) async fn failed(run: &Run<'_>, client: &mut Stream, exchange: &mut Exchange) -> Option<Next> {
    let plan = exchange.cache.plan.take()?;
    let Some(object) = on_error(run, exchange) else {
        end(*plan, Ended::Failed);
        return None;
    };
    end(*plan, Ended::Shared);
    Some(answer::send(run, client, exchange, &object, How::OnError).await)
}

fn end(plan: Plan, how: Ended) {
    if let Some(lead) = plan.lead {
        lead.end(how);
    }
}

/// Decides about the answer, reads it if it may be stored, and tells those who wait for it.
pub(crate) async fn settle(
    run: &Run<'_>,
    cache: &Cache,
    index: usize,
    answered: Answered,
    exchange: &mut Exchange,
    plan: Plan,
) -> Settled {
    let status = exchange.response.status;
    if status == 304 && plan.validates {
        return validated(run, cache, index, answered, exchange, plan);
    }
    if status >= 500 {
        end(plan, Ended::Failed);
        return Settled::Relay(answered);
    }
    let date = run.worker.http_date();
    let fields = object::lines(&exchange.response, exchange.output.data(), &date);
    let about = match judge(run, cache, exchange, &plan, status, &fields) {
        Ok(about) => about,
        Err(refusal) => {
            refuse(run, cache, exchange, plan, refusal);
            return Settled::Relay(answered);
        }
    };
    let length = match exchange.response.framing {
        Framing::Length(length) => length,
        Framing::None | Framing::Empty | Framing::Chunked | Framing::UntilClose => 0,
    };
    let mut room = cache.store.reserve();
    if length > cache.spec.max_object || !room.grow(length) {
        refuse(run, cache, exchange, plan, None);
        return Settled::Relay(answered);
    }
    let mut answered = answered;
    let begun = held::prepare(run, &answered.connection, exchange);
    let mut body = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    let most = cache.spec.max_object;
    match collect(run, &mut answered, exchange, &mut body, |bytes| bytes <= most && room.grow(bytes)).await {
        Collected::Whole => {}
        Collected::TooLarge => {
            refuse(run, cache, exchange, plan, None);
            return Settled::Large(answered, begun, body);
        }
        Collected::Broken => {
            end(plan, Ended::Failed);
            return Settled::Broken;
        }
    }
    finish(run, index, answered, exchange);
    let object = Arc::new(Object::new(about, fields, body.into()));
    Settled::Object(Arc::clone(&object), store(run, cache, exchange, plan, &object, How::Fetched))
}

/// Stores a response, unless it is out of date already, and tells those who wait.
fn store(run: &Run<'_>, cache: &Cache, exchange: &Exchange, plan: Plan, object: &Arc<Object>, how: How) -> How {
    if plan.lead.as_ref().is_some_and(|lead| !lead.may_store()) {
        end(plan, Ended::Unshared);
        return How::Unstored;
    }
    cache.store.put(&exchange.cache.key, object);
    counters(run).stored.add(1);
    let is_shared = is_for_others(object);
    if !is_shared {
        cache.store.set_apart(&exchange.cache.key, run.worker.now().after(APART));
    }
    end(plan, if is_shared { Ended::Shared } else { Ended::Unshared });
    how
}

/// Sends those who wait on their own way. `refusal` is none for a response that is too large.
fn refuse(run: &Run<'_>, cache: &Cache, exchange: &Exchange, plan: Plan, refusal: Option<Refusal>) {
    counters(run).refused.add(1);
    // What this request alone has asked for says nothing about others.
    let is_its_own = plan.question.control.no_store && refusal == Some(Refusal::NoStore);
    if !is_its_own {
        cache.store.set_apart(&exchange.cache.key, run.worker.now().after(APART));
    }
    end(plan, Ended::Unshared);
}

fn judge(
    run: &Run<'_>,
    cache: &Cache,
    exchange: &Exchange,
    plan: &Plan,
    status: u16,
    fields: &[u8],
) -> Result<About, Option<Refusal>> {
    let asked = Asked { control: plan.question.control, credentials: plan.question.credentials };
    let arrival = Arrival { asked: plan.began, arrived: run.worker.now(), wall: run.worker.seconds() };
    let policy = &cache.spec.policy;
    // `Age` is not stored, but what it says counts.
    let head = exchange.output.data();
    let is_age = |field: &&Field| field.name.get(head).eq_ignore_ascii_case(b"age");
    let age = exchange.response.fields.iter().filter(is_age).map(|field| (&b"age"[..], field.value.get(head)));
    let told = object::pairs(fields).chain(age);
    let (freshness, sharing, vary) =
        run.worker.with_rng(|rng| cache::judge(policy, &asked, status, told, arrival, rng)).map_err(Some)?;
    let Vary::Fields(names) = vary else { return Err(Some(Refusal::VaryEverything)) };
    let mut selected = Vec::new();
    selecting(&names, asked::fields(exchange), &mut selected);
    Ok(About { zone: cache.zone, status, freshness, sharing, names, selected })
}

/// The origin says that what is stored is still good.
fn validated(
    run: &Run<'_>,
    cache: &Cache,
    index: usize,
    answered: Answered,
    exchange: &mut Exchange,
    plan: Plan,
) -> Settled {
    let Some(stored) = exchange.cache.stale.clone() else {
        end(plan, Ended::Failed);
        return Settled::Relay(answered);
    };
    let date = run.worker.http_date();
    let fresh = object::lines(&exchange.response, exchange.output.data(), &date);
    let fields = object::updated(&stored.fields, &fresh);
    let judged = judge(run, cache, exchange, &plan, stored.status, &fields);
    exchange.output.consume(exchange.response.length);
    finish(run, index, answered, exchange);
    match judged {
        Ok(about) => {
            let object = Arc::new(Object::new(about, fields, Arc::clone(&stored.body)));
            Settled::Object(Arc::clone(&object), store(run, cache, exchange, plan, &object, How::Validated))
        }
        // It is good for this request, as its origin says, and for nobody after it.
        Err(_refusal) => {
            cache.store.forget(&exchange.cache.key, &stored);
            end(plan, Ended::Unshared);
            Settled::Object(stored, How::Validated)
        }
    }
}

/// Gives the connection back, if it can carry another request.
fn finish(run: &Run<'_>, index: usize, answered: Answered, exchange: &Exchange) {
    let Answered { connection, in_flight, request_broke } = answered;
    drop(in_flight);
    if exchange.response.keep_alive && !request_broke && exchange.up.is_done() && exchange.output.is_empty() {
        exchange::keep(run, index, connection);
    }
}

enum Collected {
    Whole,
    TooLarge,
    Broken,
}

/// Reads the body into memory. Each piece gives it `body_timeout` more; the request's deadline bounds it all.
async fn collect(
    run: &Run<'_>,
    answered: &mut Answered,
    exchange: &mut Exchange,
    body: &mut Vec<u8>,
    mut has_room: impl FnMut(u64) -> bool,
) -> Collected {
    let rest = |run: &Run<'_>| run.worker.now().after(run.http.body_timeout).min(run.deadline);
    run.slot.set(rest(run));
    let mut progress = 0;
    let (down, output) = (&mut exchange.down, &mut exchange.output);
    poll_fn(|cx| {
        let polled = down.poll_collect(cx, &mut answered.connection.stream, output, body, &mut has_room);
        match polled {
            Poll::Ready(Ok(true)) => return Poll::Ready(Collected::Whole),
            Poll::Ready(Ok(false)) => return Poll::Ready(Collected::TooLarge),
            Poll::Ready(Err(_broke_off)) => return Poll::Ready(Collected::Broken),
            Poll::Pending => {}
        }
        if progress != down.progress {
            progress = down.progress;
            run.slot.set(rest(run));
        } else if run.slot.has_expired() {
            return Poll::Ready(Collected::Broken);
        }
        run.slot.register(cx);
        Poll::Pending
    })
    .await
}
