//! Hedging: a request whose endpoint takes longer than nearly all others is sent to another one as well, and the first answer
//! is taken. The attempt that loses is cancelled and counts as neither success nor failure; its age tells the balancer something.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use mainstay_core::time::Moment;

use super::attempt::{self, Answered, Begun, Failed};
use super::attempts;
use super::exchange::{Exchange, Run};
use super::record::{Attempt, Outcome};
use super::sticky;
use crate::explain::trace;
use crate::http1::field::Name;
use crate::state::{Hedging, Permit};
use crate::stream::Stream;

/// An attempt under way or done: at which endpoint, and the leave of its circuit breaker.
pub(crate) struct Made<'a> {
    pub(crate) index: usize,
    pub(crate) leave: Option<Permit<'a>>,
    /// When it began.
    pub(crate) started: Moment,
    pub(crate) result: Result<Answered, Failed>,
}

/// When a request is hedged, if it may be: only the first attempt, of a request that may be repeated, has no body and belongs to
/// no session that is bound to an endpoint, and only if nobody in front retries or hedges it already.
fn at<'a>(run: &Run<'a>, exchange: &Exchange, started: Moment) -> Option<(&'a Hedging, Moment)> {
    let hedging = run.route.state.hedging.as_deref()?;
    let head = &exchange.head;
    let may = exchange.attempts.is_empty()
        && !head.framing.has_body()
        && !head.wants_upgrade
        && exchange.call.is_none()
        && sticky::endpoint(exchange, &[]).is_none()
        && head.is_idempotent(exchange.head_bytes())
        && !(run.is_trusted && head.find(Name::Attempt).is_some());
    let delay = hedging.delay_now(run.worker.index, started).filter(|_delay| may)?;
    Some((hedging, started.after(delay)))
}

/// Makes an attempt at endpoint `index`, and another one beside it if it takes long. Answers the one that counts.
pub(crate) async fn attempt<'a>(
    run: &Run<'a>,
    (index, leave): (usize, Option<Permit<'a>>),
    fresh: bool,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Made<'a> {
    let started = run.worker.now();
    let Some((hedging, at)) = at(run, exchange, started) else {
        let result = attempt::run(run, index, fresh, client, exchange).await;
        if let Some(hedging) = run.route.state.hedging.as_ref().filter(|_hedging| result.is_ok()) {
            hedging.record(run.worker.index, run.worker.now(), index, run.worker.now().since(started));
        }
        return Made { index, leave, started, result };
    };
    let made = Box::pin(hedged(run, hedging, at, (index, leave), fresh, client, exchange)).await;
    if made.result.is_ok() {
        // If the other one won, the first took at least this long.
        hedging.record(run.worker.index, run.worker.now(), index, run.worker.now().since(started));
    }
    made
}

async fn hedged<'a>(
    run: &Run<'a>,
    hedging: &Hedging,
    at: Moment,
    (index, leave): (usize, Option<Permit<'a>>),
    fresh: bool,
    client: &mut Stream,
    exchange: &mut Exchange,
) -> Made<'a> {
    let started = run.worker.now();
    let begun = attempt::begin(run, index, fresh, client, exchange).await;
    let mut first = match begun {
        Ok(begun) => begun,
        Err(failed) => return Made { index, leave, started, result: Err(failed) },
    };
    if let Some(result) = first.wait_until(run, client, exchange, at).await {
        return Made { index, leave, started, result: result.map(|()| first.into_answered()) };
    }
    let Some((other, other_leave, drawn)) = choose_another(run, hedging, exchange, index) else {
        let result = first.wait(run, client, exchange).await.map(|()| first.into_answered());
        return Made { index, leave, started, result };
    };
    hedging.counters(run.worker.index).sent.add(1);
    let second_started = run.worker.now();
    let mut copy = run.worker.store.take_exchange();
    copy.copy(exchange, exchange.head.length, second_started);
    // Tells those behind that this layer has retries in hand.
    copy.attempts.push(Attempt {
        endpoint: index,
        outcome: Outcome::Abandoned,
        duration: second_started.since(started),
        reused: false,
        elsewhere: false,
    });
    let slot = run.worker.wheel.slot();
    let beside = Run { slot: &slot, ..*run };
    let (winner, copy) = race(run, &beside, other, &mut first, client, exchange, copy).await;
    match winner {
        Winner::First(result) => {
            // Dropping the other's leave tells its circuit breaker nothing.
            Made { index, leave, started, result: result.map(|()| first.into_answered()) }
        }
        Winner::Second(answered) => {
            hedging.counters(run.worker.index).won.add(1);
            let duration = run.worker.now().since(started);
            run.worker.endpoint_lost(&run.route.service, index, duration);
            let lost = Attempt {
                endpoint: index,
                outcome: Outcome::Abandoned,
                duration,
                reused: first.reused(),
                elsewhere: false,
            };
            exchange.attempts.push(lost);
            exchange.trace.next(trace::Next::Hedge);
            exchange.trace.choice(run.route.service.view(), drawn.into_inner(), &[]);
            exchange.trace.started(second_started);
            if let Some(mut copy) = copy {
                std::mem::swap(&mut exchange.output, &mut copy.output);
                std::mem::swap(&mut exchange.response, &mut copy.response);
                std::mem::swap(&mut exchange.up, &mut copy.up);
                run.worker.store.give_exchange(copy);
            }
            Made { index: other, leave: other_leave, started: second_started, result: Ok(answered) }
        }
    }
}

/// Another endpoint than `index`, if there is one, few enough requests were hedged, and the budget pays for it.
fn choose_another<'a>(
    run: &Run<'a>,
    hedging: &Hedging,
    exchange: &mut Exchange,
    index: usize,
) -> Option<(usize, Option<Permit<'a>>, RefCell<trace::Drawn>)> {
    let drawn = RefCell::default();
    let tried = exchange.tried.len();
    exchange.tried.push(index);
    let (chosen, _soonest) = attempts::select(run, exchange, None, false, &drawn);
    exchange.tried.truncate(tried);
    let (other, leave) = chosen?;
    if !hedging.pay(run.worker.index) {
        return None;
    }
    if !run.worker.may_retry(&run.route.service, &run.route.purse) {
        run.route.state.shards.of(run.worker.index).budget_refusals.add(1);
        return None;
    }
    Some((other, leave, drawn))
}

enum Winner {
    First(Result<(), Failed>),
    Second(Answered),
}

/// Waits for either answer. A second attempt that fails, or is answered 5xx, is as good as none; a first one that fails waits for
/// the second.
async fn race(
    run: &Run<'_>,
    beside: &Run<'_>,
    other: usize,
    first: &mut Begun,
    client: &mut Stream,
    exchange: &mut Exchange,
    mut copy: Box<Exchange>,
) -> (Winner, Option<Box<Exchange>>) {
    let mut nobody = Stream::Nobody;
    let mut first = pin!(first.wait(run, client, exchange));
    let second = async {
        let result = attempt::run(beside, other, false, &mut nobody, &mut copy).await;
        (result, copy)
    };
    let mut second = pin!(second);
    let (mut failed, mut is_second_over) = (None, false);
    poll_fn(|cx| {
        if failed.is_none()
            && let Poll::Ready(result) = first.as_mut().poll(cx)
        {
            match result {
                Err(failure) if !is_second_over && matches!(failure, Failed::Endpoint { .. }) => failed = Some(failure),
                result => return Poll::Ready((Winner::First(result), None)),
            }
        }
        if !is_second_over && let Poll::Ready((result, copy)) = second.as_mut().poll(cx) {
            is_second_over = true;
            match result {
                Ok(answered) if copy.response.status < 500 => {
                    return Poll::Ready((Winner::Second(answered), Some(copy)));
                }
                _of_no_use => {}
            }
        }
        match failed.take() {
            Some(failure) if is_second_over => Poll::Ready((Winner::First(Err(failure)), None)),
            waits => {
                failed = waits;
                Poll::Pending
            }
        }
    })
    .await
}
