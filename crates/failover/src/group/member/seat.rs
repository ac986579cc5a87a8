//! What a member's driver works with.

use std::sync::Arc;

use mainstay_cluster::coordinator::Coordinator;
use mainstay_cluster::session::Session;
use mainstay_core::lease::Policy;
use tokio::sync::watch;

use crate::group::board::{Board, Engine};
use crate::group::failsafe::Failsafe;
use crate::group::handover::Handed;
use crate::group::mandate::Warden;
use crate::group::stored::Stored;

/// What a member has besides its server.
pub struct Seat {
    /// The node's session.
    pub session: Session,
    /// The store.
    pub coordinator: Arc<dyn Coordinator>,
    /// What stands there of the group.
    pub feed: watch::Receiver<Arc<Stored>>,
    /// Where it is told what is done.
    pub board: Board,
    /// The group's name.
    pub group: String,
    /// What kind of server it is.
    pub engine: Engine,
    /// Whoever ends the server when this driver cannot.
    pub warden: Option<Box<dyn Warden>>,
    /// Spreads the retries of several nodes; any number.
    pub seed: u64,
    /// The times of a lease, for what stands in for one.
    pub times: Policy,
    /// What it takes to go on without a lease because everybody confirms it; `None`: it does not.
    pub failsafe: Option<Failsafe>,
    /// What the process before this one has left, whose server runs on.
    pub handed: Option<Handed>,
}
