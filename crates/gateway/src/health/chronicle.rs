//! Tells the journal of what this thread does not decide itself: circuit breakers, drains, guards, and above all whether a
//! service serves. It compares what is with what was, so that nobody on a request's way has to tell anything.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use mainstay_core::balance::Share;
use mainstay_core::breaker::Phase;
use mainstay_core::time::Moment;
use mainstay_core::transition::{Aspect, Subject, Transition, Word};
use mainstay_runtime::journal::Journal;

use crate::state::{Breaker, Endpoint, Factor, Route, Service, State};

mod standing;

/// How often it looks, and by how much it may be late.
const LOOK: Duration = Duration::from_millis(250);

/// What was seen last.
pub(super) struct Chronicle {
    journal: Journal,
    state: Option<Arc<State>>,
    due: Moment,
    /// By the service's name.
    services: HashMap<String, Seen>,
    /// By the route's name.
    routes: HashMap<String, SeenRoute>,
}

/// A service as it was.
struct Seen {
    /// By this it is known that nothing has changed; `None` to look in any case.
    epoch: Option<u64>,
    standing: Word,
    /// Whether it stands so by somebody's wish.
    planned: bool,
    guarded: bool,
    /// As the service's.
    endpoints: Vec<SeenEndpoint>,
}

#[derive(Clone)]
struct SeenEndpoint {
    name: String,
    draining: bool,
    ramping: bool,
    breaker: Word,
}

struct SeenRoute {
    breaker: Word,
    held: bool,
}

impl Chronicle {
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal, state: None, due: Moment::NEVER, services: HashMap::new(), routes: HashMap::new() }
    }

    /// Follows these services and routes from now on. What is the same as before has the same past.
    pub(super) fn apply(&mut self, state: &Arc<State>, now: Moment) {
        let mut before = std::mem::take(&mut self.services);
        for service in &state.services {
            let seen = before.remove(&service.spec.name);
            self.services.insert(service.spec.name.clone(), Seen::of(service, seen));
        }
        for (name, seen) in before {
            let gone = Transition::new(Subject::of_service(&name), Aspect::Standing, seen.standing, Word::Absent);
            self.journal.record(gone.because("no longer configured").planned(true));
        }
        self.routes.retain(|name, _seen| state.routes.iter().any(|route| route.spec.name == *name));
        self.state = Some(Arc::clone(state));
        self.due = now;
    }

    /// When to call [`Self::advance`].
    pub(super) const fn deadline(&self) -> Moment {
        self.due
    }

    /// Looks, if it is time.
    pub(super) fn advance(&mut self, now: Moment) {
        let Some(state) = self.state.as_ref().filter(|_state| self.due <= now) else { return };
        self.due = now.after(LOOK);
        for service in &state.services {
            if let Some(seen) = self.services.get_mut(&service.spec.name) {
                seen.look(service, &self.journal);
            }
        }
        for route in state.routes.iter().filter(|route| route.breaker.is_some() || route.guard.is_some()) {
            let fresh = SeenRoute { breaker: Word::Closed, held: false };
            self.routes.entry(route.spec.name.clone()).or_insert(fresh).look(route, now, &self.journal);
        }
    }
}

impl Seen {
    /// What is to be known of a service: what `before` knows of it, or that nothing is.
    fn of(service: &Service, before: Option<Self>) -> Self {
        let mut known: HashMap<String, SeenEndpoint> = HashMap::new();
        let mut seen =
            Self { epoch: None, standing: Word::Unknown, planned: false, guarded: false, endpoints: Vec::new() };
        if let Some(before) = before {
            known.extend(before.endpoints.into_iter().map(|endpoint| (endpoint.name.clone(), endpoint)));
            seen = Self { epoch: None, endpoints: Vec::new(), ..before };
        }
        seen.endpoints =
            service.endpoints.iter().map(|it| known.remove(&it.name).unwrap_or_else(|| fresh(it))).collect();
        seen
    }

    fn look(&mut self, service: &Service, journal: &Journal) {
        // Breakers change without a new epoch: workers do it.
        let mut changed = false;
        for ((seen, endpoint), breaker) in self.endpoints.iter_mut().zip(&service.endpoints).zip(&service.breakers) {
            let phase = word(breaker.phase());
            if phase != seen.breaker {
                changed = true;
                let subject = Subject::endpoint(&service.spec.name, &endpoint.name);
                tell_breaker(journal, subject, seen.breaker, phase, breaker);
                seen.breaker = phase;
            }
        }
        let epoch = Some(service.epoch.load(Ordering::Acquire));
        if epoch == self.epoch && !changed {
            return;
        }
        self.epoch = epoch;
        for (seen, endpoint) in self.endpoints.iter_mut().zip(&service.endpoints) {
            seen.look(&service.spec.name, endpoint, journal);
        }
        self.look_at_guard(service, journal);
        self.look_at_standing(service, journal);
    }

    fn look_at_guard(&mut self, service: &Service, journal: &Journal) {
        let guarded = service.guarded_since().is_some();
        if guarded == self.guarded {
            return;
        }
        self.guarded = guarded;
        let (from, to, cause) = if guarded {
            (Word::Off, Word::On, "checks fail nearly everywhere at once: none is taken out")
        } else {
            (Word::On, Word::Off, "checks decide again")
        };
        let change = Transition::new(Subject::of_service(&service.spec.name), Aspect::Guard, from, to);
        journal.record(change.because(cause));
    }

    fn look_at_standing(&mut self, service: &Service, journal: &Journal) {
        let found = standing::of(service);
        if found.word == self.standing {
            return;
        }
        // What ends a planned state is as planned as its beginning.
        let planned = found.planned || self.planned;
        let subject = Subject::of_service(&service.spec.name);
        let change = Transition::new(subject, Aspect::Standing, self.standing, found.word);
        journal.record(change.because(found.cause).planned(planned));
        self.standing = found.word;
        self.planned = found.planned;
    }
}

fn fresh(endpoint: &Endpoint) -> SeenEndpoint {
    SeenEndpoint { name: endpoint.name.clone(), draining: false, ramping: false, breaker: Word::Closed }
}

impl SeenEndpoint {
    fn look(&mut self, service: &str, endpoint: &Endpoint, journal: &Journal) {
        let subject = || Subject::endpoint(service, &endpoint.name);
        let draining = endpoint.is_draining();
        if draining != self.draining {
            self.draining = draining;
            let (from, to, cause) = if draining {
                (Word::Serving, Word::Draining, why_drained(endpoint))
            } else {
                (Word::Draining, Word::Serving, "the drain is over")
            };
            let change = Transition::new(subject(), Aspect::Drain, from, to);
            journal.record(change.because(cause).planned(true));
        }
        let ramping = endpoint.factor(Factor::SlowStart) < Share::FULL;
        if ramping != self.ramping {
            self.ramping = ramping;
            let (from, to) = if ramping { (Word::Full, Word::Ramping) } else { (Word::Ramping, Word::Full) };
            journal.record(Transition::new(subject(), Aspect::SlowStart, from, to));
        }
    }
}

fn why_drained(endpoint: &Endpoint) -> &'static str {
    if endpoint.drained.load(Ordering::Acquire) {
        "drained by an operator"
    } else if endpoint.drained_for_all.load(Ordering::Acquire) {
        "drained by an operator, for all nodes"
    } else {
        "drained by the configuration"
    }
}

impl SeenRoute {
    fn look(&mut self, route: &Route, now: Moment, journal: &Journal) {
        let subject = || Subject::Route { name: route.spec.name.clone() };
        if let Some(breaker) = &route.breaker {
            let phase = word(breaker.phase());
            if phase != self.breaker {
                tell_breaker(journal, subject(), self.breaker, phase, breaker);
                self.breaker = phase;
            }
        }
        // While nothing is suspected, nobody's lock is taken.
        let held = route.guard.as_ref().is_some_and(|guard| !guard.is_quiet() && guard.count(now).1 > 0);
        if held != self.held {
            self.held = held;
            let (from, to, cause) = if held {
                (Word::Off, Word::On, "requests of a kind have reset several endpoints and are held")
            } else {
                (Word::On, Word::Off, "no request is held any more")
            };
            journal.record(Transition::new(subject(), Aspect::Quarantine, from, to).because(cause));
        }
    }
}

fn tell_breaker(journal: &Journal, subject: Subject, from: Word, to: Word, breaker: &Breaker) {
    let why = breaker.last_change().map(|(_at, why)| why).unwrap_or_default();
    journal.record(Transition::new(subject, Aspect::Breaker, from, to).because(why));
}

const fn word(phase: Phase) -> Word {
    match phase {
        Phase::Closed => Word::Closed,
        Phase::Open => Word::Open,
        Phase::HalfOpen => Word::HalfOpen,
        Phase::Ramping => Word::Ramping,
    }
}

/// Why an endpoint does not serve as it should, for people.
fn reason(endpoint: &Endpoint) -> String {
    endpoint.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
