//! What other threads see of certificates that are ordered, and what they ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mainstay_cluster::coordinator::{Coordinator, Operation, Transaction};
use mainstay_core::renewal::Plan;
use mainstay_core::renewal::advice::Advice;
use tokio::sync::Notify;

use super::cluster::asked_key;
use super::record::{Attempt, Record};
use super::settings::Settings;
use crate::alerts::clock;
use crate::certificates::Certificate;

/// One certificate as it stands.
#[derive(Clone, Debug)]
pub struct View {
    /// What the configuration says.
    pub settings: Settings,
    /// What was issued last.
    pub certificate: Option<Certificate>,
    /// The last order.
    pub last: Option<Attempt>,
    /// How many have failed since the last one that succeeded.
    pub failures: u32,
    /// The next one, as the node that orders plans it; this node, if it does.
    pub next: Option<Plan>,
    /// What the authority says of when it is renewed.
    pub advice: Advice,
    /// The node that orders, as far as is known.
    pub orderer: Option<String>,
    /// Orders by this process that have succeeded, and that have failed.
    pub counts: (u64, u64),
}

/// What the driver and others share.
#[derive(Default)]
pub struct Desk {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    settings: Arc<[Settings]>,
    seen: BTreeMap<String, Seen>,
    asked: BTreeSet<String>,
    orderer: Option<String>,
    store: Option<Arc<dyn Coordinator>>,
}

#[derive(Clone, Default)]
struct Seen {
    certificate: Option<Certificate>,
    last: Option<Attempt>,
    failures: u32,
    next: Option<Plan>,
    advice: Advice,
    counts: (u64, u64),
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// Why a certificate is not ordered although somebody asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The configuration has no such certificate.
    #[error("the configuration has no [[acme]] of the name `{0}`")]
    NotThere(String),
    /// The cluster's store did not take it.
    #[error("the cluster's store did not take it: {0}")]
    Store(String),
}

impl Desk {
    /// What the configuration says.
    pub fn settings(&self) -> Arc<[Settings]> {
        Arc::clone(&self.lock().settings)
    }

    /// Takes another configuration.
    pub fn adopt(&self, settings: &[Settings]) {
        let mut inner = self.lock();
        if *inner.settings != *settings {
            inner.settings = settings.into();
            drop(inner);
            self.wake();
        }
    }

    /// All certificates, in the order of the configuration.
    pub fn views(&self) -> Vec<View> {
        let inner = self.lock();
        let view = |settings: &Settings| {
            let seen = inner.seen.get(&settings.name).cloned().unwrap_or_default();
            View {
                settings: settings.clone(),
                certificate: seen.certificate,
                last: seen.last,
                failures: seen.failures,
                next: seen.next,
                advice: seen.advice,
                orderer: inner.orderer.clone(),
                counts: seen.counts,
            }
        };
        inner.settings.iter().map(view).collect()
    }

    /// Asks for a certificate to be ordered now, by whichever node orders.
    ///
    /// # Errors
    /// If there is no such certificate, or nobody would hear of it.
    pub async fn ask(&self, name: &str) -> Result<(), Refusal> {
        let store = {
            let mut inner = self.lock();
            if !inner.settings.iter().any(|it| it.name == name) {
                return Err(Refusal::NotThere(name.to_owned()));
            }
            let store = inner.store.clone();
            if store.is_none() {
                inner.asked.insert(name.to_owned());
            }
            store
        };
        if let Some(store) = store {
            let value = Bytes::from(clock::now().to_string());
            let put = Transaction::always([Operation::put(asked_key(name), value, None)]);
            store.transact(put).await.map_err(|error| Refusal::Store(error.to_string()))?;
        }
        self.wake();
        Ok(())
    }

    /// Whether somebody asks, of a node that is in no cluster.
    pub(super) fn is_asked(&self, name: &str) -> bool {
        self.lock().asked.contains(name)
    }

    pub(super) fn forget_asked(&self, name: &str) {
        self.lock().asked.remove(name);
    }

    /// From here on what is asked goes to the store; with nothing it stays here.
    pub(super) fn share(&self, store: Option<Arc<dyn Coordinator>>) {
        self.lock().store = store;
    }

    pub(super) fn note(&self, name: &str, record: &Record) {
        let certificate = record.certificate();
        let mut inner = self.lock();
        let seen = inner.seen.entry(name.to_owned()).or_default();
        (seen.certificate, seen.last, seen.failures) = (certificate, record.last.clone(), record.previous.failures);
        seen.advice = record.advice.clone();
    }

    pub(super) fn note_plan(&self, name: &str, next: Option<Plan>, orderer: Option<String>) {
        let mut inner = self.lock();
        inner.seen.entry(name.to_owned()).or_default().next = next;
        inner.orderer = orderer;
    }

    pub(super) fn count(&self, name: &str, succeeded: bool) {
        let mut inner = self.lock();
        let counts = &mut inner.seen.entry(name.to_owned()).or_default().counts;
        if succeeded { counts.0 += 1 } else { counts.1 += 1 }
    }

    /// Waits until the configuration has something to order.
    pub async fn wanted(&self) {
        while self.settings().is_empty() {
            self.changed().await;
        }
    }

    /// Has the driver look again.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
