//! A fault that has begun: what was done, when the gateway noticed, when the endpoint was back, what clients saw of it.

use std::time::Duration;

use crate::demo::schedule::{Fault, Kind, NAMES, NODE_NAMES};
use crate::demo::tally::{Sample, Tally};
use crate::demo::watch::{Endpoint, View};

/// A fault and its course. Times count from the start of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incident {
    /// What was planned.
    pub(crate) fault: Fault,
    /// When it was done.
    pub(crate) begun: Duration,
    /// When it was undone.
    pub(crate) ended: Option<Duration>,
    /// When the gateway's status first showed the endpoint without traffic (reload: when the first answer came under the
    /// new configuration; fault of a node: when the first answer came by another one).
    pub(crate) noticed: Option<Duration>,
    /// When, after the end, the gateway's status first showed the endpoint with traffic again (fault of a node: when it was
    /// with the majority again).
    pub(crate) back: Option<Duration>,
    /// The number of the configuration that a reload brought.
    pub(crate) config: Option<u64>,
    /// The node that it met.
    pub(crate) node: Option<usize>,
}

/// What clients saw between the begin of one fault and that of the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Requests that failed.
    pub(crate) failed: u64,
    /// Requests that succeeded slowly.
    pub(crate) slow: u64,
    /// From the begin to the last of either.
    pub(crate) last: Option<Duration>,
    /// The longest time without a successful answer, if it was worth noting.
    pub(crate) gap: Option<Duration>,
}

/// What changed in an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was noticed.
    Noticed,
    /// The endpoint or the node is back.
    Back,
}

impl Incident {
    /// A fault that was just done.
    pub(crate) fn new(fault: Fault, begun: Duration) -> Self {
        Self { fault, begun, ended: None, noticed: None, back: None, config: None, node: None }
    }

    /// The endpoint's name, or that of the node, or of the gateway.
    pub(crate) fn whose(&self) -> &'static str {
        self.node.and_then(|node| NODE_NAMES.get(node)).copied().unwrap_or_else(|| whose(&self.fault))
    }

    /// Takes into account what clients saw of the nodes, and what the node that was met says of itself, if it answers.
    pub(crate) fn observe_node(
        &mut self,
        node: usize,
        tally: &Tally,
        view: Option<&View>,
        now: Duration,
    ) -> Option<Change> {
        if self.noticed.is_none() {
            self.noticed = tally.answered_by_another(node, self.begun);
            return self.noticed.map(|_at| Change::Noticed);
        }
        let is_back = view.and_then(|view| view.part.as_ref()).is_some_and(|part| part.quorum);
        if self.fault.kind != Kind::Move && self.ended.is_some() && self.back.is_none() && is_back {
            self.back = Some(now);
            return Some(Change::Back);
        }
        None
    }

    /// Takes the gateway's view of the endpoint into account.
    pub(crate) fn observe(&mut self, endpoint: &Endpoint, now: Duration) -> Option<Change> {
        if self.fault.kind == Kind::Reload {
            return None;
        }
        if self.noticed.is_none() && self.ended.is_none() && !endpoint.eligible {
            self.noticed = Some(now);
            return Some(Change::Noticed);
        }
        if self.noticed.is_some() && self.ended.is_some() && self.back.is_none() && endpoint.eligible {
            self.back = Some(now);
            return Some(Change::Back);
        }
        None
    }

    /// From the begin to the gateway's notice.
    pub(crate) fn noticed_after(&self) -> Option<Duration> {
        self.noticed.map(|at| at.saturating_sub(self.begun))
    }

    /// From the end of the fault to the return of the endpoint or the node.
    pub(crate) fn back_after(&self) -> Option<Duration> {
        self.back.zip(self.ended).map(|(back, ended)| back.saturating_sub(ended))
    }

    /// What of the failed and slow requests fell into its time, which lasts until `next`.
    fn effect(&self, tally: &Tally, next: Option<Duration>, now: Duration) -> Effect {
        let gap = tally.longest_gap(self.begun, next, now);
        self.effect_of(tally.notable(), next, gap)
    }

    fn effect_of(&self, notable: &[Sample], next: Option<Duration>, gap: Option<Duration>) -> Effect {
        let mut effect = Effect { gap, ..Effect::default() };
        let within = |sample: &&Sample| sample.done >= self.begun && next.is_none_or(|next| sample.done < next);
        for sample in notable.iter().filter(within) {
            match sample.outcome {
                Ok(_endpoint) => effect.slow += 1,
                Err(_) => effect.failed += 1,
            }
            effect.last = effect.last.max(Some(sample.done - self.begun));
        }
        effect
    }
}

/// Whom a fault concerns.
pub(crate) fn whose(fault: &Fault) -> &'static str {
    let otherwise = if fault.kind.is_of_a_node() { "holder" } else { "gateway" };
    fault.endpoint.and_then(|endpoint| NAMES.get(endpoint)).copied().unwrap_or(otherwise)
}

/// The incidents' effects, each until the next one begins, the last one until `now`.
pub(crate) fn effects(incidents: &[Incident], tally: &Tally, now: Duration) -> Vec<Effect> {
    let next = |at: usize| incidents.get(at + 1).map(|incident| incident.begun);
    incidents.iter().enumerate().map(|(at, incident)| incident.effect(tally, next(at), now)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::demo::tally::tests::sample;

    pub(crate) fn fault(kind: Kind, endpoint: Option<usize>, begin: u64, end: u64) -> Fault {
        Fault { kind, endpoint, begin: Duration::from_millis(begin), end: Duration::from_millis(end) }
    }

    fn endpoint(eligible: bool) -> Endpoint {
        Endpoint { eligible, ..Endpoint::default() }
    }

    #[test]
    fn an_incident_is_noticed_once_and_back_only_after_its_end() {
        let ms = Duration::from_millis;
        let mut incident = Incident::new(fault(Kind::Kill, Some(0), 1000, 3000), ms(1001));
        assert_eq!(incident.observe(&endpoint(true), ms(1010)), None);
        assert_eq!(incident.observe(&endpoint(false), ms(1050)), Some(Change::Noticed));
        assert_eq!(incident.observe(&endpoint(false), ms(1075)), None);
        assert_eq!(incident.observe(&endpoint(true), ms(2000)), None);
        incident.ended = Some(ms(3000));
        assert_eq!(incident.observe(&endpoint(false), ms(3100)), None);
        assert_eq!(incident.observe(&endpoint(true), ms(3600)), Some(Change::Back));
        assert_eq!(incident.noticed_after(), Some(ms(49)));
        assert_eq!(incident.back_after(), Some(ms(600)));
    }

    #[test]
    fn what_was_never_noticed_is_never_back() {
        let mut incident = Incident::new(fault(Kind::Kill, Some(0), 0, 10), Duration::ZERO);
        incident.ended = Some(Duration::from_millis(10));
        assert_eq!(incident.observe(&endpoint(false), Duration::from_millis(20)), None);
        assert_eq!(incident.observe(&endpoint(true), Duration::from_millis(30)), None);
        assert_eq!((incident.noticed_after(), incident.back_after()), (None, None));
    }

    #[test]
    fn effects_belong_to_the_latest_incident() {
        let ms = Duration::from_millis;
        let incidents = [
            Incident::new(fault(Kind::Kill, Some(0), 1000, 2000), ms(1000)),
            Incident::new(fault(Kind::Hang, Some(1), 5000, 7000), ms(5000)),
        ];
        let mut tally = Tally::default();
        for notable in [
            sample(100, 300, Ok(0)),
            sample(1000, 10, Err("x")),
            sample(1100, 400, Ok(1)),
            sample(4980, 10, Ok(1)),
            sample(4000, 1500, Err("y")),
            sample(6995, 4, Ok(1)),
        ] {
            tally.record(notable);
        }
        let found = effects(&incidents, &tally, ms(7000));
        assert_eq!(found[0], Effect { failed: 1, slow: 1, last: Some(ms(500)), gap: Some(ms(3490)) });
        assert_eq!(found[1], Effect { failed: 1, slow: 0, last: Some(ms(500)), gap: Some(ms(2009)) });
    }

    #[test]
    fn a_node_is_replaced_when_another_answers_and_back_when_it_is_with_the_majority() {
        use crate::demo::watch::Part;
        let ms = Duration::from_millis;
        let mut incident = Incident::new(fault(Kind::NodeKill, None, 1000, 3000), ms(1000));
        incident.node = Some(2);
        let mut tally = Tally::default();
        tally.saw_node(2, ms(900));
        let view = |quorum| View { part: Some(Part { quorum, ..Part::default() }), ..View::default() };
        assert_eq!((incident.whose(), incident.observe_node(2, &tally, None, ms(1500))), ("node3", None));
        tally.saw_node(0, ms(1900));
        assert_eq!(incident.observe_node(2, &tally, None, ms(2000)), Some(Change::Noticed));
        assert_eq!(incident.noticed_after(), Some(ms(900)));
        incident.ended = Some(ms(3000));
        assert_eq!(incident.observe_node(2, &tally, Some(&view(false)), ms(3100)), None);
        assert_eq!(incident.observe_node(2, &tally, Some(&view(true)), ms(3400)), Some(Change::Back));
        assert_eq!(incident.back_after(), Some(ms(400)));
    }
}
