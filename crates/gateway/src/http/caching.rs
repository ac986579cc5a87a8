//! A request's way through the response cache: looked up before anything else is done for it, and stored, if it may be, when
//! an endpoint has answered.
//!
//! Of the requests for one thing that is not stored, one goes (it leads) and the others wait for what it brings. What it
//! brings is read into memory, up to the bound of an object, before anybody gets a byte of it: so a slow client holds up
//! nobody, and a response that breaks off has not been begun.

pub(crate) mod answer;
pub(crate) mod asked;
pub(crate) mod refresh;
pub(crate) mod settle;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::cache::{Freshness, Sharing, Use};
use mainstay_core::coalesce::{Ended, Told};
use mainstay_core::time::Moment;

use self::answer::How;
use self::asked::Question;
use super::attempts;
use super::connection::Next;
use super::exchange::{Exchange, Run};
use super::respond::{self, OwnError};
use crate::cache::Store;
use crate::cache::flights::{Lead, Seat, Waiter};
use crate::cache::object::Object;
use crate::spec;
use crate::state::{CacheCounters, Counter};
use crate::stream::Stream;

/// A client that wants a stored response or none.
const NOT_CACHED: OwnError = OwnError { status: 504, reason: "not-cached" };
/// How often a request waits for others before it goes on by itself.
const WAITS_MAX: u32 = 3;
/// For how long an origin that could not validate is left alone, at least; up to as much again is added at random.
const HOLD: Duration = Duration::from_secs(1);

/// A route's cache as a worker sees it.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) store: Arc<Store>,
    /// Stands for the route and where it leads.
    pub(crate) zone: u64,
    pub(crate) spec: spec::Cache,
}

/// What an exchange knows of the cache. The allocations are used again.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// The URL; empty if the cache has nothing to do with the request.
    pub(crate) key: Vec<u8>,
    scratch: Vec<u8>,
    /// What is stored and cannot be served as it is.
    pub(crate) stale: Option<Arc<Object>>,
    /// What to do with the answer of the endpoint.
    pub(crate) plan: Option<Box<Plan>>,
    /// How the request was answered, for the log.
    pub(crate) word: Option<&'static str>,
    /// Why it went to an endpoint, as `Cache-Status` says it.
    pub(crate) forward: Option<&'static [u8]>,
}

impl Desk {
    /// The request has ended. If it was to bring something for others and has not, another one is told to.
    pub(crate) fn leave(&mut self) {
        self.plan = None;
        self.stale = None;
    }

    /// Forgets the request before.
    pub(crate) fn clear(&mut self) {
        self.leave();
        self.key.clear();
        self.word = None;
        self.forward = None;
    }
}

/// What to do with the answer of an endpoint.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) question: Question,
    /// It is brought for others, too.
    pub(crate) lead: Option<Lead>,
    /// When the request went out.
    pub(crate) began: Moment,
    /// The origin is asked whether what is stored is still good.
    pub(crate) validates: bool,
}

/// The counters of the route's cache.
pub(crate) fn counters<'a>(run: &Run<'a>) -> &'a CacheCounters {
    &run.route.state.shards.of(run.worker.index).cache
}

/// Notes how the request is answered.
pub(crate) fn count(exchange: &mut Exchange, counter: &Counter, word: &'static str) {
    counter.add(1);
    exchange.cache.word = Some(word);
}

/// Answers from the cache. `None` if an endpoint is to be asked; the exchange then knows what to do with its answer.
pub(crate) async fn serve(run: &Run<'_>, cache: &Cache, client: &mut Stream, exchange: &mut Exchange) -> Option<Next> {
    let question = match Question::read(run, cache, exchange) {
        asked::Asks::Store(question) => question,
        asked::Asks::Nothing => return None,
        asked::Asks::Endpoint => {
            count(exchange, &counters(run).bypassed, "bypass");
            exchange.cache.forward = Some(b"cache-status: mainstay; fwd=bypass\r\n");
            return None;
        }
    };
    match look(run, cache, exchange, &question, false) {
        // Boxed because the memory of a connection's task is sized for its largest part. What the cache is of no use to costs
        // no allocation.
        Looked::Serve(object, how) => {
            Some(Box::pin(give(run, cache, client, exchange, &question, (object, how))).await)
        }
        Looked::Ask { coalesces } if is_of_use(exchange, &question, coalesces) => {
            Box::pin(fly(run, cache, client, exchange, question, coalesces)).await
        }
        Looked::Ask { .. } => go(run, exchange),
    }
}

/// Whether the answer of an endpoint is worth a thought: it may be stored, or be the word that what is stored is still good.
fn is_of_use(exchange: &Exchange, question: &Question, coalesces: bool) -> bool {
    question.control.only_if_cached || (!question.to_head && (coalesces || can_be_validated(exchange)))
}

fn can_be_validated(exchange: &Exchange) -> bool {
    exchange.cache.stale.as_ref().is_some_and(|object| object.can_be_validated())
}

/// Serves what is stored.
async fn give(
    run: &Run<'_>,
    cache: &Cache,
    client: &mut Stream,
    exchange: &mut Exchange,
    question: &Question,
    (object, how): (Arc<Object>, How),
) -> Next {
    if how == How::Refreshing {
        refresh::begin(run, cache, exchange, &object, question);
    }
    answer::send(run, client, exchange, &object, how).await
}

/// Goes for all who want the same, or waits for who goes. `None` if this request is to go.
async fn fly(
    run: &Run<'_>,
    cache: &Cache,
    client: &mut Stream,
    exchange: &mut Exchange,
    question: Question,
    mut coalesces: bool,
) -> Option<Next> {
    if question.control.only_if_cached {
        let answer = respond::own(run.worker, run.listener, Some(run.route), client, run.slot, exchange, NOT_CACHED);
        return Some(answer.await);
    }
    for _wait in 0..WAITS_MAX {
        let seat = if coalesces { cache.store.flights.join(&question.flight(cache, exchange)) } else { Seat::Alone };
        let lead = match seat {
            Seat::Lead(lead) => {
                // Another one may have ended between the look and the join.
                if let Looked::Serve(object, how) = look(run, cache, exchange, &question, true) {
                    lead.end(Ended::Shared);
                    return Some(give(run, cache, client, exchange, &question, (object, how)).await);
                }
                Some(lead)
            }
            Seat::Alone if can_be_validated(exchange) => None,
            Seat::Alone => return go(run, exchange),
            Seat::Wait(waiter) => match wait(run, waiter).await {
                Waited::Look => match look(run, cache, exchange, &question, true) {
                    Looked::Serve(object, how) => {
                        return Some(give(run, cache, client, exchange, &question, (object, how)).await);
                    }
                    Looked::Ask { coalesces: still } if is_of_use(exchange, &question, still) => {
                        coalesces = still;
                        continue;
                    }
                    Looked::Ask { .. } => return go(run, exchange),
                },
                Waited::Alone => return go(run, exchange),
                Waited::Lead(lead) => Some(lead),
                Waited::Failed(error) => return Some(attempts::give_up(run, client, exchange, error).await),
            },
        };
        let (began, validates) = (run.worker.now(), can_be_validated(exchange));
        exchange.cache.plan = Some(Box::new(Plan { question, lead, began, validates }));
        return go(run, exchange);
    }
    go(run, exchange)
}

/// Lets the request go to an endpoint.
fn go(run: &Run<'_>, exchange: &mut Exchange) -> Option<Next> {
    count(exchange, &counters(run).misses, "miss");
    exchange.cache.forward = Some(match &exchange.cache.stale {
        Some(_) => b"cache-status: mainstay; fwd=stale\r\n",
        None => b"cache-status: mainstay; fwd=uri-miss\r\n",
    });
    None
}

/// What a look at the store has come to.
enum Looked {
    Serve(Arc<Object>, How),
    Ask {
        /// Whether others may wait for what is brought, and this one for what others bring.
        coalesces: bool,
    },
}

/// Looks for a response that may be served. `waited` says that this request has waited for one that may have come just now.
fn look(run: &Run<'_>, cache: &Cache, exchange: &mut Exchange, question: &Question, waited: bool) -> Looked {
    exchange.cache.stale = None;
    let now = run.worker.now();
    let Some(resource) = cache.store.get(&exchange.cache.key) else { return Looked::Ask { coalesces: true } };
    let mut scratch = std::mem::take(&mut exchange.cache.scratch);
    let found = resource.select(cache.zone, asked::fields(exchange), &mut scratch).map(Arc::clone);
    exchange.cache.scratch = scratch;
    let Some(object) = found.filter(|object| object.sharing.serves(question.credentials)) else {
        return Looked::Ask { coalesces: !resource.is_apart(now) };
    };
    let how = match object.freshness.usable(&question.control, now) {
        Use::Fresh { .. } if waited => How::Coalesced,
        Use::Fresh { .. } => How::Hit,
        Use::Refresh => How::Refreshing,
        Use::Allowed => How::Stale,
        // It was validated while this request waited, which is as good as for its own sake.
        Use::Validate if waited && object.freshness.arrived >= exchange.started && is_for_others(&object) => {
            How::Coalesced
        }
        Use::Validate if object.is_held(now) && object.freshness.serves_on_error(now) => How::OnError,
        Use::Validate => {
            let coalesces = is_for_others(&object) && !resource.is_apart(now);
            exchange.cache.stale = Some(object);
            return Looked::Ask { coalesces };
        }
    };
    Looked::Serve(object, how)
}

/// Whether a response that is stale at once may be served to requests that waited for it. Without a word of its origin that
/// it is for more than one, it may not.
fn is_for_others(object: &Object) -> bool {
    let Freshness { lifetime, .. } = object.freshness;
    object.sharing != Sharing::Anonymous || !lifetime.is_zero()
}

enum Waited {
    Look,
    Alone,
    Lead(Lead),
    Failed(OwnError),
}

/// Waits for what another request brings, until this one's own time is over.
async fn wait(run: &Run<'_>, waiter: Waiter) -> Waited {
    counters(run).coalesced.add(1);
    run.slot.set(run.deadline);
    match run.slot.within(poll_fn(|cx| waiter.poll(cx))).await {
        Ok(Told::Look) => Waited::Look,
        Ok(Told::Alone) => Waited::Alone,
        Ok(Told::Lead) => Waited::Lead(waiter.lead()),
        Ok(Told::Failed) => Waited::Failed(OwnError { status: 502, reason: "coalesced-failed" }),
        Err(_expired) => Waited::Failed(respond::TIMEOUT),
    }
}

/// The stored response that may be served in place of an error, if there is one. Its origin is left alone for a while.
pub(crate) fn on_error(run: &Run<'_>, exchange: &Exchange) -> Option<Arc<Object>> {
    let object = exchange.cache.stale.as_ref()?;
    let now = run.worker.now();
    if !object.freshness.serves_on_error(now) {
        return None;
    }
    let share = 1.0 + run.worker.with_rng(mainstay_core::random::Rng::unit);
    object.hold(now.after(HOLD.mul_f64(share)));
    Some(Arc::clone(object))
}

/// The last good copy, if it is stale by no more than `most`.
pub(crate) fn last_copy(run: &Run<'_>, exchange: &mut Exchange, most: Duration) -> Option<Arc<Object>> {
    let cache = run.route.cache.as_ref().filter(|_cache| !exchange.cache.key.is_empty())?;
    let resource = cache.store.get(&exchange.cache.key)?;
    let mut scratch = std::mem::take(&mut exchange.cache.scratch);
    let found = resource.select(cache.zone, asked::fields(exchange), &mut scratch).map(Arc::clone);
    exchange.cache.scratch = scratch;
    let credentials = asked::credentials(exchange);
    found.filter(|object| {
        object.sharing.serves(credentials) && object.freshness.serves_as_last_copy(most, run.worker.now())
    })
}

/// After a request that may have changed something, what is stored of its URL is out of date (RFC 9111, section 4.4).
pub(crate) fn invalidate(run: &Run<'_>, exchange: &mut Exchange) {
    let Some(store) = &run.listener.cache else { return };
    let is_safe = matches!(exchange.head.method.get(exchange.head_bytes()), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE");
    if is_safe || !(200..400).contains(&exchange.response.status) {
        return;
    }
    asked::write_key(run, exchange);
    store.invalidate(&exchange.cache.key);
    exchange.cache.key.clear();
}

/// What is stored for a route that leads to this service is not for another.
pub(crate) fn zone(route: &spec::Route) -> u64 {
    let parts = [route.name.as_str(), &route.service, route.rewrite_prefix.as_deref().unwrap_or_default()];
    mainstay_core::random::hash(parts.join("\0").as_bytes())
}

/// The cache of a route, if it has one.
pub(crate) fn of(route: &spec::Route, store: Option<&Arc<Store>>) -> Option<Rc<Cache>> {
    let (spec, store) = (route.cache.clone()?, Arc::clone(store?));
    Some(Rc::new(Cache { store, zone: zone(route), spec }))
}
