//! The node's next process, which takes over while this one finishes its connections: servers of databases run on for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// What the drivers know of it. It is empty as long as the node does not leave, or leaves for good.
#[derive(Debug, Default)]
pub struct Succession {
    to: OnceLock<u32>,
    /// All drivers but that of the databases have ended.
    is_last: watch::Sender<bool>,
    keeps_lease: AtomicBool,
}

impl Succession {
    /// The process of that number takes over, once this one leaves.
    pub(super) fn begin(&self, to: u32) {
        // There is one that serves already, and never a second.
        let _it_is_known = self.to.set(to);
    }

    /// The process that takes over.
    pub(super) fn to(&self) -> Option<u32> {
        self.to.get().copied()
    }

    /// Nobody but the driver of the databases is waited for any more.
    pub(super) fn let_last_leave(&self) {
        self.is_last.send_replace(true);
    }

    /// Waits for that, so that as much as there can be of the lease's time is left to the next process.
    pub(super) async fn is_last(&self) {
        let mut is_last = self.is_last.subscribe();
        // The sender lives as long as this does.
        let _last = is_last.wait_for(|is_last| *is_last).await;
    }

    /// Servers may run on, on this node's lease: it must not be ended before its time.
    pub(super) fn keep_lease(&self) {
        self.keeps_lease.store(true, Ordering::Release);
    }

    /// Whether the lease is to end by itself.
    pub(super) fn keeps_lease(&self) -> bool {
        self.keeps_lease.load(Ordering::Acquire)
    }
}
