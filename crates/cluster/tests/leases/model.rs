//! Nodes, a coordinator and the messages between them, in ticks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::backoff;
use mainstay_core::lease::{Policy, Role, Session, holding, renewal};
use mainstay_core::time::Moment;
use stateright::{Model, Property};

use crate::world::{Action, Message, Node, Process, World, end, receiver};

pub(crate) const ONE_ACTS: &str = "one node acts at a time";
pub(crate) const STALE: &str = "no write of an earlier holder is accepted";
pub(crate) const PASSED_ON: &str = "the role is passed on";

/// A lease lives for so many ticks, and is renewed so often.
const TTL: u64 = 3;
const RENEW: u64 = 1;
const RPC: u64 = 2;
/// How long the leases of the other nodes live.
const FOR_EVER: u64 = 1000;

/// What is checked, with what in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leases {
    pub(crate) nodes: usize,
    /// How many ticks are looked at.
    pub(crate) ticks: u64,
    /// Messages that are under way at the same time, at most; others are lost.
    pub(crate) in_flight: usize,
    /// The deadline counts from when the answer came.
    pub(crate) from_receipt: bool,
    /// Ticks that a node stops before its lease may end.
    pub(crate) stop_budget: u64,
    /// Ticks that a new holder waits.
    pub(crate) guard: u64,
    /// How often a process may be frozen (and go on at any time, or never).
    pub(crate) freezes: u8,
    /// How many processes may be killed.
    pub(crate) deaths: u8,
    /// What is left past the expiry is ended from outside,
    pub(crate) enforced: bool,
    /// so many ticks late.
    pub(crate) enforced_late: u64,
    /// On a process's death its lease is ended before what it left.
    pub(crate) revokes_first: bool,
    /// Writes by those who act.
    pub(crate) writes: u8,
    /// Writes are accepted with the present holder's token only.
    pub(crate) fenced: bool,
}

const fn at(tick: u64) -> Moment {
    Moment::from_millis((tick + 1) * 1000)
}

const fn ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks)
}

impl Leases {
    /// The first node's lease is what it is about; the others' is never in doubt, so that all of the search is spent on how
    /// the first one loses it, and how the others make use of that.
    const fn policy(&self, index: usize) -> Policy {
        Policy {
            ttl: ticks(if index == 0 { TTL } else { FOR_EVER }),
            renew: ticks(if index == 0 { RENEW } else { FOR_EVER }),
            rpc: ticks(RPC),
            drift_ppm: 0,
            stop_budget: ticks(self.stop_budget),
            guard: ticks(self.guard),
            retry: backoff::Policy { base: Duration::ZERO, cap: Duration::ZERO },
        }
    }

    fn send(&self, world: &mut World, message: Message) {
        if world.net.len() < self.in_flight {
            world.net.insert(message);
        }
    }

    /// Feeds a node, and does what it says.
    fn feed(&self, world: &mut World, index: usize, session: renewal::Input, role: Option<holding::Input>) {
        let now = at(world.now);
        world.nodes[index].looked = true;
        world.nodes[index].session.step(now, session);
        self.settle(world, index);
        if let Some(input) = role {
            world.nodes[index].role.step(now, input);
            self.settle(world, index);
        }
    }

    fn settle(&self, world: &mut World, index: usize) {
        let (now, sent) = (at(world.now), world.now);
        loop {
            while let Some(output) = world.nodes[index].session.poll_output() {
                let node = &mut world.nodes[index];
                match output {
                    renewal::Output::Grant { attempt } => {
                        self.send(world, Message::Grant { node: index, attempt, sent })
                    }
                    renewal::Output::Renew { attempt, lease } => {
                        self.send(world, Message::Renew { node: index, attempt, sent, lease });
                    }
                    renewal::Output::Revoke { lease } => self.send(world, Message::Revoke { lease }),
                    renewal::Output::Held(term) => {
                        node.lease = Some(term.lease);
                        node.role.step(now, holding::Input::Session(term));
                    }
                    renewal::Output::StepDown { term, .. } => {
                        node.lease = None;
                        node.lost = Some(term.lease);
                        node.role.step(now, holding::Input::SessionLost);
                    }
                }
            }
            world.nodes[index].role.step(now, holding::Input::Timeout);
            while let Some(output) = world.nodes[index].role.poll_output() {
                self.act(world, index, output);
            }
            let node = &mut world.nodes[index];
            let Some(lease) = node.lost.take() else { return };
            node.session.step(now, renewal::Input::Stopped { lease });
        }
    }

    fn act(&self, world: &mut World, index: usize, output: holding::Output) {
        match output {
            holding::Output::Campaign { attempt, lease } => {
                self.send(world, Message::Campaign { node: index, attempt, lease });
            }
            holding::Output::Resign { attempt, lease, .. } => {
                self.send(world, Message::Resign { node: index, attempt, lease });
            }
            holding::Output::Hold { token, term } => {
                let until = term.expiry.as_nanos() / at(0).as_nanos() - 1;
                world.nodes[index].acts = Some((token, until));
                world.passed_on |= world.last.is_some_and(|last| last != index);
                world.last = Some(index);
            }
            holding::Output::Stop { token, .. } => {
                // It takes no time: that it is late by up to a tick is what the stop budget is for here.
                world.nodes[index].acts = None;
                world.nodes[index].role.step(at(world.now), holding::Input::Stopped { token });
            }
        }
    }

    fn deliver(&self, world: &mut World, message: Message) {
        world.net.remove(&message);
        let timeout = renewal::Input::Timeout;
        // Counted from the answer, a lease seems to live longer by what that took.
        let ttl = |world: &World, sent: u64| ticks(TTL + if self.from_receipt { world.now - sent } else { 0 });
        match message {
            Message::Grant { node, attempt, sent } => {
                world.revision += 1;
                let lease = world.revision as i64;
                // The coordinator may count from the sending, and may not end it before.
                world.leases.insert(lease, sent + if node == 0 { TTL } else { FOR_EVER });
                self.send(world, Message::Granted { node, attempt, sent, lease });
            }
            Message::Renew { node, attempt, sent, lease } => match world.leases.get_mut(&lease) {
                Some(end) => {
                    *end = (*end).max(sent + TTL);
                    self.send(world, Message::Renewed { node, attempt, sent });
                }
                None => self.send(world, Message::Gone { node, lease }),
            },
            Message::Campaign { node, attempt, lease } => {
                if !world.leases.contains_key(&lease) {
                    return;
                }
                if world.key.is_none() {
                    world.revision += 1;
                    world.key = Some((world.revision, lease));
                }
                let (revision, holder) = (world.revision, world.key);
                self.send(world, Message::Answer { node, attempt, revision, holder });
            }
            Message::Resign { node, attempt, lease } => {
                if world.key.is_some_and(|(_, of)| of == lease) {
                    world.revision += 1;
                    world.key = None;
                }
                self.send(world, Message::Resigned { node, attempt });
            }
            Message::Revoke { lease } => end(world, lease),
            Message::Write { token } => {
                let present = world.key.is_some_and(|(holder, _)| holder == token);
                world.stale |= !present && !self.fenced;
            }
            Message::Granted { node, attempt, sent, lease } => {
                let ttl = if node == 0 { ttl(world, sent) } else { ticks(FOR_EVER) };
                self.feed(world, node, renewal::Input::Granted { attempt, lease, ttl }, None);
            }
            Message::Renewed { node, attempt, sent } => {
                let ttl = ttl(world, sent);
                self.feed(world, node, renewal::Input::Renewed { attempt, ttl }, None);
            }
            Message::Gone { node, lease } => self.feed(world, node, renewal::Input::Gone { lease }, None),
            Message::Answer { node, attempt, revision, holder } => {
                let seen = holding::Seen { revision, holder };
                self.feed(world, node, timeout, Some(holding::Input::Answer { attempt, seen }));
            }
            Message::Resigned { node, attempt } => {
                self.feed(world, node, timeout, Some(holding::Input::Resigned { attempt }));
            }
        }
    }

    fn tick(&self, world: &mut World) {
        world.now += 1;
        for node in &mut world.nodes {
            node.looked = false;
            if self.enforced && node.acts.is_some_and(|(_, until)| world.now >= until + self.enforced_late) {
                node.acts = None;
            }
        }
        // The others look at once: the worst that they can do is to be early.
        for index in 1..world.nodes.len() {
            if world.nodes[index].process == Process::Runs {
                self.feed(world, index, renewal::Input::Timeout, None);
            }
        }
    }
}

impl Model for Leases {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let node = |index: usize| {
            let mut role = Role::new(self.policy(index), 0);
            role.step(at(0), holding::Input::Want(true));
            let session = Session::new(self.policy(index), index as u64);
            let process = Process::Runs;
            Node { session, role, process, looked: false, acts: None, lease: None, lost: None }
        };
        let mut world = World {
            now: 0,
            nodes: (0..self.nodes).map(node).collect(),
            net: BTreeSet::new(),
            revision: 0,
            leases: BTreeMap::new(),
            key: None,
            freezes: self.freezes,
            deaths: self.deaths,
            writes: self.writes,
            stale: false,
            last: None,
            passed_on: false,
        };
        // One after another, each node gets its lease and campaigns, so that the first one wins.
        for index in 0..self.nodes {
            self.feed(&mut world, index, renewal::Input::Timeout, None);
            while let Some(message) = world.net.first().copied() {
                self.deliver(&mut world, message);
            }
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let runs = |index: usize| world.nodes[index].process == Process::Runs;
        if world.now < self.ticks && world.nodes.iter().all(|node| node.looked || node.process != Process::Runs) {
            actions.push(Action::Tick);
        }
        let arrives = world.net.iter().filter(|message| receiver(message).is_none_or(runs));
        actions.extend(arrives.map(|message| Action::Deliver(*message)));
        actions
            .extend(world.leases.iter().filter(|(_, end)| world.now >= **end).map(|(lease, _)| Action::Expire(*lease)));
        for (index, node) in world.nodes.iter().enumerate() {
            match node.process {
                Process::Runs => {
                    actions.extend((!node.looked).then_some(Action::Look(index)));
                    actions.push(Action::Watch(index));
                    // Only what acts is worth a fault.
                    let acts = node.acts.is_some();
                    actions.extend((acts && world.freezes > 0).then_some(Action::Freeze(index)));
                    actions.extend((acts && world.deaths > 0).then_some(Action::Kill(index)));
                    actions.extend((acts && world.writes > 0).then_some(Action::Write(index)));
                }
                Process::Frozen => actions.push(Action::Thaw(index)),
                Process::Dead => {
                    actions.extend(node.acts.is_some().then_some(Action::GuardRemoves(index)));
                    let may_revoke = node.lease.is_some() && (node.acts.is_none() || self.revokes_first);
                    actions.extend(may_revoke.then_some(Action::GuardRevokes(index)));
                }
            }
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Tick => self.tick(&mut world),
            Action::Look(node) => self.feed(&mut world, node, renewal::Input::Timeout, None),
            Action::Deliver(message) => self.deliver(&mut world, message),
            Action::Watch(node) => {
                let seen = holding::Seen { revision: world.revision, holder: world.key };
                self.feed(&mut world, node, renewal::Input::Timeout, Some(holding::Input::Seen(seen)));
            }
            Action::Expire(lease) => end(&mut world, lease),
            Action::Freeze(node) => {
                world.freezes -= 1;
                world.nodes[node].process = Process::Frozen;
            }
            Action::Thaw(node) => world.nodes[node].process = Process::Runs,
            Action::Kill(node) => {
                world.deaths -= 1;
                world.nodes[node].process = Process::Dead;
            }
            Action::GuardRemoves(node) => world.nodes[node].acts = None,
            Action::GuardRevokes(node) => {
                let lease = world.nodes[node].lease.take()?;
                self.send(&mut world, Message::Revoke { lease });
            }
            Action::Write(node) => {
                let (token, _) = world.nodes[node].acts?;
                world.writes -= 1;
                self.send(&mut world, Message::Write { token });
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_ACTS, |_, world: &World| {
                world.nodes.iter().filter(|node| node.acts.is_some()).count() <= 1
            }),
            Property::always(STALE, |_, world: &World| !world.stale),
            Property::sometimes(PASSED_ON, |_, world: &World| world.passed_on),
        ]
    }
}
