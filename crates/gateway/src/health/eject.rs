use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mainstay_core::health::State;
use mainstay_core::outlier::{Input, Machine, Output};
use mainstay_core::time::Moment;

use super::member::Member;
use crate::state::{Endpoint, Service};

/// Passive ejection of one service's endpoints.
pub(super) struct Ejector {
    service: Arc<Service>,
    members: Vec<Rc<Member>>,
    /// `None` if the service has it turned off.
    machine: Option<Machine>,
}

impl Ejector {
    /// Takes over from `before`, the ejector of the service of the same name until now. With other endpoints or another
    /// policy, endpoints that are ejected stay so until the end of an ejection that began when theirs did.
    pub(super) fn new(service: &Arc<Service>, members: Vec<Rc<Member>>, before: Option<Self>, now: Moment) -> Self {
        let mut ejector = Self { service: Arc::clone(service), members, machine: None };
        if let Some(before) = before
            && before.service.spec.outlier == service.spec.outlier
            && before.members.len() == ejector.members.len()
            && before.members.iter().zip(&ejector.members).all(|(old, new)| Arc::ptr_eq(&old.endpoint, &new.endpoint))
        {
            ejector.machine = before.machine;
            return ejector;
        }
        ejector.machine = service.spec.outlier.map(|policy| Machine::new(policy, ejector.members.len()));
        ejector.replay(now);
        ejector.inherit(now);
        ejector
    }

    /// Goes on with ejections by another process, of which the endpoints tell and the members do not know yet.
    fn inherit(&mut self, now: Moment) {
        for index in 0..self.members.len() {
            let member = &self.members[index];
            if !member.endpoint.ejected.load(Ordering::Acquire) || member.ejected_since.get().is_some() {
                continue;
            }
            let until = Moment::from_nanos(member.endpoint.ejected_until.load(Ordering::Acquire));
            match &mut self.machine {
                Some(machine) => {
                    machine.resume(now, index, until);
                    member.inherit_ejection(now);
                }
                None => self.restore(index),
            }
        }
    }

    fn replay(&mut self, now: Moment) {
        let ejected = self.members.iter().enumerate();
        let mut ejected: Vec<(Moment, usize)> =
            ejected.filter_map(|(index, member)| Some((member.ejected_since.get()?, index))).collect();
        ejected.sort_unstable();
        let mut kept = vec![false; self.members.len()];
        if let Some(machine) = &mut self.machine {
            let others = self.members.len().saturating_sub(1);
            for (since, endpoint) in &ejected {
                machine.step(*since, Input::Tripped { endpoint: *endpoint, others });
            }
            machine.step(now, Input::Timeout);
            while let Some(output) = machine.poll_output() {
                match output {
                    Output::Eject { endpoint, .. } => kept[endpoint] = true,
                    Output::Restore { endpoint } => kept[endpoint] = false,
                }
            }
        }
        for (_since, endpoint) in ejected {
            if !kept[endpoint] {
                self.restore(endpoint);
            }
        }
    }

    /// When to call [`Self::restore_due`].
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.machine.as_ref()?.deadline()
    }

    pub(super) fn restore_due(&mut self, now: Moment) {
        if let Some(machine) = &mut self.machine {
            machine.step(now, Input::Timeout);
            self.perform(now);
        }
    }

    /// An endpoint failed often enough in a row.
    pub(super) fn trip(&mut self, endpoint: &Arc<Endpoint>, now: Moment) {
        let found = self.members.iter().position(|member| Arc::ptr_eq(&member.endpoint, endpoint));
        if let (Some(machine), Some(index)) = (&mut self.machine, found) {
            let others = others_eligible(&self.members, index);
            machine.step(now, Input::Tripped { endpoint: index, others });
            self.perform(now);
        }
        // Whether it was ejected or not, the count starts anew; it trips again if it goes on failing.
        endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
    }

    fn perform(&mut self, now: Moment) {
        while let Some(output) = self.machine.as_mut().and_then(Machine::poll_output) {
            match output {
                Output::Eject { endpoint, until } => self.eject(endpoint, now, until),
                Output::Restore { endpoint } => self.restore(endpoint),
            }
        }
    }

    fn eject(&self, index: usize, now: Moment, until: Moment) {
        let Some(member) = self.members.get(index) else { return };
        let failures = self.service.spec.outlier.map_or(0, |policy| policy.consecutive);
        let lasts = until.since(now);
        let reason = format!("ejected for {lasts:?}: {failures} requests in a row failed");
        member.endpoint.ejections.fetch_add(1, Ordering::Relaxed);
        let (service, endpoint) = (&self.service.spec.name, &member.endpoint.name);
        tracing::warn!(service, endpoint, from = "serving", to = "ejected", reason, "endpoint is ejected");
        member.endpoint.ejected_until.store(until.as_nanos(), Ordering::Release);
        member.set_ejected(Some(now), Some(reason));
    }

    fn restore(&self, index: usize) {
        let Some(member) = self.members.get(index) else { return };
        let (service, endpoint) = (&self.service.spec.name, &member.endpoint.name);
        tracing::info!(service, endpoint, from = "ejected", to = "serving", "endpoint is no longer ejected");
        member.set_ejected(None, None);
    }
}

/// How many endpoints would be eligible without the one at `index`: those that are up, or if none is, those not proven yet.
fn others_eligible(members: &[Rc<Member>], index: usize) -> usize {
    let count = |state: State| {
        let others = members.iter().enumerate().filter(|(position, _member)| *position != index);
        let endpoints = others.map(|(_position, member)| &member.endpoint);
        endpoints
            .filter(|other| !other.is_draining() && !other.ejected.load(Ordering::Acquire) && other.health() == state)
            .count()
    };
    match count(State::Up) {
        0 => count(State::Unknown),
        up => up,
    }
}
