//! Coalescing: of calls for the same thing at the same time one is made, and all get its answer.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use mainstay_core::coalesce::{Ended, Flight, Joined, Limits, Ticket, Told};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::lock;
use crate::counts::Counts;
use crate::error::{BoxError, Rejected};
use crate::judge::{Errors, Judge, Verdict};

const EVENTS: &[&str] = &["led", "shared", "alone", "leaders-failed"];
const LED: usize = 0;
const SHARED: usize = 1;
const ALONE: usize = 2;
const FAILED: usize = 3;

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Calls that wait for the answer of one; further ones are made.
    pub waiters: usize,
    /// Calls that are made one after another for those who wait while each fails; at least 1.
    pub leaders: u32,
    /// Things that are under way at once; calls for further ones are made without others joining.
    pub keys: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { waiters: 1024, leaders: 3, keys: 10_000 }
    }
}

/// Makes one call in place of many for the same key. The failure or cancellation of the one that makes it does not fail the
/// others: the one that has waited longest makes it next. Only give keys to calls whose answers may be shared, with whatever
/// they depend on (who asks, above all) in the key.
pub struct CoalesceLayer<K, Response, F, J = Errors> {
    shared: Arc<Shared<K, Response>>,
    key: F,
    judge: J,
}

struct Shared<K, Response> {
    policy: Policy,
    flights: Mutex<HashMap<K, Arc<Mutex<Group<Response>>>>>,
    counts: Arc<Counts>,
}

/// The calls for one key.
struct Group<Response> {
    flight: Flight,
    answer: Option<Response>,
    /// What was said to whom, and whom to wake.
    told: HashMap<Ticket, (Option<Told>, Option<Waker>)>,
}

impl<Response> Group<Response> {
    /// Passes on what the flight has to say. Whom to wake, once the lock is given back.
    fn tell(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some((ticket, told)) = self.flight.poll_output() {
            if let Some(entry) = self.told.get_mut(&ticket) {
                entry.0 = Some(told);
                wakers.extend(entry.1.take());
            }
        }
        wakers
    }
}

impl<K, Response, F> CoalesceLayer<K, Response, F> {
    /// Coalesces calls to which `key` gives the same key; those without one are made.
    pub fn new(policy: Policy, key: F) -> Self {
        let counts = Arc::new(Counts::new("coalesce", "", EVENTS));
        Self { shared: Arc::new(Shared { policy, flights: Mutex::default(), counts }), key, judge: Errors }
    }
}

impl<K, Response, F, J> CoalesceLayer<K, Response, F, J> {
    /// Has another judge say which answers are shared: successes.
    pub fn judged_by<L>(self, judge: L) -> CoalesceLayer<K, Response, F, L> {
        CoalesceLayer { shared: self.shared, key: self.key, judge }
    }

    /// Its events: `led` (the call was made, and others could join), `shared` (another's answer was taken), `alone` (the call
    /// was made by itself) and `leaders-failed`.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.shared.counts
    }
}

impl<K, Response, F: Clone, J: Clone> Clone for CoalesceLayer<K, Response, F, J> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), key: self.key.clone(), judge: self.judge.clone() }
    }
}

impl<S, K, Response, F: Clone, J: Clone> Layer<S> for CoalesceLayer<K, Response, F, J> {
    type Service = Coalesce<S, K, Response, F, J>;

    fn layer(&self, inner: S) -> Self::Service {
        Coalesce { inner, layer: self.clone() }
    }
}

/// See [`CoalesceLayer`].
pub struct Coalesce<S, K, Response, F, J = Errors> {
    inner: S,
    layer: CoalesceLayer<K, Response, F, J>,
}

impl<S: Clone, K, Response, F: Clone, J: Clone> Clone for Coalesce<S, K, Response, F, J> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, K, F, J, Request> Service<Request> for Coalesce<S, K, S::Response, F, J>
where
    S: Service<Request> + Clone,
    S::Error: Into<BoxError>,
    S::Response: Clone,
    K: Hash + Eq + Clone,
    F: Fn(&Request) -> Option<K>,
    J: Judge<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = CoalesceFuture<S, K, J, Request>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let shared = &self.layer.shared;
        let clone = self.inner.clone();
        let mut service = mem::replace(&mut self.inner, clone);
        let key = (self.layer.key)(&request);
        let state = match key.and_then(|key| shared.join(key)) {
            Some(member) if member.leads => {
                shared.counts.add(LED);
                State::Calling { call: service.call(request), leads: Some(member) }
            }
            Some(member) => State::Waiting { member, request: Some(request) },
            None => {
                shared.counts.add(ALONE);
                State::Calling { call: service.call(request), leads: None }
            }
        };
        CoalesceFuture { service, shared: Arc::clone(shared), judge: self.layer.judge.clone(), state }
    }
}

impl<K: Hash + Eq + Clone, Response> Shared<K, Response> {
    /// A call for `key` comes. `None` if it is to be made by itself.
    fn join(self: &Arc<Self>, key: K) -> Option<Member<K, Response>> {
        let mut flights = lock(&self.flights);
        let group = match flights.get(&key) {
            Some(group) => Arc::clone(group),
            None if flights.len() >= self.policy.keys => return None,
            None => {
                let limits = Limits { waiters: self.policy.waiters, leaders: self.policy.leaders.max(1) };
                let group = Group { flight: Flight::new(limits), answer: None, told: HashMap::new() };
                let group = Arc::new(Mutex::new(group));
                flights.insert(key.clone(), Arc::clone(&group));
                return Some(Member { shared: Arc::clone(self), key, group, ticket: None, leads: true });
            }
        };
        let mut locked = lock(&group);
        let (ticket, leads) = match locked.flight.join() {
            Joined::Lead => (None, true),
            Joined::Wait(ticket) => {
                locked.told.insert(ticket, (None, None));
                (Some(ticket), false)
            }
            Joined::Alone => return None,
        };
        drop(locked);
        Some(Member { shared: Arc::clone(self), key, group, ticket, leads })
    }
}

/// A call's place in its group; given up when dropped.
struct Member<K: Hash + Eq + Clone, Response> {
    shared: Arc<Shared<K, Response>>,
    key: K,
    group: Arc<Mutex<Group<Response>>>,
    ticket: Option<Ticket>,
    leads: bool,
}

impl<K: Hash + Eq + Clone, Response> Member<K, Response> {
    /// The call that it made for the group has ended.
    fn ended(&mut self, how: Ended, answer: Option<Response>) {
        if !mem::take(&mut self.leads) {
            return;
        }
        self.step(|group| {
            group.answer = answer;
            group.flight.ended(how);
        });
    }

    /// What it is told, or a wait.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Told> {
        let mut group = lock(&self.group);
        let Some(entry) = self.ticket.and_then(|ticket| group.told.get_mut(&ticket)) else {
            return Poll::Ready(Told::Alone);
        };
        match entry.0 {
            Some(told) => Poll::Ready(told),
            None => {
                entry.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// It waits no longer, having heard what it was told, if anything.
    fn stand_up(&mut self, has_heard: bool) {
        let Some(ticket) = self.ticket.take() else { return };
        self.step(|group| {
            let told = group.told.remove(&ticket).and_then(|(told, _waker)| told);
            if !has_heard {
                group.flight.leave(ticket, told);
            }
        });
    }

    /// Takes the group a step further: wakes whoever is told something then, and forgets the group if that was its end.
    fn step(&self, step: impl FnOnce(&mut Group<Response>)) {
        let mut flights = lock(&self.shared.flights);
        let mut group = lock(&self.group);
        step(&mut group);
        let wakers = group.tell();
        let is_over = group.flight.is_over();
        drop(group);
        // Only this group's place: another may have the key by now.
        if is_over && flights.get(&self.key).is_some_and(|known| Arc::ptr_eq(known, &self.group)) {
            flights.remove(&self.key);
        }
        drop(flights);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<K: Hash + Eq + Clone, Response> Drop for Member<K, Response> {
    fn drop(&mut self) {
        self.stand_up(false);
        // Who leads and is cancelled has brought nothing.
        self.ended(Ended::Failed, None);
    }
}

pin_project! {
    /// The future of [`Coalesce`].
    pub struct CoalesceFuture<S, K, J, Request>
    where
        S: Service<Request>,
        K: Hash,
        K: Eq,
        K: Clone,
    {
        service: S,
        shared: Arc<Shared<K, S::Response>>,
        judge: J,
        #[pin]
        state: State<S::Future, K, S::Response, Request>,
    }
}

pin_project! {
    #[project = Projected]
    enum State<C, K, Response, Request>
    where
        K: Hash,
        K: Eq,
        K: Clone,
    {
        Waiting { member: Member<K, Response>, request: Option<Request> },
        Calling { #[pin] call: C, leads: Option<Member<K, Response>> },
        Told { result: Option<Result<Response, BoxError>> },
    }
}

impl<S, K, J, Request> Future for CoalesceFuture<S, K, J, Request>
where
    S: Service<Request> + Clone,
    S::Error: Into<BoxError>,
    S::Response: Clone,
    K: Hash + Eq + Clone,
    J: Judge<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                Projected::Calling { call, leads } => {
                    let result = ready!(call.poll(context)).map_err(Into::into);
                    if let Some(mut member) = leads.take() {
                        match (&result, this.judge.judge(&result)) {
                            (Ok(response), Verdict::Success) => member.ended(Ended::Shared, Some(response.clone())),
                            (Ok(_), Verdict::Ignored) => member.ended(Ended::Unshared, None),
                            (Ok(_) | Err(_), _) => member.ended(Ended::Failed, None),
                        }
                    }
                    return Poll::Ready(result);
                }
                Projected::Told { result } => {
                    return result.take().map_or(Poll::Pending, Poll::Ready);
                }
                Projected::Waiting { member, request } => {
                    let told = ready!(member.poll(context));
                    member.stand_up(true);
                    let answer = lock(&member.group).answer.clone();
                    match (told, answer, request.take()) {
                        (Told::Look, Some(answer), _) => {
                            this.shared.counts.add(SHARED);
                            State::Told { result: Some(Ok(answer)) }
                        }
                        (Told::Failed, _, _) | (_, _, None) => {
                            this.shared.counts.add(FAILED);
                            State::Told { result: Some(Err(Rejected::LeadersFailed.into())) }
                        }
                        (Told::Lead, _, Some(request)) => {
                            this.shared.counts.add(LED);
                            let seat = Member {
                                shared: Arc::clone(&member.shared),
                                key: member.key.clone(),
                                group: Arc::clone(&member.group),
                                ticket: None,
                                leads: true,
                            };
                            State::Calling { call: this.service.call(request), leads: Some(seat) }
                        }
                        (Told::Look | Told::Alone, _, Some(request)) => {
                            this.shared.counts.add(ALONE);
                            State::Calling { call: this.service.call(request), leads: None }
                        }
                    }
                }
            };
            this.state.set(next);
        }
    }
}
