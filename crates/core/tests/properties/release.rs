use std::time::Duration;

use mainstay_core::release::judge::ALL;
use mainstay_core::release::{
    Node, Observation, Plan, Policy, Previous, Quiet, Release, Sample, Stage, Subject, Terms, Traffic, Vote, plan,
};
use mainstay_core::time::Moment;
use proptest::prelude::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const NEW: u64 = 2;
const OLD: u64 = 1;

/// What may happen between two plans.
#[derive(Clone, Copy, Debug)]
enum Event {
    Wait(u64),
    Votes(usize, bool),
    /// A node does as it is told.
    Obeys(usize),
    Fails(usize),
    /// A node comes or goes.
    Flips(usize),
    /// What a node's clients saw: requests and failures since the change.
    Sees(usize, u64, u64),
    /// Another node plans from here on.
    TakesOver,
    Aborts,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let node = 0usize..NAMES.len();
    let event = prop_oneof![
        4 => (1u64..9000).prop_map(Event::Wait),
        6 => (node.clone(), prop::bool::weighted(0.97)).prop_map(|(node, accepts)| Event::Votes(node, accepts)),
        6 => node.clone().prop_map(Event::Obeys),
        1 => node.clone().prop_map(Event::Fails),
        1 => node.clone().prop_map(Event::Flips),
        5 => (node, 0u64..400, 0u64..20).prop_map(|(node, requests, failures)| Event::Sees(node, requests, failures)),
        1 => Just(Event::TakesOver),
        1 => prop::bool::weighted(0.2).prop_map(|aborts| if aborts { Event::Aborts } else { Event::Wait(1) }),
    ];
    prop::collection::vec(event, 0..120)
}

fn terms() -> impl Strategy<Value = Terms> {
    let bake = prop::option::weighted(0.8, (1u64..60).prop_map(Duration::from_secs));
    let canary = prop::option::of((0usize..NAMES.len()).prop_map(|node| NAMES[node].to_owned()));
    (bake, canary, any::<bool>()).prop_map(|(bake, canary, strict)| Terms {
        bake,
        canary,
        quiet: if strict { Quiet::RollBack } else { Quiet::Proceed },
    })
}

struct World {
    now: Moment,
    nodes: Vec<Node>,
    is_live: [bool; NAMES.len()],
    abort: bool,
    previous: Previous,
    deadline: Option<Moment>,
    /// Every stage that there was, with when it was entered.
    history: Vec<(Moment, Stage)>,
}

impl World {
    fn new(terms: Terms) -> Self {
        let node = |name: &&str| Node { name: (*name).to_owned(), serves: Some(OLD), rate: 5.0, ..Node::default() };
        let release = Release::new(NEW, OLD, terms, 0);
        Self {
            now: Moment::from_millis(5),
            nodes: NAMES.iter().map(node).collect(),
            is_live: [true; NAMES.len()],
            abort: false,
            history: vec![(Moment::from_millis(5), release.stage.clone())],
            previous: Previous { release, since: Moment::from_millis(5) },
            deadline: None,
        }
    }

    fn live(&self) -> Vec<Node> {
        self.nodes.iter().zip(self.is_live).filter(|(_node, lives)| *lives).map(|(node, _lives)| node.clone()).collect()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wait(millis) => self.now = self.now.after(Duration::from_millis(millis)),
            Event::Votes(node, true) => self.nodes[node].vote = Some(Vote::Accept),
            Event::Votes(node, false) => self.nodes[node].vote = Some(Vote::Veto(vec!["no".to_owned()])),
            Event::Obeys(node) => {
                self.nodes[node].serves = Some(self.previous.release.target(NAMES[node]));
                self.nodes[node].failure = None;
            }
            Event::Fails(node) => {
                if self.previous.release.target(NAMES[node]) == NEW {
                    self.nodes[node].failure = Some("it cannot".to_owned());
                }
            }
            Event::Flips(node) => self.is_live[node] = !self.is_live[node],
            Event::Sees(node, requests, failures) => {
                let subject = |requests, failures: u64| Subject {
                    name: ALL.to_owned(),
                    sample: Sample { requests, failures: failures.min(requests), ..Sample::default() },
                };
                let (before, since) = (vec![subject(1000, 1)], vec![subject(requests, failures)]);
                self.nodes[node].traffic = Some(Traffic { received: self.now, before, since });
            }
            Event::TakesOver => {
                self.previous = Previous { release: self.previous.release.taken_over(), since: self.now };
            }
            Event::Aborts => self.abort = true,
        }
    }

    /// Plans once, and holds the plan to what must be true of any.
    fn plan(&mut self, policy: &Policy) -> Result<Plan, TestCaseError> {
        let nodes = self.live();
        let observation = Observation { now: self.now, nodes: &nodes, abort: self.abort };
        let before = self.previous.clone();
        let plan = plan(policy, &observation, &before);
        let (old, new) = (&before.release, &plan.release);
        prop_assert_eq!(new.number, old.number + u64::from(new.stage != old.stage), "numbers count changes");
        prop_assert_eq!((new.version, new.from, &new.terms), (old.version, old.from, &old.terms));
        prop_assert_eq!(plan.deadline.is_none(), new.stage.is_over(), "whatever waits has a deadline");
        prop_assert!(plan.since <= self.now);
        if old.stage.is_over() {
            prop_assert_eq!(new, old, "what is over stays so");
        }
        if old.stage != new.stage {
            self.lawful(&before, &plan, policy, &nodes)?;
            self.history.push((self.now, new.stage.clone()));
        }
        self.previous = Previous { release: plan.release.clone(), since: plan.since };
        self.deadline = plan.deadline;
        Ok(plan)
    }

    /// What must be true when a stage follows another.
    fn lawful(&self, before: &Previous, plan: &Plan, policy: &Policy, nodes: &[Node]) -> Result<(), TestCaseError> {
        let waited = self.now.since(before.since);
        let bake = before.release.terms.bake;
        match (&before.release.stage, &plan.release.stage) {
            (Stage::Validating, Stage::Canary { .. } | Stage::Spreading { .. }) => {
                prop_assert!(!nodes.is_empty() && nodes.iter().all(|node| node.vote == Some(Vote::Accept)));
            }
            (Stage::Validating, Stage::Vetoed { vetoes }) => {
                prop_assert!(!vetoes.is_empty() || nodes.is_empty());
            }
            (Stage::Canary { node }, Stage::Baking { node: same }) => prop_assert_eq!(node, same),
            (Stage::Baking { .. }, Stage::Spreading { unproven }) => {
                let least = bake.unwrap_or_default() * if *unproven { policy.patience } else { 1 };
                prop_assert!(waited >= least, "{waited:?} of {least:?}");
            }
            (Stage::Spreading { unproven }, Stage::Done { unproven: same }) => {
                prop_assert_eq!(unproven, same);
                prop_assert!(!nodes.is_empty() && nodes.iter().all(|node| node.serves == Some(NEW)));
            }
            (Stage::RollingBack { cause }, Stage::RolledBack { cause: same, late }) => {
                prop_assert_eq!(cause, same);
                prop_assert!(late.is_empty() || waited >= policy.apply_within || before.release.takeovers > 5);
            }
            (old, Stage::RollingBack { .. }) => prop_assert!(!old.is_over()),
            (old, new) => prop_assert!(false, "{old:?} -> {new:?}"),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn stages_follow_each_other_lawfully_and_a_release_always_ends(terms in terms(), events in events()) {
        let policy = Policy::default();
        let mut world = World::new(terms);
        world.plan(&policy)?;
        for event in events {
            world.happen(event);
            world.plan(&policy)?;
        }
        // From here on nobody says anything: deadlines alone have to end it.
        for _deadline in 0..20 {
            let Some(deadline) = world.deadline.filter(|_| !world.previous.release.stage.is_over()) else { break };
            world.now = world.now.max(deadline);
            world.plan(&policy)?;
        }
        world.plan(&policy)?;
        prop_assert!(world.previous.release.stage.is_over(), "{:?}", world.history);
    }

    #[test]
    fn takeovers_alone_cannot_keep_it_alive(terms in terms(), waits in prop::collection::vec(1u64..50, 40)) {
        let policy = Policy::default();
        let mut world = World::new(terms);
        for wait in waits {
            world.happen(Event::Wait(wait));
            world.happen(Event::TakesOver);
            world.plan(&policy)?;
        }
        prop_assert!(world.previous.release.stage.is_over(), "{:?}", world.history);
        prop_assert!(world.previous.release.takeovers <= policy.takeovers_max + 2);
    }

    #[test]
    fn a_canary_that_fails_its_clients_is_the_only_node_that_ever_had_it(
        bake in 1u64..60,
        failures in 10u64..200,
        waits in prop::collection::vec(1u64..3000, 60),
    ) {
        let policy = Policy::default();
        let mut world = World::new(Terms { bake: Some(Duration::from_secs(bake)), ..Terms::default() });
        let mut had = [false; NAMES.len()];
        for wait in waits {
            for (node, had) in had.iter_mut().enumerate() {
                world.happen(Event::Votes(node, true));
                world.happen(Event::Obeys(node));
                let is_new = world.nodes[node].serves == Some(NEW);
                *had |= is_new;
                world.happen(Event::Sees(node, 200, if is_new { failures } else { 0 }));
            }
            world.happen(Event::Wait(wait));
            world.plan(&policy)?;
        }
        prop_assert_eq!(world.previous.release.stage.word(), "rolled-back");
        prop_assert_eq!(had.iter().filter(|had| **had).count(), 1);
        prop_assert!(world.nodes.iter().all(|node| node.serves == Some(OLD)));
    }

    #[test]
    fn what_is_over_is_the_same_for_all_nodes(terms in terms(), events in events()) {
        let policy = Policy::default();
        let mut world = World::new(terms);
        for event in events {
            world.happen(event);
            world.plan(&policy)?;
            let release = &world.previous.release;
            let targets: Vec<u64> = NAMES.iter().map(|name| release.target(name)).collect();
            let new = targets.iter().filter(|target| **target == NEW).count();
            let expected = match &release.stage {
                Stage::Canary { .. } | Stage::Baking { .. } => 1,
                Stage::Spreading { .. } | Stage::Done { .. } => NAMES.len(),
                Stage::Validating | Stage::RollingBack { .. } | Stage::Vetoed { .. } | Stage::RolledBack { .. } => 0,
            };
            prop_assert_eq!(new, expected, "{:?}", release.stage);
        }
    }
}
