//! All orders of what the members, the planner, the clients and misfortune do.

use std::time::Duration;

use mainstay_core::database::agent::step;
use mainstay_core::database::{
    Candidate, Durability, Engine, Member, Observation, Pause, Phase, Policy, Regime, Request, Server, obstacle, plan,
};
use mainstay_core::time::Moment;
use stateright::{Model, Property};

use crate::world::{Agent, NAMES, Node, Process, World, index};

pub(crate) const ONE: &str = "at most one member can acknowledge";
pub(crate) const KEPT: &str = "the primary has everything that was acknowledged";
pub(crate) const MIXED: &str = "replicas stream only what continues their own log";
pub(crate) const MOVED: &str = "another member becomes primary";

/// What is checked, with what in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    pub(crate) engine: Engine,
    pub(crate) durability: Durability,
    pub(crate) writes: u8,
    pub(crate) faults: u8,
    pub(crate) terms: u64,
    /// An operator may ask for a switchover.
    pub(crate) switchover: bool,
    /// Something beside the agent stops the primary at the deadline.
    pub(crate) guarded: bool,
    /// Replicas detach themselves before a promotion.
    pub(crate) detaches: bool,
    /// What a primary is to wait for is published before it is set.
    pub(crate) publishes_first: bool,
    /// Elections hear from as many as the regimes say.
    pub(crate) quorum: bool,
    /// Members read the plan just before they act on it, rather than some time before: fewer states.
    pub(crate) prompt: bool,
    /// Whoever gets a new session reads the plan before acting.
    pub(crate) reads_first: bool,
    /// An operator may pause the group and resume it.
    pub(crate) pauses: bool,
    /// A resumed primary is heard before the end of its lease says anything again.
    pub(crate) recalls: bool,
    /// A primary without a lease goes on if members confirm it.
    pub(crate) failsafe: bool,
    /// All of them have to.
    pub(crate) asks_all: bool,
    /// What was promised outlives a restart, and the promise what it was given for.
    pub(crate) remembers: bool,
    pub(crate) outlasts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Plan,
    Ask,
    Read(usize),
    Turn(usize),
    Write(usize),
    Stream(usize, usize),
    Pause,
    /// The first one is primary and is confirmed by the other.
    Confirm(usize, usize),
    /// What was confirmed is over.
    Unconfirmed(usize),
    /// A promise is over.
    Released(usize),
    Freeze(usize),
    Kill(usize),
    Crash(usize),
    Cut(usize),
    Mend(usize),
    Deadline(usize),
    Expire(usize),
}

/// Longer than anything is waited for: in a model, whatever may have timed out has.
const LONG: Duration = Duration::from_secs(3600);

impl Groups {
    pub(crate) fn policy(&self) -> Policy {
        let candidate = |name: &&str| Candidate { node: (*name).to_owned(), priority: 1, zone: None, no_sync: false };
        Policy {
            engine: self.engine,
            durability: self.durability,
            acks: 1,
            lag_max: u64::MAX,
            members: NAMES.iter().map(candidate).collect(),
            restart_within: Duration::from_secs(3),
            gather: Duration::from_secs(1),
            guard: Duration::from_secs(1),
            cooldown: Duration::ZERO,
            yield_within: Duration::from_secs(20),
            failsafe: self.failsafe,
        }
    }

    pub(crate) fn begin(&self) -> World {
        let names = ["b", "c"].map(str::to_owned).into();
        let regime = match self.durability {
            Durability::Async => Regime::default(),
            Durability::SyncPreferred | Durability::SyncStrict => Regime { names, acks: 1 },
        };
        let mut world = World::new(self.engine, regime, self.faults);
        if self.failsafe {
            world.plan.licence.confirmers = vec![NAMES.map(str::to_owned).into()];
            world.plan.licence.since = 1;
            let plan = world.plan.clone();
            world.nodes.iter_mut().for_each(|node| node.seen = plan.clone());
            (0..NAMES.len()).for_each(|at| world.say(at));
        }
        world
    }

    pub(crate) fn observe(&self, world: &World, request: Option<Request>) -> Observation {
        let member = |(name, node): (&&str, &Node)| {
            let mut report = node.report.clone();
            if let Some(report) = report.as_mut().filter(|_| !self.detaches) {
                // As if it had said that it is detached, in the present term.
                if let (Server::Replica { upstream }, Phase::Electing { .. }) = (&mut report.server, &world.plan.phase)
                {
                    *upstream = None;
                    report.term = world.plan.term;
                }
            }
            let gone_for = if node.lease { Duration::ZERO } else { LONG };
            Member { node: (*name).to_owned(), alive: node.lease, gone_for, report }
        };
        let members: Vec<Member> = NAMES.iter().zip(&world.nodes).map(member).collect();
        let is_well = world.plan.leader().is_none_or(|leader| {
            let report = world.nodes[index(leader)].report.as_ref();
            report.is_none_or(|report| report.server == Server::Primary)
        });
        let unwell_for = if is_well { Duration::ZERO } else { LONG };
        let paused = world.paused;
        Observation { members, phase_for: LONG, unwell_for, paused, request, ..Observation::default() }
    }

    fn think(&self, world: &mut World, request: Option<Request>) {
        let observation = self.observe(world, request);
        let mut before = world.plan.clone();
        if !self.quorum && matches!(before.phase, Phase::Electing { .. }) {
            before.regimes.iter_mut().for_each(|regime| regime.acks = regime.names.len());
        }
        if !self.recalls && before.licence.pause == Pause::Ending {
            before.licence.pause = Pause::Off;
        }
        let next = plan(&self.policy(), &observation, &before);
        if next != before && next.term <= self.terms {
            world.risked |= next.risk.is_some();
            world.plan = next;
            if !self.publishes_first && matches!(world.plan.phase, Phase::Serving { .. }) {
                world.plan.regimes.truncate(1);
            }
        }
    }

    /// Whatever was broken is whole again, and everybody takes turns: this must end with a primary.
    pub(crate) fn heal(&self, world: &World) -> Result<(), String> {
        let whole = Self { terms: u64::MAX, guarded: true, ..*self };
        let mut world = world.clone();
        world.paused = false;
        for at in 0..NAMES.len() {
            let node = &mut world.nodes[at];
            (node.confirmed, node.promised) = (false, None);
            whole.expire_if_lost(&mut world, at);
            whole.mend(&mut world, at);
        }
        const ROUNDS: usize = 60;
        for _ in 0..ROUNDS {
            for at in 0..NAMES.len() {
                world.nodes[at].seen = world.plan.clone();
                whole.turn(&mut world, at);
                if let Process::Replica { of: Some(of) } = world.nodes[at].process {
                    whole.stream_all(&mut world, at, of);
                }
            }
            whole.think(&mut world, None);
        }
        let serves = world.plan.serving().map(index).filter(|at| world.can_acknowledge(*at));
        let follow = |of: usize| {
            (0..NAMES.len()).all(|at| at == of || world.nodes[at].process == Process::Replica { of: Some(of) })
        };
        match serves {
            Some(primary) if follow(primary) && !world.mixed => Ok(()),
            Some(_) | None => {
                let obstacle = obstacle(&whole.policy(), &whole.observe(&world, None), &world.plan);
                Err(format!("after healing: {:?}, {obstacle:?}, {:#?}", world.plan, world.nodes))
            }
        }
    }

    fn stream_all(&self, world: &mut World, at: usize, of: usize) {
        while world.nodes[of].process == Process::Primary && world.nodes[at].log.len() < world.nodes[of].log.len() {
            world.stream(at, of);
            if world.mixed {
                return;
            }
        }
    }

    fn turn(&self, world: &mut World, at: usize) {
        let node = &world.nodes[at];
        let source = node.seen.source().map(index).and_then(|source| world.nodes[source].report.clone());
        let deadline = (!node.lost || node.is_licensed(NAMES[at])).then(|| Moment::from_millis(1000));
        let action = step(NAMES[at], &node.local(), &node.seen, source.as_ref(), deadline, Moment::ZERO);
        world.carry_out(at, action);
        world.say(at);
    }

    fn expire_if_lost(&self, world: &mut World, at: usize) {
        let node = &mut world.nodes[at];
        if node.lost || node.agent == Agent::Dead {
            if node.process == Process::Primary {
                world.crash(at);
            }
            let node = &mut world.nodes[at];
            (node.lease, node.report, node.lost) = (false, None, true);
        }
    }

    fn mend(&self, world: &mut World, at: usize) {
        let plan = world.plan.clone();
        let node = &mut world.nodes[at];
        let is_new = !node.lease || node.agent == Agent::Dead;
        if node.agent == Agent::Dead {
            // What it has promised it has written down; all else is forgotten.
            node.promised = node.promised.filter(|_| self.remembers);
        }
        (node.agent, node.cut, node.lost, node.lease) = (Agent::Runs, false, false, true);
        if is_new && self.reads_first && node.may_read(&plan) {
            node.seen = plan;
        }
    }

    fn faults(&self, world: &World, at: usize, steps: &mut Vec<Step>) {
        let node = &world.nodes[at];
        if world.faults > 0 && node.agent == Agent::Runs && !node.cut {
            let leads = node.process == Process::Primary;
            steps.extend(leads.then_some(Step::Freeze(at)));
            steps.push(Step::Kill(at));
            steps.extend((!matches!(node.process, Process::Down { .. })).then_some(Step::Crash(at)));
            steps.extend(leads.then_some(Step::Cut(at)));
        }
        let is_away = node.agent != Agent::Runs || node.cut;
        steps.extend(is_away.then_some(Step::Mend(at)));
        steps.extend((is_away && !node.lost).then_some(Step::Deadline(at)));
        // An agent that runs stops its primary in time; a guard does it for one that does not.
        let is_stopped = node.process != Process::Primary || (!self.guarded && node.agent != Agent::Runs);
        let is_stopped = is_stopped || node.is_licensed(NAMES[at]);
        steps.extend((node.lost && node.lease && is_stopped).then_some(Step::Expire(at)));
    }
}

impl Model for Groups {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![self.begin()]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        steps.push(Step::Plan);
        steps.extend((self.switchover && !world.asked).then_some(Step::Ask));
        steps.extend((self.pauses && world.pauses > 0).then_some(Step::Pause));
        for (at, node) in world.nodes.iter().enumerate() {
            if node.agent == Agent::Runs {
                steps.extend(
                    (!self.prompt && !node.cut && node.seen != world.plan && node.may_read(&world.plan))
                        .then_some(Step::Read(at)),
                );
                steps.push(Step::Turn(at));
            }
            match node.process {
                Process::Primary if world.written < self.writes => steps.push(Step::Write(at)),
                Process::Replica { of: Some(of) } if world.nodes[of].process == Process::Primary => {
                    steps.push(Step::Stream(at, of));
                }
                Process::Primary | Process::Replica { .. } | Process::Down { .. } => {}
            }
            if self.failsafe {
                self.confirmations(world, at, steps);
            }
            self.faults(world, at, steps);
        }
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        match step {
            Step::Plan => self.think(&mut world, None),
            Step::Ask => {
                world.asked = true;
                self.think(&mut world, Some(Request::Switchover { to: None }));
            }
            Step::Read(at) => world.nodes[at].seen = world.plan.clone(),
            Step::Turn(at) => {
                if self.prompt && !world.nodes[at].cut && world.nodes[at].may_read(&world.plan) {
                    world.nodes[at].seen = world.plan.clone();
                }
                self.turn(&mut world, at);
            }
            Step::Write(at) => {
                world.nodes[at].log.push(world.written);
                world.written += 1;
            }
            Step::Stream(at, of) => world.stream(at, of),
            Step::Pause => {
                world.paused = !world.paused;
                world.pauses -= 1;
            }
            Step::Confirm(at, of) => self.confirm(&mut world, at, of),
            Step::Unconfirmed(at) => {
                world.nodes[at].confirmed = false;
                self.guard(&mut world, at);
            }
            Step::Released(at) => self.release(&mut world, at),
            Step::Freeze(at) => world.nodes[at].agent = Agent::Frozen,
            Step::Kill(at) => {
                world.nodes[at].agent = Agent::Dead;
                (world.nodes[at].confirmed, world.nodes[at].heard) = (false, Vec::new());
                world.crash(at);
            }
            Step::Crash(at) => world.crash(at),
            Step::Cut(at) => world.nodes[at].cut = true,
            Step::Mend(at) => self.mend(&mut world, at),
            Step::Deadline(at) => {
                world.nodes[at].lost = true;
                self.guard(&mut world, at);
            }
            Step::Expire(at) => (world.nodes[at].lease, world.nodes[at].report) = (false, None),
        }
        if matches!(step, Step::Freeze(_) | Step::Kill(_) | Step::Crash(_) | Step::Cut(_)) {
            world.faults -= 1;
        }
        world.acknowledge();
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE, |_, world: &World| {
                (0..NAMES.len()).filter(|at| world.can_acknowledge(*at)).count() <= 1
            }),
            Property::always(KEPT, |model: &Self, world: &World| {
                // Where replicas are only preferred, writes of a time without any may be lost, and the plan says so.
                let may_lose = world.risked && model.durability != Durability::SyncStrict;
                let leads = world
                    .nodes
                    .iter()
                    .filter(|node| node.process == Process::Primary && node.led == Some(world.plan.term));
                may_lose
                    || leads.into_iter().all(|node| world.acknowledged.iter().all(|record| node.log.contains(record)))
            }),
            Property::always(MIXED, |_, world: &World| !world.mixed),
            Property::sometimes(MOVED, |_, world: &World| world.plan.serving().is_some_and(|primary| primary != "a")),
        ]
    }
}
