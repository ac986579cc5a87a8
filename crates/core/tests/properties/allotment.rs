use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::allotment::{Allotment, Demand, Policy};
use mainstay_core::random::Rng;
use mainstay_core::time::Moment;
use proptest::prelude::*;

const LIMIT: u64 = 1;
/// Between two announcements of a node, and the longest that one takes to arrive.
const TICK_MS: u64 = 150;
const DELAY_MS: u64 = 640;

struct Message {
    at: u64,
    from: u64,
    to: u64,
    order: u64,
    demand: Demand,
}

struct World {
    nodes: BTreeMap<u64, Allotment>,
    parts: BTreeMap<u64, f64>,
    wanted: BTreeMap<u64, u64>,
    under_way: Vec<Message>,
    /// Nobody hears these, and they hear nobody.
    cut: Vec<u64>,
    rng: Rng,
    time_ms: u64,
}

impl World {
    fn new(count: u64, seed: u64) -> Self {
        let nodes = (0..count).map(|node| (node, Allotment::new(Policy::default()))).collect();
        let (parts, wanted) = (BTreeMap::new(), BTreeMap::new());
        Self { nodes, parts, wanted, under_way: Vec::new(), cut: Vec::new(), rng: Rng::seeded(seed), time_ms: 1 }
    }

    fn others(count: u64, of: u64) -> Vec<u64> {
        (0..count).filter(|node| *node != of).collect()
    }

    /// Ten milliseconds: what is due arrives, and who is due announces and plans.
    fn step(&mut self, count: u64) {
        self.time_ms += 10;
        let now = Moment::from_millis(self.time_ms);
        let time_ms = self.time_ms;
        for message in self.under_way.extract_if(.., |message| message.at <= time_ms) {
            let is_cut = self.cut.contains(&message.from) || self.cut.contains(&message.to);
            if let Some(node) = self.nodes.get_mut(&message.to).filter(|_node| !is_cut) {
                node.hear(now, message.from, (1, message.order), message.demand);
            }
        }
        for (name, node) in &mut self.nodes {
            if !(self.time_ms / 10 + name * 3).is_multiple_of(TICK_MS / 10) {
                continue;
            }
            let demand = BTreeMap::from([(LIMIT, self.wanted.get(name).copied().unwrap_or(0))]);
            node.announce(now, demand.clone());
            let part = node.plan(now, &Self::others(count, *name))[&LIMIT];
            self.parts.insert(*name, part);
            for to in Self::others(count, *name) {
                let at = self.time_ms + 1 + self.rng.below(DELAY_MS as usize) as u64;
                let demand = demand.clone();
                self.under_way.push(Message { at, from: *name, to, order: self.time_ms, demand });
            }
        }
    }

    fn sum(&self, whose: impl Fn(&u64) -> bool) -> f64 {
        self.parts.iter().filter(|(node, _part)| whose(node)).map(|(_node, part)| part).sum()
    }
}

fn demands() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    let demand = prop_oneof![2 => Just(0u64), 3 => 1u64..100_000, 1 => Just(u64::MAX / 1000)];
    // How long in steps, whose, and what it wants from then on.
    prop::collection::vec((1u64..150, 0u64..5, demand), 1..12)
}

proptest! {
    #![proptest_config(crate::heavy())]

    /// However demand moves, and announcements overtake each other: the parts of nodes that hear each other are never more than
    /// the whole, and once demand rests nearly the whole, in proportion.
    #[test]
    fn parts_are_never_more_than_the_whole_and_follow_demand(
        count in 1u64..5, seed in any::<u64>(), changes in demands(),
    ) {
        let mut world = World::new(count, seed);
        for (steps, node, demand) in changes {
            world.wanted.insert(node % count, demand);
            for _step in 0..steps {
                world.step(count);
                let sum = world.sum(|_all| true);
                prop_assert!(sum <= 1.0 + 1e-9, "{sum}: {:?}", world.parts);
            }
        }
        (0..300).for_each(|_step| world.step(count));
        let sum = world.sum(|_all| true);
        prop_assert!(sum > 0.999 && sum <= 1.0 + 1e-9, "{sum}: {:?}", world.parts);
        let all: f64 = world.wanted.values().map(|demand| *demand as f64).sum();
        for (node, part) in world.parts.iter().filter(|_part| all > 0.0) {
            let wanted = world.wanted.get(node).copied().unwrap_or(0) as f64 / all;
            prop_assert!((part - wanted).abs() < 0.06, "{node} has {part} and wants {wanted}");
        }
    }

    /// A node that is killed or cut off leaves its part to the others, if these are more than half; itself it never has more
    /// than an even part, and at first no more than it had.
    #[test]
    fn whoever_is_gone_leaves_its_part_and_whoever_is_cut_off_keeps_an_even_one(
        count in 3u64..5, seed in any::<u64>(), changes in demands(), gone in 0u64..5, killed in any::<bool>(),
    ) {
        let gone = gone % count;
        let mut world = World::new(count, seed);
        for node in 0..count {
            world.wanted.insert(node, 1000);
        }
        (0..300).for_each(|_step| world.step(count));
        world.cut.push(gone);
        let had = world.parts[&gone];
        if killed {
            world.nodes.remove(&gone);
            world.parts.remove(&gone);
        }
        let since = world.time_ms;
        let even = 1.0 / count as f64;
        for (steps, node, demand) in changes {
            world.wanted.insert(node % count, demand);
            for _step in 0..steps {
                world.step(count);
                let rest = world.sum(|node| *node != gone);
                prop_assert!(rest <= 1.0 + 1e-9, "{rest}: {:?}", world.parts);
                if let Some(part) = world.parts.get(&gone) {
                    let age = Duration::from_millis(world.time_ms - since);
                    let most = if age < Policy::default().expiry { had.max(even) } else { even };
                    prop_assert!(*part <= most + 1e-9, "{part} after {age:?}");
                }
            }
        }
        world.wanted.insert((gone + 1) % count, 1000);
        (0..600).for_each(|_step| world.step(count));
        let rest = world.sum(|node| *node != gone);
        prop_assert!(rest > 0.95 - 1e-9 && rest <= 1.0 + 1e-9, "{rest}: {:?}", world.parts);
    }
}
