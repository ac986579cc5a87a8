use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::balance::Share;
use mainstay_core::health::State;
use mainstay_core::outlier::gray::{Finding, Peers, Verdict};
use mainstay_core::outlier::meter::Totals;
use mainstay_core::outlier::{Input, Machine, Output};
use mainstay_core::time::Moment;
use mainstay_core::transition::{Aspect, Word};

use super::member::Member;
use crate::state::{BUCKETS, Endpoint, EndpointCounters, Factor, Service};

/// Passive ejection of one service's endpoints.
pub(super) struct Ejector {
    service: Arc<Service>,
    members: Vec<Rc<Member>>,
    /// `None` if the service has it turned off.
    machine: Option<Machine>,
    /// The comparison of endpoints; `None` if that is turned off.
    peers: Option<Peers>,
}

impl Ejector {
    /// Takes over from `before`, the ejector of the service of the same name until now. With other endpoints or another
    /// policy, endpoints that are ejected stay so until the end of an ejection that began when theirs did.
    pub(super) fn new(service: &Arc<Service>, members: Vec<Rc<Member>>, mut before: Option<Self>, now: Moment) -> Self {
        let mut ejector = Self { service: Arc::clone(service), members, machine: None, peers: None };
        if let Some(before) = &mut before
            && before.service.spec.outlier == service.spec.outlier
            && before.members.len() == ejector.members.len()
            && before.members.iter().zip(&ejector.members).all(|(old, new)| Arc::ptr_eq(&old.endpoint, &new.endpoint))
        {
            ejector.machine = before.machine.take();
            ejector.peers = before.peers.take();
            return ejector;
        }
        ejector.machine = service.spec.outlier.map(|policy| Machine::new(policy, ejector.members.len()));
        let gray = service.spec.outlier.and_then(|policy| policy.gray);
        ejector.peers = gray.map(|policy| Peers::new(policy, ejector.members.len(), &BUCKETS, now));
        ejector.resume_easing(before.as_ref());
        ejector.replay(now);
        ejector.inherit(now);
        ejector
    }

    /// Endpoints that stay are eased out as far as they were; without a comparison nobody is.
    fn resume_easing(&mut self, before: Option<&Self>) {
        for (index, member) in self.members.iter().enumerate() {
            let known = before.and_then(|before| {
                let same = |old: &Rc<Member>| Arc::ptr_eq(&old.endpoint, &member.endpoint);
                Some((before.machine.as_ref()?, before.members.iter().position(same)?))
            });
            if let (Some(machine), Some((old, at))) = (&mut self.machine, known) {
                machine.resume_easing(index, old, at);
            }
            let share = self.machine.as_ref().map_or(Share::FULL, |machine| machine.share(index));
            if share == Share::FULL && member.endpoint.factor(Factor::Gray) < Share::FULL {
                member.set_eased(Share::FULL, None);
            }
        }
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
                    Output::Ease { endpoint, share } => self.members[endpoint].set_eased(share, None),
                }
            }
        }
        for (_since, endpoint) in ejected {
            if !kept[endpoint] {
                self.restore(endpoint);
            }
        }
    }

    /// When to call [`Self::advance`].
    pub(super) fn deadline(&self) -> Option<Moment> {
        let peers = self.peers.as_ref().map(Peers::deadline);
        self.machine.as_ref()?.deadline().into_iter().chain(peers).min()
    }

    /// Does what is due: ends ejections, and compares endpoints.
    pub(super) fn advance(&mut self, now: Moment) {
        let Some(machine) = &mut self.machine else { return };
        machine.step(now, Input::Timeout);
        self.perform(now, Cause::Row);
        if self.peers.as_ref().is_some_and(|peers| peers.deadline() <= now) {
            self.compare(now);
        }
    }

    fn compare(&mut self, now: Moment) {
        let totals: Vec<Totals> = self.members.iter().map(|member| totals(&member.endpoint)).collect();
        let share = |index: usize| self.members.get(index).map_or(Share::FULL, |member| member.endpoint.share());
        let Some(findings) = self.peers.as_mut().map(|peers| peers.read(now, &totals, share)) else { return };
        // Under guard nobody is eased out: what is slow or fails then is what all share.
        if self.service.guarded_since().is_some() {
            return;
        }
        for finding in findings {
            let others = others_eligible(&self.members, finding.endpoint);
            let input = Input::Judged { endpoint: finding.endpoint, verdict: finding.verdict, others };
            if let Some(machine) = &mut self.machine {
                machine.step(now, input);
            }
            self.perform(now, Cause::Finding(&finding));
        }
    }

    /// An endpoint failed often enough in a row.
    pub(super) fn trip(&mut self, endpoint: &Arc<Endpoint>, now: Moment) {
        let found = self.members.iter().position(|member| Arc::ptr_eq(&member.endpoint, endpoint));
        let is_guarded = self.service.guarded_since().is_some();
        if let (Some(machine), Some(index), false) = (&mut self.machine, found, is_guarded) {
            let others = others_eligible(&self.members, index);
            machine.step(now, Input::Tripped { endpoint: index, others });
            self.perform(now, Cause::Row);
        }
        // Whether it was ejected or not, the count starts anew; it trips again if it goes on failing.
        endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
    }

    /// An operator wants the endpoint out for so long, or what is held against it forgotten. A service whose passive ejection
    /// is turned off gets a machine for it, of which nobody else asks anything.
    pub(super) fn order(&mut self, endpoint: &Arc<Endpoint>, eject: Option<Duration>, now: Moment) {
        let Some(index) = self.members.iter().position(|member| Arc::ptr_eq(&member.endpoint, endpoint)) else {
            return;
        };
        let policy = self.service.spec.outlier.unwrap_or_default();
        let machine = self.machine.get_or_insert_with(|| Machine::new(policy, self.members.len()));
        machine.step(
            now,
            match eject {
                Some(lasts) => Input::Ordered { endpoint: index, lasts },
                None => Input::Pardoned { endpoint: index },
            },
        );
        self.perform(now, Cause::Operator);
        endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
    }

    /// Does what the machine says, and says why.
    fn perform(&mut self, now: Moment, cause: Cause<'_>) {
        while let Some(output) = self.machine.as_mut().and_then(Machine::poll_output) {
            match output {
                Output::Eject { endpoint, until } => self.eject(endpoint, now, until, cause),
                Output::Ease { endpoint, share } => self.ease(endpoint, share, cause),
                Output::Restore { endpoint } => self.restore(endpoint),
            }
        }
    }

    fn eject(&self, index: usize, now: Moment, until: Moment, cause: Cause<'_>) {
        let Some(member) = self.members.get(index) else { return };
        let failures = self.service.spec.outlier.map_or(0, |policy| policy.consecutive);
        let lasts = until.since(now);
        let why = match cause {
            Cause::Finding(finding) => describe(finding),
            Cause::Row => format!("{failures} requests in a row failed"),
            Cause::Operator => "an operator wants it".to_owned(),
        };
        let reason = format!("ejected for {lasts:?}: {why}");
        member.endpoint.ejections.fetch_add(1, Ordering::Relaxed);
        let (service, endpoint) = (&self.service.spec.name, &member.endpoint.name);
        tracing::warn!(service, endpoint, from = "serving", to = "ejected", reason, "endpoint is ejected");
        member.record(Aspect::Ejection, Word::Serving, Word::Ejected, &reason);
        member.endpoint.ejected_until.store(until.as_nanos(), Ordering::Release);
        member.set_ejected(Some(now), Some(reason));
    }

    fn ease(&self, index: usize, share: Share, cause: Cause<'_>) {
        let Some(member) = self.members.get(index) else { return };
        let (service, endpoint) = (&self.service.spec.name, &member.endpoint.name);
        let percent = f64::from(share.as_permille()) / 10.0;
        let is_out = share < member.endpoint.factor(Factor::Gray);
        let why = match cause {
            Cause::Finding(finding) => describe(finding),
            Cause::Row => "nothing was seen of it for a while".to_owned(),
            Cause::Operator => "an operator wants it".to_owned(),
        };
        if is_out {
            tracing::warn!(service, endpoint, percent, reason = why, "endpoint is eased out");
        } else {
            tracing::info!(service, endpoint, percent, reason = why, "endpoint is eased in");
        }
        let word = |share: Share| if share < Share::FULL { Word::Eased } else { Word::Full };
        let (from, to) = (word(member.endpoint.factor(Factor::Gray)), word(share));
        if from != to {
            member.record(Aspect::Weight, from, to, &why);
        }
        let reason = (share < Share::FULL).then(|| format!("gets {percent}% of its weight: {why}"));
        member.set_eased(share, reason);
    }

    fn restore(&self, index: usize) {
        let Some(member) = self.members.get(index) else { return };
        let (service, endpoint) = (&self.service.spec.name, &member.endpoint.name);
        tracing::info!(service, endpoint, from = "ejected", to = "serving", "endpoint is no longer ejected");
        member.record(Aspect::Ejection, Word::Ejected, Word::Serving, "the ejection is over");
        member.set_ejected(None, None);
    }
}

/// Why something is done.
#[derive(Clone, Copy)]
enum Cause<'a> {
    /// By failures in a row, and by time.
    Row,
    /// By a comparison with the other endpoints.
    Finding(&'a Finding),
    /// An operator wants it.
    Operator,
}

/// What a comparison found, for people.
fn describe(finding: &Finding) -> String {
    let millis = |duration: std::time::Duration| (duration.as_secs_f64() * 1e4).round() / 10.0;
    let percent = |share: f64| (share * 1e3).round() / 10.0;
    let own = &finding.own;
    match finding.verdict {
        Verdict::Failing => {
            let (own, peers) = (percent(own.failed), percent(finding.peers_failed));
            format!("{own}% of its requests fail, {peers}% of the others'")
        }
        Verdict::Slow => {
            let (own, peers) = (millis(own.latency), millis(finding.peers_latency));
            format!("its requests take {own}ms, those of the others {peers}ms")
        }
        Verdict::Well | Verdict::Unclear => {
            let (own, peers) = (millis(own.latency), millis(finding.peers_latency));
            format!("its requests take {own}ms again, those of the others {peers}ms")
        }
    }
}

/// An endpoint's counters, over all workers.
fn totals(endpoint: &Endpoint) -> Totals {
    let sum = |read: fn(&EndpointCounters) -> u64| endpoint.shards.sum(read);
    Totals {
        // What is settled is read first, so that nothing seems to have ended before it began.
        settled: sum(|counters| counters.settled.get()),
        started: sum(|counters| counters.attempts.get()),
        failed: sum(|counters| counters.failed.get()),
        buckets: std::array::from_fn(|index| {
            endpoint.shards.sum(|counters| counters.duration.buckets.get(index).map_or(0, |bucket| bucket.get()))
        }),
        sum_nanos: sum(|counters| counters.duration.sum_nanos.get()),
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
