//! One guard for everybody in a node who needs one: each has a part of the orders, and they are told as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::lease::Term;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::watch;

use super::post::Post;
use super::{AtDeath, Custody, Order, Orders, Server, claim};
use crate::session::Session;

/// How a node's guard is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program and the arguments that make a guard.
    pub program: (PathBuf, Vec<String>),
    /// What a guard's will says beside the lease.
    pub will: Value,
    /// A directory of the node's, where guards tell each other which servers they have; `None`: a server is never handed over.
    pub claims: Option<PathBuf>,
}

/// No guard has the order: what it was to end must not begin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the guard is missing: {0}")]
pub struct Unguarded(String);

/// The node's guard. All copies are the same one.
#[derive(Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    session: Session,
    changed: Arc<watch::Sender<u64>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Started with the first part.
    post: Option<Post>,
    parts: BTreeMap<String, Share>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Acting,
    /// Another process of the node takes over; servers are for it.
    HandingOver,
    /// The node has left; only servers that it could not end are left.
    Left,
}

/// What one user wants of the guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Share {
    addresses: Vec<Order>,
    kill_at: Option<u64>,
    server: Option<Custody>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("missing", &self.missing()).finish_non_exhaustive()
    }
}

impl Keeper {
    /// For the node whose session it is. A guard is started once somebody needs it.
    pub fn new(settings: Settings, session: Session) -> Self {
        let changed = Arc::new(watch::Sender::new(0));
        Self { shared: Arc::new(Shared { settings, session, changed, state: Mutex::default() }) }
    }

    /// The part of that name; the same as before, if there was one. Dropping it withdraws nothing: what was told last stands
    /// until its deadline, so that a user that ended by a defect is guarded all the same.
    pub fn part(&self, name: &str) -> Part {
        let mut state = self.shared.lock();
        state.parts.entry(name.to_owned()).or_default();
        if state.post.is_none() {
            let (program, changed) = (self.shared.settings.program.clone(), Arc::clone(&self.shared.changed));
            state.post = Some(Post::new(program, changed));
        }
        drop(state);
        Part { name: name.to_owned(), shared: Arc::clone(&self.shared) }
    }

    /// Why there is no guard that can be relied on; `None`: there is one.
    pub fn missing(&self) -> Option<String> {
        let state = self.shared.lock();
        state.post.as_ref().map_or_else(|| Some("nothing needs it yet".to_owned()), Post::missing)
    }

    /// Tells when a guard has come up, or could not be started: whoever has a part tells it again then.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Another process of this node is about to take over: servers run on until their deadline when this process ends, and their
    /// guard leaves them alone once another one has them.
    pub fn hand_over(&self) {
        self.shared.enter(Stage::HandingOver);
    }

    /// The node has left in order: nothing is done at its end any more, except that servers are ended that it could not.
    pub fn dismiss(&self) {
        self.shared.enter(Stage::Left);
    }
}

/// One user's part of the orders.
pub struct Part {
    name: String,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Part {
    /// Floating addresses that are held, and when the node is killed because others are held by listening.
    pub fn hold(&self, addresses: Vec<Order>, kill_at: Option<u64>) {
        // Without a guard the kernel ends the addresses' lifetime, later.
        let _kernel_does = self.shared.change(&self.name, |share| {
            (share.addresses, share.kill_at) = (addresses, kill_at);
        });
    }

    /// The server may act for as long as this term of the node's lease. To be told before it may, and again with each renewal.
    /// Half of the time that is there for stopping is left to the node; then the guard tells the server to stop, and kills
    /// what is left of it a quarter before the end.
    ///
    /// # Errors
    /// If no guard has the order. It will once one has come up, but until then the server must not begin to act.
    pub fn protect(&self, server: &Server, term: Term, at_death: AtDeath) -> Result<(), Unguarded> {
        let budget = term.expiry.since(term.deadline);
        let (stop_at, kill_at) = (term.deadline.after(budget / 2), term.deadline.after(budget * 3 / 4));
        let folder = self.shared.settings.claims.as_deref();
        let custody = Custody {
            server: server.clone(),
            stop_at: stop_at.as_nanos(),
            kill_at: kill_at.as_nanos(),
            at_death,
            claim: folder.map(|folder| claim::path(folder, &server.directory)),
        };
        self.shared.change(&self.name, |share| share.server = Some(custody))
    }

    /// The server does nothing any more that the lease would allow, or none runs.
    pub fn release(&self) {
        // A guard that is not there ends nothing.
        let _no_guard = self.shared.change(&self.name, |share| share.server = None);
    }
}

impl Shared {
    // What is inside is changed in steps that each leave it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Share)) -> Result<(), Unguarded> {
        let mut state = self.lock();
        change(state.parts.entry(name.to_owned()).or_default());
        self.tell(&mut state)
    }

    fn enter(&self, stage: Stage) {
        let mut state = self.lock();
        state.stage = stage;
        // Who is not there cannot be told, and does nothing.
        let _no_guard = self.tell(&mut state);
    }

    fn tell(&self, state: &mut State) -> Result<(), Unguarded> {
        let acts = state.stage == Stage::Acting;
        let mut orders = Orders { will: self.will().filter(|_| acts), ..Orders::default() };
        for share in state.parts.values() {
            if state.stage != Stage::Left {
                orders.addresses.extend(share.addresses.iter().cloned());
                orders.kill_at = orders.kill_at.into_iter().chain(share.kill_at).min();
            }
            orders.servers.extend(share.server.clone());
        }
        if state.stage == Stage::HandingOver {
            orders.servers.iter_mut().for_each(|custody| custody.at_death = AtDeath::Keep);
        }
        match &mut state.post {
            Some(post) => post.tell(orders).map_err(Unguarded),
            None => Ok(()),
        }
    }

    fn will(&self) -> Option<Value> {
        let lease = self.session.lease()?;
        let mut will = self.settings.will.clone();
        will.as_object_mut()?.insert("lease".to_owned(), lease.0.into());
        Some(will)
    }
}
