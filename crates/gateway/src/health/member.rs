use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use mainstay_core::health::{Input, Machine, Output, State};
use mainstay_core::random::{self, Rng};
use mainstay_core::time::Moment;
use mainstay_probe::Place;
use mainstay_runtime::clock::Clock;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::driver::Gate;
use super::names::Names;
use super::plan::Plan;
use crate::spec::Address;
use crate::state::Endpoint;

/// Probes at once. The wait for a turn comes before a probe's time begins, so that many dead endpoints make the probes of
/// the living ones rarer but never make them fail.
pub(super) const PROBES_MAX: usize = 256;

/// What all members share.
pub(super) struct Surroundings {
    pub(super) clock: Clock,
    pub(super) names: Names,
    pub(super) turns: Semaphore,
}

/// An endpoint that is minded.
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    plan: RefCell<Rc<Plan>>,
    surroundings: Rc<Surroundings>,
    why: RefCell<Why>,
    /// Given back with the first verdict.
    gate: RefCell<Option<Arc<Gate>>>,
    /// Since when it is ejected.
    pub(super) ejected_since: Cell<Option<Moment>>,
}

/// Reasons by where they come from; each comes and goes on its own.
#[derive(Default)]
struct Why {
    health: Option<String>,
    name: Option<String>,
    ejection: Option<String>,
}

impl Member {
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        plan: Plan,
        around: &Rc<Surroundings>,
        gate: Option<Arc<Gate>>,
    ) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            plan: RefCell::new(Rc::new(plan)),
            surroundings: Rc::clone(around),
            why: RefCell::default(),
            gate: RefCell::new(gate),
            ejected_since: Cell::new(None),
        }
    }

    /// The present plan. It is read anew for each probe, so that a reload is heeded without a restart.
    pub(super) fn plan(&self) -> Rc<Plan> {
        Rc::clone(&self.plan.borrow())
    }

    pub(super) fn replan(&self, plan: Plan) {
        self.plan.replace(Rc::new(plan));
    }

    /// Minds the endpoint for ever.
    pub(super) async fn run(self: Rc<Self>) {
        if let Address::Unix(path) = &self.endpoint.address {
            match self.check(Place::Unix(path.clone())).await {}
        }
        let mut address = self.first_address().await;
        loop {
            address = tokio::select! {
                never = self.check(Place::Tcp(address)) => match never {},
                address = self.moved(address) => address,
            };
        }
    }

    /// Feeds the health machine for as long as the endpoint stays at `place`.
    async fn check(&self, place: Place) -> Infallible {
        let clock = self.surroundings.clock;
        let Some(policy) = self.plan().check.as_ref().map(|check| check.policy) else {
            self.change(State::Up, None);
            self.gate.take();
            return std::future::pending().await;
        };
        let mut turn = self.turn().await;
        let seed = random::hash(self.endpoint.name.as_bytes()) ^ clock.now().as_nanos();
        let mut machine = Machine::new(policy, self.endpoint.health(), clock.now(), Rng::seeded(seed));
        let (mut failure, mut judged) = (None, false);
        loop {
            let mut probe = None;
            while let Some(output) = machine.poll_output() {
                match output {
                    Output::Changed { from: _, to } => self.change(to, failure.clone()),
                    Output::StartProbe { generation } => probe = Some(generation),
                }
            }
            if judged {
                // Only now, so that who sees the first verdicts complete also sees what they are.
                self.gate.take();
            }
            if let Some(generation) = probe {
                failure = self.ask(&place).await;
                machine.step(clock.now(), Input::Verdict { generation, passed: failure.is_none() });
                judged = true;
                if failure.is_some() && machine.state() != State::Up {
                    self.explain(|why| why.health.clone_from(&failure));
                }
            } else {
                drop(turn);
                clock.sleep_until(machine.deadline()).await;
                turn = self.turn().await;
                machine.step(clock.now(), Input::Timeout);
            }
        }
    }

    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed; if it were, no check would be bounded but none would stop either.
        self.surroundings.turns.acquire().await.ok()
    }

    /// Asks the endpoint once and counts the answer; the reason if it failed.
    async fn ask(&self, place: &Place) -> Option<String> {
        let plan = self.plan();
        let check = plan.check.as_ref()?;
        let result = check.ask(place, check.policy.timeout).await;
        let counter = if result.is_ok() { &self.endpoint.probes_passed } else { &self.endpoint.probes_failed };
        counter.fetch_add(1, Ordering::Relaxed);
        result.err()
    }

    /// Where the endpoint is; while its name does not resolve, it is down.
    async fn first_address(&self) -> SocketAddr {
        let known = *lock(&self.endpoint.resolved);
        if let Some(address) = known {
            return address;
        }
        loop {
            match self.resolve().await {
                Ok(found) if !found.is_empty() => {
                    self.settle_at(found[0]);
                    return found[0];
                }
                Ok(_none) => self.change(State::Down, Some("name does not resolve: it has no address".to_owned())),
                Err(error) => self.change(State::Down, Some(format!("name does not resolve: {error}"))),
            }
            self.gate.take();
            tokio::time::sleep(self.surroundings.names.retry).await;
        }
    }

    /// Waits until the name resolves to other addresses than the present one. An address is kept while look-ups fail: a
    /// name server that is gone must not take well endpoints with it.
    async fn moved(&self, present: SocketAddr) -> SocketAddr {
        if !matches!(self.endpoint.address, Address::Name { .. }) {
            return std::future::pending().await;
        }
        let names = &self.surroundings.names;
        let mut wait = names.again;
        loop {
            tokio::time::sleep(wait).await;
            match self.resolve().await {
                Ok(found) if found.contains(&present) => {
                    self.explain(|why| why.name = None);
                    wait = names.again;
                }
                Ok(found) if !found.is_empty() => {
                    self.settle_at(found[0]);
                    return found[0];
                }
                Ok(_none) => wait = self.keep(present, "it has no address"),
                Err(error) => wait = self.keep(present, &error.to_string()),
            }
        }
    }

    fn keep(&self, present: SocketAddr, error: &str) -> std::time::Duration {
        let service = &self.plan().service.spec.name;
        if self.why.borrow().name.is_none() {
            let endpoint = &self.endpoint.name;
            tracing::warn!(service, endpoint, reason = error, kept = %present, "name does not resolve any more");
        }
        self.explain(|why| why.name = Some(format!("name does not resolve: {error} (last address kept: {present})")));
        self.surroundings.names.retry
    }

    async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        match &self.endpoint.address {
            Address::Socket(address) => Ok(vec![*address]),
            Address::Name { host, port } => (self.surroundings.names.resolve)(host.clone(), *port).await,
            Address::Unix(_) => Ok(Vec::new()),
        }
    }

    /// The endpoint is at `address` now; nothing is known of it there.
    fn settle_at(&self, address: SocketAddr) {
        let before = lock(&self.endpoint.resolved).replace(address);
        let plan = self.plan();
        let (service, endpoint) = (&plan.service.spec.name, &self.endpoint.name);
        match before {
            Some(before) => tracing::info!(service, endpoint, from = %before, to = %address, "endpoint has moved"),
            None => tracing::debug!(service, endpoint, to = %address, "endpoint's name is resolved"),
        }
        self.endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
        self.explain(|why| *why = Why { ejection: why.ejection.take(), ..Why::default() });
        self.change(State::Unknown, None);
        self.raise_epoch();
    }

    /// Publishes what checks say now, and logs it if it is news.
    fn change(&self, to: State, reason: Option<String>) {
        let from = self.endpoint.health();
        let reason = if to == State::Up { None } else { reason };
        self.explain(|why| why.health.clone_from(&reason));
        if from == to {
            return;
        }
        self.endpoint.set_health(to);
        *lock(&self.endpoint.changed_at) = SystemTime::now();
        if to == State::Up {
            // Failures from before it went down say nothing about it now.
            self.endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
        }
        self.raise_epoch();
        let plan = self.plan();
        let (service, endpoint, reason) = (&plan.service.spec.name, &self.endpoint.name, reason.unwrap_or_default());
        let (from, to_word) = (word(from), word(to));
        match to {
            State::Up => tracing::info!(service, endpoint, from, to = to_word, reason, "endpoint is up"),
            State::Down => tracing::warn!(service, endpoint, from, to = to_word, reason, "endpoint is down"),
            State::Unknown => tracing::info!(service, endpoint, from, to = to_word, reason, "endpoint is unproven"),
        }
    }

    /// Publishes an ejection, or with `None` its end. The caller logs it.
    pub(super) fn set_ejected(&self, since: Option<Moment>, reason: Option<String>) {
        self.ejected_since.set(since);
        self.endpoint.ejected.store(since.is_some(), Ordering::Release);
        self.endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
        *lock(&self.endpoint.changed_at) = SystemTime::now();
        self.explain(|why| why.ejection = reason);
        self.raise_epoch();
    }

    /// Goes on with the ejection of the member that minded the endpoint before.
    pub(super) fn take_ejection(&self, before: &Self) {
        self.ejected_since.set(before.ejected_since.get());
        let reason = before.why.borrow().ejection.clone();
        self.explain(|why| why.ejection = reason);
    }

    /// Goes on with the ejection by another process, whose reason the endpoint tells.
    pub(super) fn inherit_ejection(&self, now: Moment) {
        self.ejected_since.set(Some(now));
        let reason = lock(&self.endpoint.reason).clone();
        self.explain(|why| why.ejection = Some(reason));
    }

    fn raise_epoch(&self) {
        self.plan().service.epoch.fetch_add(1, Ordering::Release);
    }

    fn explain(&self, edit: impl FnOnce(&mut Why)) {
        let mut why = self.why.borrow_mut();
        edit(&mut why);
        let parts = [&why.health, &why.name, &why.ejection];
        *lock(&self.endpoint.reason) = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("; ");
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Unknown => "unknown",
        State::Up => "up",
        State::Down => "down",
    }
}

/// A reader that panicked leaves nothing half written behind: every value is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
