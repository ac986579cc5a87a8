//! What the driver is given, and what it tells the rest of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::lease::Token;
use mainstay_core::time::Moment;

use super::Prefixed;
use super::view::View;
use crate::guard::Keeper;

/// An address that this node may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floating {
    /// The address.
    pub address: Prefixed,
    /// The interface that it is put on; `None`: holding it means that its listeners are open.
    pub interface: Option<String>,
    /// Nodes that it goes to before others.
    pub prefer: Vec<String>,
    /// After how long a preferred node takes it back, if ever.
    pub preempt: Option<Duration>,
    /// How long its connections are given to end before it goes to another node.
    pub drain: Duration,
}

/// Opens and closes listeners on addresses that are held by listening.
pub trait Doors: Send + Sync {
    /// Listeners on these addresses are open from now on, on all others closed. Returns once nothing is accepted any more on
    /// what was closed.
    ///
    /// # Errors
    /// Why a listener is not open.
    fn set(&self, held: &BTreeSet<IpAddr>) -> Result<(), String>;

    /// An address is about to go to another node: clients that have a connection are told to open it anew. Lasts until what is
    /// returned is dropped.
    fn relieve(&self, ip: IpAddr) -> Box<dyn Relief>;
}

/// An address that is about to go to another node.
pub trait Relief: Send {
    /// Whether it may go now. Asked again and again.
    fn is_done(&mut self) -> bool;
}

/// How the driver is set up.
pub struct Settings {
    /// The addresses.
    pub addresses: Vec<Floating>,
    /// Whether this node holds one only if no other can.
    pub spare: bool,
    /// Whoever removes addresses when this node cannot.
    pub keeper: Keeper,
    /// For addresses that are held by listening.
    pub doors: Arc<dyn Doors>,
}

/// What the rest of the process wants to know.
#[derive(Debug, Default)]
pub struct Board {
    pub(super) states: Mutex<BTreeMap<IpAddr, State>>,
    pub(super) view: Mutex<Option<View>>,
    pub(super) lease: Mutex<Option<Moment>>,
}

/// One address, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The address.
    pub floating: Floating,
    /// Whether this node has it now, and its token.
    pub held: Option<Token>,
    /// How often this node has taken it.
    pub taken: u64,
    /// Where it belongs, as far as this node knows.
    pub belongs: Option<String>,
    /// Why this node cannot hold it.
    pub problem: Option<String>,
}

impl Board {
    /// The addresses of this node.
    pub fn states(&self) -> Vec<State> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Until when this node may act on its lease, on the clock of [`mainstay_runtime::clock::Boottime`]; none without one.
    pub fn lease_until(&self) -> Option<Moment> {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands in the coordinator, as far as it is known.
    pub fn view(&self) -> Option<View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
