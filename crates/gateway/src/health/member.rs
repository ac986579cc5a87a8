use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use mainstay_core::balance::Share;
use mainstay_core::health::{Input, Machine, Output, State, Verdict};
use mainstay_core::random::{self, Rng};
use mainstay_core::resolve::Addresses;
use mainstay_core::time::Moment;
use mainstay_core::transition::{Aspect, Subject, Transition, Word};
use mainstay_probe::Place;
use mainstay_runtime::clock::Clock;
use mainstay_runtime::journal::Journal;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::driver::Gate;
use super::names::Names;
use super::plan::Plan;
use super::{guard, ramp};
use crate::spec::Address;
use crate::state::{Endpoint, Factor};

/// Probes at once. The wait for a turn comes before a probe's time begins, so that many dead endpoints make the probes of
/// the living ones rarer but never make them fail.
pub(super) const PROBES_MAX: usize = 256;

/// Commands at once, for the same reason; a process costs more than a connection.
pub(super) const COMMANDS_MAX: usize = 16;

/// Addresses of one name that one check of an endpoint tries, at most.
const ADDRESSES_TRIED: usize = 4;

/// What all members share.
pub(super) struct Surroundings {
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    pub(super) names: RefCell<Rc<Names>>,
    pub(super) turns: Semaphore,
    pub(super) commands: Semaphore,
}

/// An endpoint that is minded.
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    plan: RefCell<Rc<Plan>>,
    pub(super) surroundings: Rc<Surroundings>,
    pub(super) why: RefCell<Why>,
    /// Where the endpoint's name leads.
    pub(super) location: RefCell<Addresses<SocketAddr>>,
    /// Given back with the first verdict.
    pub(super) gate: RefCell<Option<Arc<Gate>>>,
    /// Since when it is ejected.
    pub(super) ejected_since: Cell<Option<Moment>>,
}

/// Reasons by where they come from; each comes and goes on its own.
#[derive(Default)]
pub(super) struct Why {
    pub(super) health: Option<String>,
    pub(super) degraded: Option<String>,
    pub(super) name: Option<String>,
    pub(super) ejection: Option<String>,
    pub(super) easing: Option<String>,
}

impl Member {
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        plan: Plan,
        around: &Rc<Surroundings>,
        gate: Option<Arc<Gate>>,
    ) -> Self {
        let mut location = Addresses::default();
        location.answered(&endpoint.addresses());
        Self {
            endpoint: Arc::clone(endpoint),
            location: RefCell::new(location),
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
        if let Address::Unix(_) = &self.endpoint.address {
            match self.check().await {}
        }
        let mut wait = self.first_address().await;
        loop {
            wait = tokio::select! {
                never = self.check() => match never {},
                wait = self.moved(wait) => wait,
            };
        }
    }

    /// Feeds the health machine for as long as the endpoint stays where it is.
    async fn check(&self) -> Infallible {
        let clock = self.surroundings.clock;
        let Some(policy) = self.plan().check.as_ref().map(|check| check.policy) else {
            self.change(State::Up, None);
            if self.endpoint.degraded.load(Ordering::Acquire) {
                self.ease(false, None);
            }
            self.gate.take();
            return std::future::pending().await;
        };
        let mut turn = self.turn().await;
        let seed = random::hash(self.endpoint.name.as_bytes()) ^ clock.now().as_nanos();
        let degraded = self.endpoint.degraded.load(Ordering::Acquire);
        // After a reload the share may be another one, and a process that took over has yet to apply it.
        self.lower(degraded);
        let mut machine = Machine::new(policy, self.endpoint.health(), degraded, clock.now(), Rng::seeded(seed));
        let (mut found, mut judged) = (Found::default(), false);
        loop {
            let mut probe = None;
            while let Some(output) = machine.poll_output() {
                match output {
                    Output::Changed { from: _, to } => self.change(to, found.reason.clone()),
                    Output::Eased { degraded } => self.ease(degraded, found.reason.clone()),
                    Output::StartProbe { generation } => probe = Some(generation),
                }
            }
            if judged {
                // Only now, so that who sees the first verdicts complete also sees what they are.
                self.gate.take();
            }
            if let Some(generation) = probe {
                found = self.ask().await;
                machine.step(clock.now(), Input::Verdict { generation, verdict: found.verdict });
                judged = true;
                if found.verdict == Verdict::Failed && machine.state() != State::Up {
                    self.explain(|why| why.health.clone_from(&found.reason));
                }
                if found.reason.is_some() && machine.is_degraded() {
                    self.explain(|why| why.degraded.clone_from(&found.reason));
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
        let turns = if self.plan().is_command() { &self.surroundings.commands } else { &self.surroundings.turns };
        turns.acquire().await.ok()
    }

    /// Asks the endpoint once and counts the answer. While it is not up, every address of its name is
    /// tried in turn, up to a bound, and the one that answers is the one in use from then on.
    async fn ask(&self) -> Found {
        let plan = self.plan();
        let Some(check) = plan.check.as_ref() else { return Found::default() };
        let tries = if self.endpoint.health() == State::Up { 1 } else { self.location.borrow().all().len() };
        let mut failure = None;
        for _try in 0..tries.clamp(1, ADDRESSES_TRIED) {
            let place = match &self.endpoint.address {
                Address::Unix(path) => Place::Unix(path.clone()),
                Address::Socket(_) | Address::Name { .. } | Address::Member { .. } => {
                    let Some(address) = self.endpoint.located() else { return Found::default() };
                    Place::Tcp(address)
                }
            };
            let result = check.ask(&place, check.policy.timeout).await;
            self.count(&result);
            // The first one's reason is told: that is the address that was in use.
            match result {
                Ok(None) => return Found::default(),
                Ok(reason) => return Found { verdict: Verdict::Degraded, reason },
                Err(reason) => failure = failure.or(Some(reason)),
            }
            if let Some(live) = check.ask_life(&place, check.policy.timeout).await
                && self.endpoint.live.swap(live, Ordering::AcqRel) != live
            {
                self.raise_epoch();
            }
            if tries > 1 {
                self.try_next();
            }
        }
        Found { verdict: Verdict::Failed, reason: failure }
    }

    fn count(&self, result: &Result<Option<String>, String>) {
        let counter = if result.is_ok() { &self.endpoint.probes_passed } else { &self.endpoint.probes_failed };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Ok(Some(_amiss)) = result {
            self.endpoint.probes_degraded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Publishes what checks say now, and logs it if it is news.
    pub(super) fn change(&self, to: State, reason: Option<String>) {
        let from = self.endpoint.health();
        let reason = if to == State::Up { None } else { reason };
        self.explain(|why| why.health.clone_from(&reason));
        if from == to {
            return;
        }
        let now = self.surroundings.clock.now();
        let plan = self.plan();
        guard::before_change(&plan.service, &self.endpoint, to, now);
        if (from, to) == (State::Down, State::Up) {
            ramp::begin(&plan.service, &self.endpoint, now);
        }
        self.endpoint.set_health(to);
        *lock(&self.endpoint.changed_at) = SystemTime::now();
        if to == State::Up {
            // Failures from before it went down say nothing about it now.
            self.endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
        }
        self.raise_epoch();
        let (service, endpoint, reason) = (&plan.service.spec.name, &self.endpoint.name, reason.unwrap_or_default());
        let (from_word, to_word) = (standing(from).as_str(), standing(to).as_str());
        match to {
            State::Up => tracing::info!(service, endpoint, from = from_word, to = to_word, reason, "endpoint is up"),
            State::Down => {
                tracing::warn!(service, endpoint, from = from_word, to = to_word, reason, "endpoint is down")
            }
            State::Unknown => {
                tracing::info!(service, endpoint, from = from_word, to = to_word, reason, "endpoint is unproven")
            }
        }
        self.record(Aspect::Health, standing(from), standing(to), &reason);
    }

    /// Has the endpoint get its share of its weight while it is degraded, or all of it.
    fn lower(&self, degraded: bool) {
        let share = match self.plan().check.as_ref() {
            Some(check) if degraded => Share::ratio(check.degraded_share),
            Some(_) | None => Share::FULL,
        };
        if self.endpoint.set_factor(Factor::Degraded, share) != share {
            self.raise_epoch();
        }
    }

    /// Publishes whether checks find it degraded, and logs it.
    fn ease(&self, degraded: bool, reason: Option<String>) {
        let reason = reason.filter(|_reason| degraded);
        self.explain(|why| why.degraded.clone_from(&reason));
        self.endpoint.degraded.store(degraded, Ordering::Release);
        self.lower(degraded);
        *lock(&self.endpoint.changed_at) = SystemTime::now();
        self.raise_epoch();
        let plan = self.plan();
        let (service, endpoint, reason) = (&plan.service.spec.name, &self.endpoint.name, reason.unwrap_or_default());
        if degraded {
            tracing::warn!(service, endpoint, reason, "endpoint is degraded");
        } else {
            tracing::info!(service, endpoint, "endpoint is no longer degraded");
        }
        let (well, amiss) = (Word::Well, Word::Degraded);
        let (from, to) = if degraded { (well, amiss) } else { (amiss, well) };
        self.record(Aspect::Condition, from, to, &reason);
    }

    /// Publishes an ejection, or with `None` its end. The caller logs it.
    pub(super) fn set_ejected(&self, since: Option<Moment>, reason: Option<String>) {
        self.ejected_since.set(since);
        if since.is_none() && self.endpoint.ejected.load(Ordering::Acquire) {
            ramp::begin(&self.plan().service, &self.endpoint, self.surroundings.clock.now());
        }
        self.endpoint.ejected.store(since.is_some(), Ordering::Release);
        self.endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
        *lock(&self.endpoint.changed_at) = SystemTime::now();
        self.explain(|why| why.ejection = reason);
        self.raise_epoch();
    }

    /// Publishes how much of its weight the endpoint gets in comparison with its siblings.
    pub(super) fn set_eased(&self, share: Share, reason: Option<String>) {
        self.explain(|why| why.easing = reason);
        if self.endpoint.set_factor(Factor::Gray, share) != share {
            self.raise_epoch();
        }
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

    /// Tells the journal of a change of this endpoint.
    pub(super) fn record(&self, aspect: Aspect, from: Word, to: Word, cause: &str) {
        let subject = Subject::endpoint(&self.plan().service.spec.name, &self.endpoint.name);
        self.surroundings.journal.record(Transition::new(subject, aspect, from, to).because(cause));
    }

    pub(super) fn raise_epoch(&self) {
        self.plan().service.epoch.fetch_add(1, Ordering::Release);
    }

    pub(super) fn explain(&self, edit: impl FnOnce(&mut Why)) {
        let mut why = self.why.borrow_mut();
        edit(&mut why);
        let degraded = why.degraded.as_ref().map(|reason| format!("degraded: {reason}"));
        let parts = [&why.health, &degraded, &why.name, &why.ejection, &why.easing];
        *lock(&self.endpoint.reason) = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("; ");
    }
}

/// What one check found.
struct Found {
    verdict: Verdict,
    /// Of anything but a clean pass.
    reason: Option<String>,
}

impl Default for Found {
    fn default() -> Self {
        Self { verdict: Verdict::Passed, reason: None }
    }
}

/// The word for what checks say.
pub(super) const fn standing(state: State) -> Word {
    match state {
        State::Unknown => Word::Unknown,
        State::Up => Word::Up,
        State::Down => Word::Down,
    }
}

/// A reader that panicked leaves nothing half written behind: every value is replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
