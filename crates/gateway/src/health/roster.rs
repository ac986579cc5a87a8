use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use mainstay_core::time::Moment;
use mainstay_runtime::clock::Clock;
use mainstay_runtime::journal::Journal;
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use tokio::sync::Semaphore;

use super::chronicle::Chronicle;
use super::driver::{Assignment, Gate, Order, Trip};
use super::eject::Ejector;
use super::guard;
use super::member::{COMMANDS_MAX, Member, PROBES_MAX, Surroundings};
use super::names::Names;
use super::plan::Plan;
use super::ramp;
use super::reserve::Reserve;
use crate::state::{Endpoint, Service};

/// All endpoints that are minded, and the ejectors of their services.
pub(super) struct Roster {
    surroundings: Rc<Surroundings>,
    entries: Entries,
    /// By the service's name.
    ejectors: HashMap<String, Ejector>,
    /// The services that are looked at again and again, with what was found.
    pulsing: Vec<(Arc<Service>, Reserve)>,
    pulse: Moment,
    chronicle: Chronicle,
    /// Until the first assignment.
    unhanded: Option<Arc<Gate>>,
    gate: Weak<Gate>,
}

/// By the address of the endpoint in memory, which the entry's member keeps alive.
type Entries = HashMap<*const Endpoint, Entry>;

struct Entry {
    member: Rc<Member>,
    _task: AbortOnDrop,
}

impl Roster {
    pub(super) fn new(clock: Clock, names: Names, journal: Journal, gate: Arc<Gate>) -> Self {
        Self {
            chronicle: Chronicle::new(journal.clone()),
            surroundings: Rc::new(Surroundings {
                clock,
                journal,
                names: RefCell::new(Rc::new(names)),
                turns: Semaphore::new(PROBES_MAX),
                commands: Semaphore::new(COMMANDS_MAX),
            }),
            entries: HashMap::new(),
            ejectors: HashMap::new(),
            pulsing: Vec::new(),
            pulse: Moment::NEVER,
            gate: Arc::downgrade(&gate),
            unhanded: Some(gate),
        }
    }

    /// Stops what is gone, starts what is new, keeps the rest.
    pub(super) fn apply(&mut self, assignment: &Assignment) {
        let now = self.surroundings.clock.now();
        let resolver = &assignment.state.resolver;
        if self.surroundings.names.borrow().settings != *resolver {
            self.surroundings.names.replace(Rc::new(Names::new(resolver)));
        }
        let gate = self.unhanded.take().or_else(|| self.gate.upgrade());
        let mut entries = Entries::new();
        let mut ejectors = HashMap::new();
        for service in &assignment.state.services {
            let name = &service.spec.name;
            let tls = assignment.tls.get(name);
            let mut members = Vec::with_capacity(service.endpoints.len());
            for endpoint in &service.endpoints {
                let plan = Plan::new(service, endpoint, tls);
                let entry = match self.entries.remove(&Arc::as_ptr(endpoint)) {
                    Some(entry) => self.carry_over(entry, plan, gate.as_ref()),
                    None => self.start(Member::new(endpoint, plan, &self.surroundings, gate.clone())),
                };
                members.push(Rc::clone(&entry.member));
                entries.insert(Arc::as_ptr(endpoint), entry);
            }
            let before = self.ejectors.remove(name);
            ejectors.insert(name.clone(), Ejector::new(service, members, before, now));
        }
        self.entries = entries;
        self.ejectors = ejectors;
        self.watch(assignment, now);
        self.chronicle.apply(&assignment.state, now);
    }

    /// Which services need a look now and then.
    fn watch(&mut self, assignment: &Assignment, now: Moment) {
        let wants = |service: &&Arc<Service>| {
            let spec = &service.spec;
            spec.slow_start.is_some() || spec.capacity.is_some() || spec.guard.is_some()
        };
        let mut before = std::mem::take(&mut self.pulsing);
        for service in assignment.state.services.iter().filter(wants) {
            let same = before.iter().position(|(known, _reserve)| known.spec.name == service.spec.name);
            let reserve = same.map(|found| before.swap_remove(found).1).unwrap_or_default();
            self.pulsing.push((Arc::clone(service), reserve));
        }
        // A service that has lost its slow start must not leave anybody half-way.
        for service in assignment.state.services.iter().filter(|service| service.spec.slow_start.is_none()) {
            ramp::advance(service, now);
        }
        self.pulse = if self.pulsing.is_empty() { Moment::NEVER } else { now };
    }

    fn carry_over(&self, entry: Entry, plan: Plan, gate: Option<&Arc<Gate>>) -> Entry {
        if entry.member.plan().continues_as(&plan) {
            entry.member.replan(plan);
            return entry;
        }
        let old = &entry.member;
        let member = Member::new(&old.endpoint, plan, &self.surroundings, gate.cloned());
        member.take_ejection(old);
        self.start(member)
    }

    fn start(&self, member: Member) -> Entry {
        let member = Rc::new(member);
        let task = spawn_local(Kind::Probe, Rc::clone(&member).run());
        Entry { member, _task: task.abort_on_drop() }
    }

    pub(super) fn trip(&mut self, trip: &Trip) {
        let service: &Service = &trip.service;
        if let Some(ejector) = self.ejectors.get_mut(&service.spec.name) {
            ejector.trip(&trip.endpoint, self.surroundings.clock.now());
        }
    }

    pub(super) fn order(&mut self, order: &Order) {
        if let Some(ejector) = self.ejectors.get_mut(&order.service) {
            ejector.order(&order.endpoint, order.eject, self.surroundings.clock.now());
        }
    }

    /// When to call [`Self::advance`].
    pub(super) fn deadline(&self) -> Moment {
        self.ejectors
            .values()
            .filter_map(Ejector::deadline)
            .min()
            .unwrap_or(Moment::NEVER)
            .min(self.pulse)
            .min(self.chronicle.deadline())
    }

    pub(super) fn advance(&mut self) {
        let now = self.surroundings.clock.now();
        for ejector in self.ejectors.values_mut() {
            ejector.advance(now);
        }
        if self.pulse <= now {
            self.pulse = now.after(ramp::PULSE);
            for (service, reserve) in &mut self.pulsing {
                ramp::advance(service, now);
                guard::again(service, now);
                reserve.look(service);
            }
        }
        self.chronicle.advance(now);
    }
}
