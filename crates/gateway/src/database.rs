//! Listeners that lead to the servers of a database group. A connection is led to the server that has the role for it, and
//! ended when it has it no more; while there is none, new connections wait.
//!
//! What a client is told is an error of its own protocol, and it is told only where that cannot be taken for something else:
//! between two messages to it. In the middle of one the connection is reset.

mod cancel;
mod farewell;
pub(crate) mod group;
mod postgres;
mod reach;
mod redis;
mod session;

use std::rc::Rc;

use mainstay_core::time::Moment;
use tokio::net::TcpStream;

use self::group::Group;
use crate::peer::Peer;
use crate::spec::{self, Engine, Protocol};
use crate::state::DatabaseCounters;
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::table::Listener;

/// A client's connection, and what it is to be served by.
pub(crate) struct Case<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) listener: &'a Listener,
    pub(crate) spec: &'a spec::Database,
    pub(crate) group: &'a Rc<Group>,
    pub(crate) slot: &'a Slot,
    pub(crate) peer: &'a Peer,
}

impl Case<'_> {
    pub(crate) fn counters(&self) -> &DatabaseCounters {
        &self.listener.state.shards.of(self.worker.index).database
    }

    pub(crate) fn now(&self) -> Moment {
        self.worker.clock.now()
    }

    /// Sets the deadline of what is waited for next. A gateway that leaves waits for nothing.
    pub(crate) fn wait_until(&self, moment: Moment) {
        self.slot.set(if self.worker.closes_tunnels() { self.now() } else { moment });
    }
}

/// Why a client was not led to a server, or not on.
#[derive(Debug)]
pub(crate) enum Refused {
    /// No server was to be had in time.
    NoServer,
    /// Too many wait already.
    QueueFull,
    /// The client breaks the protocol.
    Malformed(String),
    /// The client takes too long.
    TooSlow,
    /// The client does not ask for TLS.
    NotEncrypted,
    /// The handshake failed.
    Tls,
    /// The client has left.
    ClientLeft,
    /// The gateway leaves.
    Leaving,
}

/// Serves a client's connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, listener: Rc<Listener>, stream: TcpStream, peer: Peer, slot: Rc<Slot>) {
    let Protocol::Database(spec) = &listener.state.spec.protocol else { return };
    let Some(group) = &listener.group else { return };
    slot.led.set(true);
    slot.tunnel.set(true);
    let case = Case { worker: &worker, listener: &listener, spec, group, slot: &slot, peer: &peer };
    // Boxed: what happens at first needs much that a connection does not need afterwards.
    match spec.engine {
        Engine::Postgres => Box::pin(postgres::serve(&case, stream)).await,
        Engine::Redis => Box::pin(redis::serve(&case, stream)).await,
    }
}
