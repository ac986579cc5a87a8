//! The leader is dead, and the others elect another one over links of any length: votes as in Raft, of which those of one
//! term are ordered by their candidates' numbers, as openraft has it.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::candidacy::Policy;
use mainstay_core::random::Rng;
use mainstay_core::round_trip::RoundTrip;
use proptest::prelude::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Wake { node: usize, turn: u64 },
    Asked { from: usize, to: usize, term: u64 },
    Answered { to: usize, term: u64 },
}

struct Node {
    rng: Rng,
    /// The term and the candidate that it gave its vote.
    vote: (u64, usize),
    /// How many votes its candidature has, itself included.
    standing: Option<usize>,
    lost: u32,
    /// Makes wakes of before void.
    turn: u64,
}

struct Cluster {
    policy: Policy,
    way: Duration,
    answer: Duration,
    nodes: Vec<Node>,
    events: BTreeMap<(Duration, u64), Event>,
    made: u64,
}

impl Cluster {
    fn new(policy: Policy, way: Duration, answer: Duration, alive: usize, seed: u64) -> Self {
        let node = |index: usize| Node {
            rng: Rng::seeded(seed ^ (index as u64) << 7),
            vote: (0, 0),
            standing: None,
            lost: 0,
            turn: 0,
        };
        let nodes = (0..alive).map(node).collect();
        let mut cluster = Self { policy, way, answer, nodes, events: BTreeMap::new(), made: 0 };
        for node in 0..alive {
            let patience = policy.patience(&mut cluster.nodes[node].rng);
            cluster.wake(patience, node);
        }
        cluster
    }

    fn put(&mut self, at: Duration, event: Event) {
        self.made += 1;
        self.events.insert((at, self.made), event);
    }

    fn wake(&mut self, at: Duration, node: usize) {
        self.nodes[node].turn += 1;
        let turn = self.nodes[node].turn;
        self.put(at, Event::Wake { node, turn });
    }

    /// When a node has a majority's votes, and how many times nodes stood until then. One more node, the leader, is dead.
    fn elects(&mut self, limit: Duration) -> Option<(Duration, u32)> {
        let majority = self.nodes.len().div_ceil(2) + 1 - self.nodes.len() % 2;
        let mut stood = 0;
        while let Some(((now, _), event)) = self.events.pop_first() {
            if now > limit {
                return None;
            }
            match event {
                Event::Wake { node, turn } if self.nodes[node].turn == turn => {
                    let one = &mut self.nodes[node];
                    if one.standing.take().is_some() {
                        one.lost += 1;
                        let pause = self.policy.pause(one.lost, self.answer, &mut one.rng);
                        self.wake(now + pause, node);
                    } else {
                        stood += 1;
                        one.standing = Some(1);
                        one.vote = (one.vote.0 + 1, node);
                        let term = one.vote.0;
                        self.wake(now + self.answer, node);
                        for to in (0..self.nodes.len()).filter(|to| *to != node) {
                            self.put(now + self.way, Event::Asked { from: node, to, term });
                        }
                    }
                }
                Event::Wake { .. } => {}
                Event::Asked { from, to, term } => {
                    let one = &mut self.nodes[to];
                    if (term, from) > one.vote {
                        one.vote = (term, from);
                        one.standing = None;
                        let patience = self.policy.patience(&mut one.rng);
                        self.wake(now + patience, to);
                        self.put(now + self.way, Event::Answered { to: from, term });
                    }
                }
                Event::Answered { to, term } => {
                    let one = &mut self.nodes[to];
                    if let Some(votes) = &mut one.standing
                        && one.vote == (term, to)
                    {
                        *votes += 1;
                        if *votes >= majority {
                            return Some((now, stood));
                        }
                    }
                }
            }
        }
        None
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn a_leader_is_elected_however_long_the_links_are(
        way_ms in 0u64..400,
        heartbeat_ms in 20u64..400,
        alive in prop_oneof![Just(2usize), Just(4)],
        seed: u64,
    ) {
        let heartbeat = ms(heartbeat_ms);
        let policy = Policy { heartbeat, min: heartbeat * 4, max: heartbeat * 6, unknown: heartbeat * 5 };
        let way = ms(way_ms).min(policy.max);
        let mut link = RoundTrip::unknown();
        (0..20).for_each(|_heartbeat| link.observe(way * 2));
        let answer = policy.answer(link.bound());
        prop_assert!(answer >= way * 2, "{answer:?} for {way:?} each way");
        let limit = (policy.max + answer) * 200;
        let elected = Cluster::new(policy, way, answer, alive, seed).elects(limit);
        prop_assert!(elected.is_some(), "nobody within {limit:?}, {way:?} each way");
    }

    #[test]
    fn pauses_and_limits_are_never_without_bounds(
        heartbeat_ms in 1u64..5_000,
        round_trip in prop::option::of(any::<u64>()),
        lost: u32,
        took: u64,
        seed: u64,
    ) {
        let heartbeat = ms(heartbeat_ms);
        let policy = Policy { heartbeat, min: heartbeat * 4, max: heartbeat * 6, unknown: heartbeat * 5 };
        let answer = policy.answer(round_trip.map(Duration::from_micros));
        prop_assert!(answer >= heartbeat * 2 && answer <= policy.max * 4);
        let pause = policy.pause(lost, Duration::from_micros(took), &mut Rng::seeded(seed));
        prop_assert!(pause >= heartbeat && pause <= policy.max * 32);
    }
}

#[test]
fn elections_over_slow_links_take_few_attempts() {
    let policy = Policy { heartbeat: ms(150), min: ms(600), max: ms(900), unknown: ms(700) };
    let way = ms(100);
    let mut link = RoundTrip::unknown();
    (0..20).for_each(|_heartbeat| link.observe(way * 2));
    let answer = policy.answer(link.bound());
    let mut times: Vec<Duration> = (0..1000)
        .map(|seed| Cluster::new(policy, way, answer, 2, seed).elects(ms(60_000)).expect("a leader").0)
        .collect();
    times.sort();
    assert!(times[500] < ms(1_300) && times[990] < ms(3_000), "{:?} {:?}", times[500], times[990]);
    // With limits that do not follow the link, votes never come in time.
    let fixed = ms(150);
    assert_eq!(Cluster::new(policy, way, fixed, 2, 1).elects(ms(60_000)), None);
}
