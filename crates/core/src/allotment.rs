//! How the nodes of a cluster share what is limited for all of them: each gets a part of every limit that follows its part of
//! the demand, and enforces it alone.
//!
//! There is nobody who plans. Each node announces its demand to all others again and again, and works out its own part from
//! what it has heard. The parts of nodes that hear each other never add up to more than the whole, although no two of them
//! know the same at the same time: of its own demand a node counts the least that it has announced within [`Policy::window`],
//! and of each other's the most that it has heard within it. As long as announcements arrive within the window, what every node
//! announced one window ago is among both, so that each part is at most what it would be if all went by that moment.
//!
//! A small part of the whole is divided evenly, so that a node that gets its first requests has something to begin with.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::Moment;

/// How parts are worked out; the same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How long an announcement takes to arrive, at most, if it arrives. What a node has gained in demand it gets this much later.
    pub window: Duration,
    /// After so long without a word from a node its part goes to the others; longer than `window`.
    pub expiry: Duration,
    /// What is divided evenly whoever wants it, 0 to 1.
    pub even: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { window: Duration::from_millis(800), expiry: Duration::from_secs(2), even: 0.05 }
    }
}

/// Demand by limit: any unit, the same on all nodes.
pub type Demand = BTreeMap<u64, u64>;

/// Limits that one node announces, at most; what is beyond counts as no demand.
pub const LIMITS_MAX: usize = 10_000;
/// Announcements of a node that are kept apart; older ones are taken together.
const KEPT_MAX: usize = 32;

/// What a node has announced: the present demand, and what was before and may still be what others go by.
#[derive(Clone, Debug, Default)]
struct Announced {
    now: Demand,
    before: VecDeque<(Demand, Moment)>,
}

impl Announced {
    /// `worse` says which of two demands counts.
    fn say(&mut self, now: Moment, window: Duration, demand: Demand, worse: fn(u64, u64) -> u64) {
        let before = std::mem::replace(&mut self.now, demand);
        self.before.push_back((before, now));
        self.forget(now, window);
        if self.before.len() > KEPT_MAX
            && let (Some((older, _)), Some((newer, _))) = (self.before.pop_front(), self.before.front_mut())
        {
            for (limit, demand) in older {
                let known = newer.entry(limit).or_default();
                *known = worse(*known, demand);
            }
        }
    }

    /// Forgets what was replaced more than a window ago.
    fn forget(&mut self, now: Moment, window: Duration) {
        while self.before.front().is_some_and(|(_demand, until)| now.since(*until) > window) {
            self.before.pop_front();
        }
    }

    fn all(&self, limit: u64) -> impl Iterator<Item = u64> + '_ {
        let of = move |demand: &Demand| demand.get(&limit).copied().unwrap_or(0);
        self.before.iter().map(move |(demand, _until)| of(demand)).chain(std::iter::once(of(&self.now)))
    }

    fn least(&self, limit: u64) -> u64 {
        self.all(limit).min().unwrap_or(0)
    }

    fn most(&self, limit: u64) -> u64 {
        self.all(limit).max().unwrap_or(0)
    }
}

#[derive(Clone, Debug)]
struct Other {
    announced: Announced,
    heard: Moment,
    /// Of its last announcement: when its process began, and which one it was.
    order: (u64, u64),
}

/// One node's view of all limits that are shared.
#[derive(Clone, Debug)]
pub struct Allotment {
    policy: Policy,
    own: Announced,
    others: BTreeMap<u64, Other>,
    /// The parts that were worked out last.
    parts: BTreeMap<u64, f64>,
    /// When more than half of all nodes were heard, last.
    connected: Option<Moment>,
}

impl Allotment {
    /// A node that has heard nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, own: Announced::default(), others: BTreeMap::new(), parts: BTreeMap::new(), connected: None }
    }

    /// This node announces its demand, which is sent to all others now.
    pub fn announce(&mut self, now: Moment, demand: Demand) {
        self.own.say(now, self.policy.window, demand, u64::min);
    }

    /// Another node has announced its demand; an announcement that is not newer than the last one is left out. `order` grows
    /// with each announcement of a node, also over restarts.
    pub fn hear(&mut self, now: Moment, node: u64, order: (u64, u64), demand: Demand) {
        match self.others.get_mut(&node) {
            Some(other) if other.order >= order => {}
            Some(other) => {
                other.announced.say(now, self.policy.window, demand, u64::max);
                (other.heard, other.order) = (now, order);
            }
            None => {
                let announced = Announced { now: demand, before: VecDeque::new() };
                self.others.insert(node, Other { announced, heard: now, order });
            }
        }
    }

    /// This node's part of each limit that it has announced a demand for (0 is one), 0 to 1. `others` are all nodes but this one
    /// that belong to the cluster, heard or not.
    ///
    /// A node that hears no more than half of them cannot tell whether the others are gone or itself is cut off: it falls back to
    /// an even part, and until its own part has expired at the others to no more than it had.
    pub fn plan(&mut self, now: Moment, others: &[u64]) -> &BTreeMap<u64, f64> {
        let Policy { window, expiry, even } = self.policy;
        self.own.forget(now, window);
        self.others.retain(|node, other| now.since(other.heard) <= expiry && others.contains(node));
        for other in self.others.values_mut() {
            other.announced.forget(now, window);
        }
        let members = others.len() + 1;
        let evenly = 1.0 / members as f64;
        let is_connected = (self.others.len() + 1) * 2 > members;
        let is_unsure = self.others.values().any(|other| now.since(other.heard) > window);
        let has_expired = self.connected.is_none_or(|last| now.since(last) > expiry);
        let part = |limit: u64| {
            let known = self.parts.get(&limit).copied();
            if !is_connected {
                return if has_expired { evenly } else { known.unwrap_or(evenly).min(evenly) };
            }
            let own = self.own.least(limit) as f64;
            let all = self.own.most(limit) as f64
                + self.others.values().map(|other| other.announced.most(limit) as f64).sum::<f64>();
            let part = if all > 0.0 { (1.0 - even) * own / all + even * evenly } else { evenly };
            // Who has not heard of somebody for a while may have missed that its demand has grown.
            if is_unsure { part.min(known.unwrap_or(evenly)) } else { part }
        };
        let limits = self.own.now.keys().take(LIMITS_MAX);
        let parts = limits.map(|limit| (*limit, part(*limit))).collect();
        self.parts = parts;
        if is_connected {
            self.connected = Some(now);
        }
        &self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 7;

    fn wants(demand: u64) -> Demand {
        BTreeMap::from([(LIMIT, demand)])
    }

    /// The part after the node, and others with these demands, have told each other the same every 100 ms for three seconds.
    fn settled(own: u64, others: &[(u64, u64)], members: &[u64]) -> f64 {
        let mut allotment = Allotment::new(Policy::default());
        let mut part = 0.0;
        for step in 1..30 {
            let now = Moment::from_millis(step * 100);
            allotment.announce(now, wants(own));
            for (node, demand) in others {
                allotment.hear(now, *node, (1, step), wants(*demand));
            }
            part = allotment.plan(now, members)[&LIMIT];
        }
        part
    }

    #[test]
    fn parts_follow_demand() {
        let near = |part: f64, expected: f64| assert!((part - expected).abs() < 1e-9, "{part}, not {expected}");
        near(settled(0, &[(2, 0), (3, 0)], &[2, 3]), 1.0 / 3.0);
        near(settled(100, &[(2, 100), (3, 100)], &[2, 3]), 1.0 / 3.0);
        near(settled(300, &[(2, 100), (3, 0)], &[2, 3]), 0.95 * 0.75 + 0.05 / 3.0);
        near(settled(0, &[(2, 100), (3, 0)], &[2, 3]), 0.05 / 3.0);
        near(settled(10, &[], &[]), 1.0);
        // One of three is dead, which the other two can tell ...
        near(settled(10, &[(2, 10)], &[2, 3]), 0.95 * 0.5 + 0.05 / 3.0);
        // ... and one alone cannot.
        near(settled(10, &[], &[2, 3]), 1.0 / 3.0);
        // Who was sent away plays no part, even if it speaks.
        near(settled(10, &[(2, 10)], &[]), 1.0);
    }

    #[test]
    fn who_is_cut_off_keeps_at_most_what_it_had_and_falls_back_to_an_even_part() {
        let mut allotment = Allotment::new(Policy::default());
        let mut time = 0;
        let mut step = |allotment: &mut Allotment, own: u64, heard: Option<u64>| {
            time += 100;
            let now = Moment::from_millis(time);
            allotment.announce(now, wants(own));
            if let Some(demand) = heard {
                allotment.hear(now, 2, (1, time), wants(demand));
                allotment.hear(now, 3, (1, time), wants(demand));
            }
            allotment.plan(now, &[2, 3])[&LIMIT]
        };
        let little = (0..20).map(|_step| step(&mut allotment, 0, Some(100))).last().unwrap();
        assert!(little < 0.02);
        for round in 0..39 {
            let part = step(&mut allotment, 1000, None);
            assert!(part <= little, "{part} in round {round}");
        }
        assert!((0..9).map(|_step| step(&mut allotment, 1000, None)).last().unwrap() > 0.33);
        assert!(step(&mut allotment, 1000, None) < 0.34);
    }

    #[test]
    fn what_comes_out_of_order_is_left_out() {
        let mut allotment = Allotment::new(Policy::default());
        let now = Moment::from_millis(1000);
        allotment.announce(now, wants(10));
        allotment.hear(now, 2, (5, 2), wants(0));
        allotment.hear(now, 2, (5, 1), wants(1_000_000));
        allotment.hear(now, 2, (4, 9), wants(1_000_000));
        let later = Moment::from_millis(1900);
        allotment.announce(later, wants(10));
        allotment.hear(later, 2, (5, 3), wants(0));
        assert!(allotment.plan(later, &[2])[&LIMIT] > 0.9);
    }
}
