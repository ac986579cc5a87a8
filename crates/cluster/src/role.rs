//! A role as its user sees it: wanted or not, held until a deadline, stopped in time.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mainstay_core::lease::{Term, Token, Why};
use mainstay_core::time::Moment;
use tokio::sync::{Notify, watch};

/// How what acts for a role stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    /// By itself: each act asks [`Role::holds`] first.
    ByItself,
    /// By itself, and each act carries the token to a place that checks it, so that a new holder need not wait for the guard.
    Fenced,
    /// It has to be done something, which [`Role::stopped`] reports.
    Reported,
}

/// What a node has of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Outside,
    /// It acts. Each renewal moves the term on.
    Holding {
        /// The fencing token.
        token: Token,
        /// Until when.
        term: Term,
    },
    /// It must stop and say so: after a resignation at leisure, otherwise before `expiry`.
    Stopping {
        /// The token that it acted with.
        token: Token,
        /// Why.
        why: Why,
        /// When what is left is ended from outside.
        expiry: Moment,
    },
}

/// A role that a node campaigns for or holds; [`crate::session::Session::role`] makes it. Dropping it gives the role up.
#[derive(Debug)]
pub struct Role {
    pub(crate) shared: Arc<Shared>,
}

/// What the handle and the driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) key: String,
    pub(crate) value: Bytes,
    pub(crate) stops: Stops,
    pub(crate) wish: Mutex<Wish>,
    pub(crate) standing: watch::Sender<(Standing, bool)>,
    pub(crate) driver: Arc<Notify>,
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) wanted: bool,
    /// The last token that was reported as stopped.
    pub(crate) stopped: Token,
    pub(crate) dropped: bool,
}

impl Shared {
    pub(crate) fn new(key: String, value: Bytes, stops: Stops, driver: Arc<Notify>) -> Self {
        let standing = watch::Sender::new((Standing::Outside, true));
        Self { key, value, stops, wish: Mutex::default(), standing, driver }
    }

    pub(crate) fn wish(&self) -> Wish {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Wish)) {
        change(&mut self.wish.lock().unwrap_or_else(PoisonError::into_inner));
        self.driver.notify_one();
    }
}

impl Role {
    /// Campaigns for it from now on, or gives it up: what acts is told to stop, and the key goes once it has.
    pub fn want(&self, wanted: bool) {
        self.shared.change(|wish| wish.wanted = wanted);
    }

    /// The fencing token, while the role may be acted on; `now` is of CLOCK_BOOTTIME.
    pub fn holds(&self, now: Moment) -> Option<Token> {
        match self.standing() {
            Standing::Holding { token, term } if now < term.deadline => Some(token),
            Standing::Holding { .. } | Standing::Outside | Standing::Stopping { .. } => None,
        }
    }

    /// What the node has of it.
    pub fn standing(&self) -> Standing {
        self.shared.standing.borrow().0
    }

    /// Tells of each change, renewals included. It may tell of one that was undone meanwhile.
    pub fn follow(&self) -> Follow {
        Follow(self.shared.standing.subscribe())
    }

    /// Everything that acted with this token has stopped. Only then can another node have the role before the lease ends.
    pub fn stopped(&self, token: Token) {
        self.shared.change(|wish| wish.stopped = wish.stopped.max(token));
    }

    /// Gives it up and waits until it is, for which [`Stops::Reported`] needs the report of somebody else.
    pub async fn resign(&self) {
        self.want(false);
        let mut standing = self.shared.standing.subscribe();
        // The sender lives as long as this does.
        let _closed = standing.wait_for(|(standing, idle)| *standing == Standing::Outside && *idle).await;
    }

    /// The key that the role stands under.
    pub fn key(&self) -> &str {
        &self.shared.key
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.shared.change(|wish| {
            wish.wanted = false;
            wish.dropped = true;
        });
    }
}

/// Follows a role.
#[derive(Clone, Debug)]
pub struct Follow(watch::Receiver<(Standing, bool)>);

impl Follow {
    /// What the node has of it.
    pub fn standing(&mut self) -> Standing {
        self.0.borrow_and_update().0
    }

    /// Waits for the next change; `false`: there will be none, since the role is dropped.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// The value under a role's key: who holds it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Holder {
    /// The node's name.
    pub node: String,
}

impl Holder {
    /// As it is stored.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(serde_json::json!({ "node": self.node }).to_string())
    }

    /// From what is stored; `None` if it is not that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
