//! What a state of the model is made of, and what can happen in it.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::lease::{Role, Session, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    Runs,
    Frozen,
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) session: Session,
    pub(crate) role: Role,
    pub(crate) process: Process,
    /// It has looked at the clock in this tick. Time does not go on before, so that it is late by less than a tick.
    pub(crate) looked: bool,
    /// It acts with this token, and what it does has to end at this tick.
    pub(crate) acts: Option<(Token, u64)>,
    /// The lease that it told its guard.
    pub(crate) lease: Option<i64>,
    /// The lease that it stepped down from.
    pub(crate) lost: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    Grant { node: usize, attempt: u64, sent: u64 },
    Renew { node: usize, attempt: u64, sent: u64, lease: i64 },
    Campaign { node: usize, attempt: u64, lease: i64 },
    Resign { node: usize, attempt: u64, lease: i64 },
    Revoke { lease: i64 },
    Write { token: Token },
    Granted { node: usize, attempt: u64, sent: u64, lease: i64 },
    Renewed { node: usize, attempt: u64, sent: u64 },
    Gone { node: usize, lease: i64 },
    Answer { node: usize, attempt: u64, revision: u64, holder: Option<(Token, i64)> },
    Resigned { node: usize, attempt: u64 },
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: BTreeSet<Message>,
    pub(crate) revision: u64,
    /// When each lease may end.
    pub(crate) leases: BTreeMap<i64, u64>,
    pub(crate) key: Option<(Token, i64)>,
    pub(crate) freezes: u8,
    pub(crate) deaths: u8,
    pub(crate) writes: u8,
    pub(crate) stale: bool,
    pub(crate) last: Option<usize>,
    pub(crate) passed_on: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Time goes on.
    Tick,
    /// A node looks at the clock.
    Look(usize),
    /// A message arrives. One that never does is lost.
    Deliver(Message),
    /// A node's watch tells it what is there.
    Watch(usize),
    /// The coordinator ends a lease whose time is over.
    Expire(i64),
    Freeze(usize),
    Thaw(usize),
    Kill(usize),
    /// The guard of a killed process removes what it left.
    GuardRemoves(usize),
    /// It ends the lease.
    GuardRevokes(usize),
    /// Who acts writes.
    Write(usize),
}

pub(crate) fn end(world: &mut World, lease: i64) {
    if world.leases.remove(&lease).is_some() && world.key.is_some_and(|(_, of)| of == lease) {
        world.revision += 1;
        world.key = None;
    }
}

/// The node that a message is for, if it is not for the coordinator.
pub(crate) const fn receiver(message: &Message) -> Option<usize> {
    match message {
        Message::Granted { node, .. }
        | Message::Renewed { node, .. }
        | Message::Gone { node, .. }
        | Message::Answer { node, .. }
        | Message::Resigned { node, .. } => Some(*node),
        Message::Grant { .. }
        | Message::Renew { .. }
        | Message::Campaign { .. }
        | Message::Resign { .. }
        | Message::Revoke { .. }
        | Message::Write { .. } => None,
    }
}
