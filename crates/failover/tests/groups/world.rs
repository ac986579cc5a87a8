//! Three members, the store, and what goes on between them.

use mainstay_core::database::agent::{Action, Local, Stop, conforms};
use mainstay_core::database::{Before, Branch, Engine, Licence, Pause, Phase, Plan, Regime, Report, Server};

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];
/// Records that no client wrote: of promotions and shutdowns.
const INTERNAL: u8 = 100;

pub(crate) fn index(name: &str) -> usize {
    NAMES.iter().position(|of| *of == name).expect("a member")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Agent {
    Runs,
    Frozen,
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    Down { clean: Option<u64> },
    Replica { of: Option<usize> },
    Primary,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) engine: Engine,
    /// The name of its history, and the one before: Redis'.
    pub(crate) system: u64,
    pub(crate) before: Option<Before>,
    pub(crate) agent: Agent,
    /// It cannot reach the store.
    pub(crate) cut: bool,
    /// The store has its lease.
    pub(crate) lease: bool,
    /// Its own deadline has passed.
    pub(crate) lost: bool,
    /// All members that it asked have confirmed it, and that is not over.
    pub(crate) confirmed: bool,
    /// Who has confirmed it in the round that is under way.
    pub(crate) heard: Vec<usize>,
    /// Whom it has promised to keep still for, with the term.
    pub(crate) promised: Option<(usize, u64)>,
    pub(crate) process: Process,
    pub(crate) log: Vec<u8>,
    pub(crate) timeline: u32,
    pub(crate) branches: Vec<Branch>,
    pub(crate) led: Option<u64>,
    pub(crate) checkpointed: bool,
    /// What its commits wait for.
    pub(crate) waits_for: Regime,
    pub(crate) sync: Option<u64>,
    pub(crate) seen: Plan,
    /// The term that it said last that it conforms to.
    pub(crate) said: u64,
    /// What stands in the store on its lease.
    pub(crate) report: Option<Report>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) plan: Plan,
    pub(crate) acknowledged: Vec<u8>,
    pub(crate) written: u8,
    pub(crate) internal: u8,
    pub(crate) faults: u8,
    /// An operator has asked for a switchover.
    pub(crate) asked: bool,
    /// An operator has paused the group, and how often that changes yet.
    pub(crate) paused: bool,
    pub(crate) pauses: u8,
    /// An election was told to be one that may lose something.
    pub(crate) risked: bool,
    /// A replica streamed from one whose log is not a continuation of its own.
    pub(crate) mixed: bool,
}

impl Node {
    pub(crate) fn local(&self) -> Local {
        let server = match &self.process {
            Process::Down { clean } => Server::Stopped { clean: *clean },
            Process::Replica { of } => Server::Replica { upstream: of.map(|of| NAMES[of].to_owned()) },
            Process::Primary => Server::Primary,
        };
        let leads = self.process == Process::Primary;
        let report = Report {
            term: self.said,
            system: Some(self.system),
            timeline: self.timeline,
            position: self.log.len() as u64,
            led: self.led,
            branches: self.branches.clone(),
            before: self.before,
            checkpointed: self.checkpointed && leads,
            sync: self.sync.filter(|_| leads),
            // Nothing that an earlier plan allowed goes on: a model's agent acts by the plan that it has read.
            licence: if self.confirmed { 0 } else { self.seen.licence.since },
            ..Report::new(server)
        };
        let engine = self.engine;
        Local { engine, report, leads, hung: false, rewinds: 0, clones: 0, upstream: None, stuck_at: None }
    }
}

impl Node {
    /// It is primary by the plan that it has read, with that plan's term.
    fn serves(&self, name: &str) -> bool {
        self.seen.serving() == Some(name) && self.led == Some(self.seen.term)
    }

    /// Whether it may act without a lease.
    pub(crate) fn is_licensed(&self, name: &str) -> bool {
        self.serves(name) && (self.confirmed || self.seen.licence.pause == Pause::On)
    }

    /// Whether it may go by the plan in the store.
    pub(crate) fn may_read(&self, plan: &Plan) -> bool {
        self.promised.is_none_or(|(_, term)| plan.term <= term)
    }
}

impl World {
    pub(crate) fn new(engine: Engine, regime: Regime, faults: u8) -> Self {
        let plan = Plan {
            number: 1,
            term: 1,
            system: Some(1),
            before: Vec::new(),
            phase: Phase::Serving { primary: "a".to_owned() },
            sync: regime.clone(),
            sync_since: 1,
            regimes: vec![regime.clone()],
            risk: None,
            chosen_at: None,
            licence: Licence::default(),
        };
        let node = |index: usize| Node {
            engine,
            system: 1,
            before: None,
            agent: Agent::Runs,
            cut: false,
            lease: true,
            lost: false,
            confirmed: false,
            heard: Vec::new(),
            promised: None,
            process: if index == 0 { Process::Primary } else { Process::Replica { of: Some(0) } },
            log: Vec::new(),
            timeline: 1,
            branches: Vec::new(),
            led: (index == 0).then_some(1),
            checkpointed: true,
            waits_for: regime.clone(),
            sync: Some(1),
            seen: plan.clone(),
            said: 1,
            report: None,
        };
        let mut world = Self {
            nodes: (0..NAMES.len()).map(node).collect(),
            plan,
            acknowledged: Vec::new(),
            written: 0,
            internal: INTERNAL,
            faults,
            asked: false,
            paused: false,
            pauses: 2,
            risked: false,
            mixed: false,
        };
        for index in 0..NAMES.len() {
            world.say(index);
        }
        world
    }

    /// How many of those that it waits for stream from it, and have so much.
    fn having(&self, primary: usize, length: usize) -> usize {
        let node = &self.nodes[primary];
        let streams = |name: &&String| {
            let other = &self.nodes[index(name)];
            other.process == Process::Replica { of: Some(primary) } && other.log.len() >= length
        };
        node.waits_for.names.iter().filter(streams).count()
    }

    /// Whether a commit of a client on it would return.
    pub(crate) fn can_acknowledge(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        node.process == Process::Primary && self.having(index, 0) >= node.waits_for.acks
    }

    /// Clients are told as soon as they can be.
    pub(crate) fn acknowledge(&mut self) {
        for primary in 0..self.nodes.len() {
            if self.nodes[primary].process != Process::Primary {
                continue;
            }
            for at in 0..self.nodes[primary].log.len() {
                let record = self.nodes[primary].log[at];
                let is_old = record >= INTERNAL || self.acknowledged.contains(&record);
                if !is_old && self.having(primary, at + 1) >= self.nodes[primary].waits_for.acks {
                    self.acknowledged.push(record);
                    self.acknowledged.sort_unstable();
                }
            }
        }
    }

    /// It says what it has, if the store hears it.
    pub(crate) fn say(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.said = conforms(NAMES[index], &node.local(), &node.seen);
        if node.lease && !node.cut {
            node.report = Some(node.local().report);
        }
    }

    fn internal(&mut self, index: usize) {
        self.nodes[index].log.push(self.internal);
        self.internal += 1;
    }

    /// The server ends where it is. A Redis comes back with a snapshot, which is older.
    pub(crate) fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.engine.outlives_crashes() {
            node.log.truncate(node.log.len() / 2);
        }
        node.process = Process::Down { clean: None };
    }

    pub(crate) fn stream(&mut self, index: usize, from: usize) {
        let upstream = self.nodes[from].clone();
        let node = &mut self.nodes[index];
        if node.engine.renames() {
            // It decides by itself what it continues: the same name, or the one before up to where it ended.
            let continues = upstream
                .before
                .is_some_and(|before| before.system == node.system && node.log.len() as u64 <= before.at);
            if node.system != upstream.system && !continues {
                node.log = upstream.log.clone();
            }
            (node.system, node.before, node.led) = (upstream.system, upstream.before, None);
        }
        let Some(record) = upstream.log.get(node.log.len()) else { return };
        if !upstream.log.starts_with(&node.log) {
            self.mixed = true;
            return;
        }
        node.log.push(*record);
        let length = node.log.len() as u64;
        node.branches = upstream.branches.iter().filter(|branch| branch.at < length).copied().collect();
        node.timeline = node.branches.last().map_or(1, |branch| branch.timeline);
    }

    pub(crate) fn carry_out(&mut self, index: usize, action: Action) {
        match action {
            Action::Wait | Action::GiveUp | Action::Found { .. } | Action::Adopt { .. } => {}
            Action::Demote => self.nodes[index].process = Process::Replica { of: None },
            Action::Stop(stop) => {
                if self.nodes[index].engine == Engine::Redis {
                    // It is stopped with a snapshot.
                    self.nodes[index].process = Process::Down { clean: None };
                    return;
                }
                let was_primary = self.nodes[index].process == Process::Primary;
                let clean = (stop == Stop::Fast && was_primary).then_some(self.nodes[index].log.len() as u64);
                if clean.is_some() {
                    self.internal(index);
                }
                self.nodes[index].process = Process::Down { clean };
            }
            Action::StartPrimary { sync, .. } => {
                let node = &mut self.nodes[index];
                (node.process, node.waits_for, node.sync) = (Process::Primary, sync, None);
            }
            Action::StartReplica { of } | Action::Follow { of } => {
                self.nodes[index].process = Process::Replica { of: of.as_deref().map(self::index) };
            }
            Action::Promote { term, sync } => {
                let node = &mut self.nodes[index];
                (node.process, node.waits_for, node.sync) = (Process::Primary, sync, None);
                (node.led, node.checkpointed) = (Some(term), node.engine == Engine::Redis);
                if node.engine.renames() {
                    // Terms are as good as random names: nobody else has the same one.
                    node.before = Some(Before { system: node.system, at: node.log.len() as u64 });
                    node.system = 1 + term;
                    return;
                }
                node.timeline += 1;
                node.branches.push(Branch { timeline: node.timeline, at: node.log.len() as u64 });
                self.internal(index);
            }
            Action::Checkpoint => self.nodes[index].checkpointed = true,
            Action::SetSync { since, sync } => {
                self.nodes[index].waits_for = sync.clone();
                if self.having(index, self.nodes[index].log.len()) >= sync.acks {
                    self.nodes[index].sync = Some(since);
                }
            }
            Action::Resign => self.nodes[index].led = None,
            Action::Rewind { of } | Action::Clone { of } => {
                let source = self.nodes[self::index(&of)].clone();
                if source.process == Process::Primary {
                    let node = &mut self.nodes[index];
                    (node.log, node.timeline, node.branches) = (source.log, source.timeline, source.branches);
                    (node.system, node.before, node.led) = (source.system, source.before, None);
                    node.process = Process::Down { clean: None };
                }
            }
        }
    }
}
