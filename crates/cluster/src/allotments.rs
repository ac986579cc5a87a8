//! Nodes tell each other how much is asked of the limits that they share, and each works out its part of them
//! ([`mainstay_core::allotment`]).
//!
//! A node sends what it announces to every other one, [`Pace::announce`] apart, and is answered with what the other announces, so
//! that two nodes know of each other if either can reach the other. Nothing of it is kept: a limit is about the present.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_core::allotment::{Allotment, Demand, LIMITS_MAX, Policy};
use mainstay_core::time::Moment;
use mainstay_runtime::clock::Clock;
use mainstay_runtime::task::{Kind, spawn_local};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use crate::peer::{Handler, NodeId, Service, Transport};
use crate::sessions::now as milliseconds;

/// The limits that are shared.
pub trait Limits {
    /// How often this node has asked of each, refused or not, by their numbers, which are the same on all nodes.
    fn asked(&self) -> BTreeMap<u64, u64>;

    /// Sets this node's parts, from 0 to 1.
    fn allot(&self, parts: &BTreeMap<u64, f64>);
}

/// How often what is done.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two announcements.
    pub announce: Duration,
    /// How long an answer is waited for. With `announce` it stays below the policy's window.
    pub call: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { announce: Duration::from_millis(150), call: Duration::from_millis(500) }
    }
}

/// Demand is measured over about this long, so that a pause between two requests is no end of the demand.
const MEMORY: Duration = Duration::from_millis(500);

/// What a node announces. MessagePack with named fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Announcement {
    /// When its process began to announce, in milliseconds since 1970.
    started: u64,
    /// Counts its announcements since then.
    number: u64,
    /// Thousandths of requests a second, by limit.
    demand: Demand,
}

impl Announcement {
    fn encode(&self) -> Result<Bytes, String> {
        rmp_serde::to_vec_named(self)
            .map(Bytes::from)
            .map_err(|error| format!("cannot encode an announcement: {error}"))
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let told: Self = rmp_serde::from_slice(bytes).map_err(|error| format!("not an announcement: {error}"))?;
        if told.demand.len() > LIMITS_MAX {
            return Err(format!("{} limits are announced; at most {LIMITS_MAX} are heeded", told.demand.len()));
        }
        Ok(told)
    }
}

/// What is known, by the thread that plans and by those that answer other nodes.
#[derive(Clone, Debug)]
pub struct Table(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    clock: Clock,
    allotment: Allotment,
    own: Announcement,
}

impl Table {
    /// Of a node that has heard nothing yet.
    pub fn new(clock: Clock, policy: Policy) -> Self {
        let own = Announcement { started: milliseconds(), ..Announcement::default() };
        Self(Arc::new(Mutex::new(Known { clock, allotment: Allotment::new(policy), own })))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, from: NodeId, message: &[u8]) -> Result<(), String> {
        let told = Announcement::decode(message)?;
        let mut known = self.lock();
        let now = known.clock.now();
        known.allotment.hear(now, from.0, (told.started, told.number), told.demand);
        Ok(())
    }

    /// Announces `demand`, and answers what to send and this node's parts by now.
    fn announce(&self, demand: Demand, others: &[NodeId]) -> (Result<Bytes, String>, BTreeMap<u64, f64>) {
        let mut known = self.lock();
        let now = known.clock.now();
        known.own.number += 1;
        known.own.demand.clone_from(&demand);
        known.allotment.announce(now, demand);
        let others: Vec<u64> = others.iter().map(|node| node.0).collect();
        let parts = known.allotment.plan(now, &others).clone();
        (known.own.encode(), parts)
    }
}

#[async_trait]
impl Handler for Table {
    async fn handle(&self, from: NodeId, message: Bytes) -> Result<Bytes, String> {
        self.hear(from, &message)?;
        self.lock().own.encode()
    }
}

/// Shares limits with other nodes.
pub struct Sharing<L> {
    /// What is shared.
    pub limits: L,
    /// What is known; it also answers other nodes.
    pub table: Table,
    /// Asks other nodes.
    pub transport: Arc<dyn Transport>,
    /// All nodes of the cluster but this one.
    pub others: Rc<dyn Fn() -> Vec<NodeId>>,
    /// How often what is done.
    pub pace: Pace,
}

impl<L: Limits> Sharing<L> {
    /// Runs for ever. A node without shared limits tells nobody anything, but answers those who ask.
    pub async fn run(self) {
        let mut meter = Meter::default();
        // Nodes that have not answered yet: each is asked one thing at a time.
        let waiting: Rc<RefCell<HashSet<NodeId>>> = Rc::default();
        let mut ticks = interval(self.pace.announce);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.table.lock().clock.now();
            let demand = meter.measure(now, &self.limits.asked());
            let others = (self.others)();
            let shares_nothing = demand.is_empty();
            let (announcement, parts) = self.table.announce(demand, &others);
            if shares_nothing {
                continue;
            }
            self.limits.allot(&parts);
            let Ok(announcement) = announcement else { continue };
            for other in others {
                if waiting.borrow_mut().insert(other) {
                    self.tell(other, announcement.clone(), &waiting);
                }
            }
        }
    }

    fn tell(&self, other: NodeId, announcement: Bytes, waiting: &Rc<RefCell<HashSet<NodeId>>>) {
        let (transport, table, limit) = (Arc::clone(&self.transport), self.table.clone(), self.pace.call);
        let waiting = Rc::clone(waiting);
        spawn_local(Kind::Control, async move {
            let answer = transport.call(other, Service::Limits, announcement, limit).await;
            waiting.borrow_mut().remove(&other);
            // Who does not answer is told the next time; that it is silent is what its part expires by.
            if let Some(Err(reason)) = answer.ok().map(|answer| table.hear(other, &answer)) {
                tracing::warn!(node = other.0, reason, "limits: an announcement cannot be read");
            }
        });
    }
}

/// Turns counts into demand a second.
#[derive(Debug, Default)]
struct Meter {
    last: Option<(Moment, BTreeMap<u64, u64>)>,
    rates: BTreeMap<u64, f64>,
}

impl Meter {
    fn measure(&mut self, now: Moment, asked: &BTreeMap<u64, u64>) -> Demand {
        if let Some((then, before)) = &self.last {
            let passed = now.since(*then).as_secs_f64().max(1e-3);
            let weight = 1.0 - (-passed / MEMORY.as_secs_f64()).exp();
            for (limit, count) in asked {
                let rate = self.rates.entry(*limit).or_default();
                // A count that begins anew after a reload is no demand.
                let more = before.get(limit).map_or(0, |before| count.saturating_sub(*before));
                *rate += (more as f64 / passed - *rate) * weight;
            }
        }
        self.rates.retain(|limit, _rate| asked.contains_key(limit));
        self.last = Some((now, asked.clone()));
        asked
            .keys()
            .take(LIMITS_MAX)
            .map(|limit| (*limit, self.rates.get(limit).map_or(0, |rate| (rate * 1e3) as u64)))
            .collect()
    }
}

/// Reads a message as an announcement.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(bytes: &[u8]) -> Result<(), String> {
    Announcement::decode(bytes).map(|_told| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_follows_counts_and_survives_a_reload() {
        let mut meter = Meter::default();
        let count = |count: u64| BTreeMap::from([(7, count)]);
        for step in 0..40 {
            meter.measure(Moment::from_millis(step * 100), &count(step * 5));
        }
        let steady = meter.measure(Moment::from_millis(4000), &count(200))[&7];
        assert!((49_000..=51_000).contains(&steady), "{steady} thousandths a second");
        let reset = meter.measure(Moment::from_millis(4100), &count(3))[&7];
        assert!(reset < steady && reset > 30_000);
        assert_eq!(meter.measure(Moment::from_millis(4200), &BTreeMap::new()), Demand::new());
        assert!(meter.rates.is_empty());
    }

    #[test]
    fn what_is_no_announcement_is_refused() {
        let table = Table::new(Clock::new(), Policy::default());
        assert!(table.hear(NodeId(2), b"nonsense").is_err());
        let many = Announcement { demand: (0..10_001).map(|limit| (limit, 1)).collect(), ..Announcement::default() };
        assert!(table.hear(NodeId(2), &many.encode().unwrap()).unwrap_err().contains("10001"));
        assert!(table.hear(NodeId(2), &Announcement::default().encode().unwrap()).is_ok());
    }
}
