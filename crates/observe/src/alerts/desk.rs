//! What other threads see of alerts, and what they ask: silences, acknowledgements.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mainstay_cluster::coordinator::{self, Compare, Coordinator, Operation, Transaction};
use mainstay_core::alert::{Acknowledgement, Fingerprint, Millis, Muted, Silence, SilenceState, Silences, State};
use tokio::sync::Notify;

use super::cluster::{acknowledgement_key, silence_key};
use super::settings::Settings;

/// Silences that are kept, at most.
pub const SILENCES_MAX: usize = 500;
/// Acknowledgements that wait to be seen by whoever evaluates, at most.
const ASKED_MAX: usize = 512;

/// How deliveries to a receiver went, since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages that arrived.
    pub delivered: u64,
    /// Tries that failed.
    pub failed: u64,
    /// When a message last arrived.
    pub last_delivered: Option<Millis>,
    /// Why the last try failed; none since something has arrived.
    pub last_error: Option<String>,
    /// Messages that are due or under way.
    pub waiting: usize,
}

/// Alerts as they stand.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// As of when.
    pub at: Millis,
    /// The node that evaluates them, as far as is known.
    pub evaluator: Option<String>,
    /// Alerts, and what was told of them.
    pub state: State,
    /// What holds some of them back.
    pub muted: BTreeMap<Fingerprint, Muted>,
    /// Conditions for which there was no room.
    pub without_room: u64,
}

/// What the driver and others share.
#[derive(Default)]
pub struct Desk {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    view: Arc<View>,
    settings: Arc<Settings>,
    silences: Silences,
    acknowledgements: BTreeMap<Fingerprint, Acknowledgement>,
    outcomes: BTreeMap<String, Outcome>,
    store: Option<Arc<dyn Coordinator>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// Why something that was asked was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotThere(&'static str),
    /// It makes no sense.
    #[error("{0}")]
    Wrong(String),
    /// It is over already.
    #[error("this {0} is over already")]
    Over(&'static str),
    /// It is not as whoever asks has seen it.
    #[error("it was changed meanwhile")]
    Changed,
    /// The cluster's store did not take it.
    #[error("the cluster's store did not take it: {0}")]
    Store(String),
}

impl Desk {
    /// A desk with these settings.
    pub fn new(settings: Settings) -> Self {
        let inner = Inner { settings: Arc::new(settings), ..Inner::default() };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// What the configuration says.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.lock().settings)
    }

    /// Takes another configuration.
    pub fn adopt(&self, settings: Settings) {
        let mut inner = self.lock();
        if *inner.settings != settings {
            inner.settings = Arc::new(settings);
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Alerts as they stand.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.lock().view)
    }

    /// How deliveries went, by receiver.
    pub fn outcomes(&self) -> BTreeMap<String, Outcome> {
        self.lock().outcomes.clone()
    }

    /// All silences.
    pub fn silences(&self) -> Silences {
        self.lock().silences.clone()
    }

    /// Makes or changes a silence; if `seen` is given, only if it is still like that.
    ///
    /// # Errors
    /// If it makes no sense, there are too many, it is not as it was seen, or the store does not take it.
    pub async fn silence(&self, now: Millis, silence: Silence, seen: Option<&Silence>) -> Result<(), Refusal> {
        silence.check(now).map_err(|why| Refusal::Wrong(why.to_string()))?;
        if self.lock().silences.len() >= SILENCES_MAX && !self.lock().silences.contains_key(&silence.id) {
            return Err(Refusal::Wrong(format!("there are {SILENCES_MAX} silences already: end some of them")));
        }
        self.write(silence, seen).await
    }

    /// Ends a silence; if `seen` is given, only if it is still like that.
    ///
    /// # Errors
    /// If there is none, it is over already, it is not as it was seen, or the store does not take it.
    pub async fn end_silence(&self, now: Millis, id: &str, seen: Option<&Silence>) -> Result<Silence, Refusal> {
        let found = self.lock().silences.get(id).cloned().ok_or(Refusal::NotThere("silence"))?;
        if found.state(now) == SilenceState::Expired {
            return Err(Refusal::Over("silence"));
        }
        let over = Silence { starts: found.starts.min(now), ends: now, updated: now, ..found };
        self.write(over.clone(), seen).await?;
        Ok(over)
    }

    async fn write(&self, silence: Silence, seen: Option<&Silence>) -> Result<(), Refusal> {
        if let Some(store) = self.store() {
            let bytes = serde_json::to_vec(&silence).map_err(|error| Refusal::Wrong(error.to_string()))?;
            let (key, failed) = (silence_key(&silence.id), |why: coordinator::Error| Refusal::Store(why.to_string()));
            let unchanged = match seen {
                None => Vec::new(),
                Some(seen) => {
                    let entry = store.get(&key).await.map_err(failed)?.ok_or(Refusal::Changed)?;
                    let present: Option<Silence> = serde_json::from_slice(&entry.value).ok();
                    if present.as_ref() != Some(seen) {
                        return Err(Refusal::Changed);
                    }
                    vec![Compare::modified(key.clone(), entry.modified)]
                }
            };
            let put = Operation::put(key, Bytes::from(bytes), None);
            if !store.transact(Transaction::when(unchanged, [put])).await.map_err(failed)?.succeeded {
                return Err(Refusal::Changed);
            }
        } else if seen.is_some_and(|seen| self.lock().silences.get(&silence.id) != Some(seen)) {
            return Err(Refusal::Changed);
        }
        self.lock().silences.insert(silence.id.clone(), silence);
        self.changed.notify_one();
        Ok(())
    }

    /// Somebody takes care of an alert that fires.
    ///
    /// # Errors
    /// If it does not fire, or the store does not take it.
    pub async fn acknowledge(&self, id: Fingerprint, by: Acknowledgement) -> Result<(), Refusal> {
        let fires = self.view().state.alerts.get(&id).is_some_and(|alert| alert.is_firing());
        if !fires || self.lock().acknowledgements.len() >= ASKED_MAX {
            return Err(Refusal::NotThere("firing alert"));
        }
        if let Some(store) = self.store() {
            let bytes = serde_json::to_vec(&by).map_err(|error| Refusal::Wrong(error.to_string()))?;
            let written = store.put(&acknowledgement_key(id), Bytes::from(bytes), None).await;
            written.map_err(|error| Refusal::Store(error.to_string()))?;
        }
        self.lock().acknowledgements.insert(id, by);
        self.changed.notify_one();
        Ok(())
    }

    fn store(&self) -> Option<Arc<dyn Coordinator>> {
        self.lock().store.clone()
    }

    /// From now on what is asked goes to the cluster's store too; `None` ends that.
    pub(super) fn share(&self, store: Option<Arc<dyn Coordinator>>) {
        self.lock().store = store;
    }

    /// Takes up the silences of an earlier process.
    pub fn remember(&self, silences: Silences) {
        self.put_silences(silences);
    }

    pub(super) fn put_silences(&self, silences: Silences) {
        self.lock().silences = silences;
    }

    pub(super) fn put_acknowledgements(&self, all: BTreeMap<Fingerprint, Acknowledgement>) {
        self.lock().acknowledgements = all;
    }

    pub(super) fn acknowledgements(&self) -> BTreeMap<Fingerprint, Acknowledgement> {
        self.lock().acknowledgements.clone()
    }

    pub(super) fn forget_acknowledgement(&self, id: Fingerprint) {
        self.lock().acknowledgements.remove(&id);
    }

    /// Forgets silences that are long over, and says whether there were any.
    pub(super) fn sweep(&self, now: Millis) -> bool {
        let mut inner = self.lock();
        let before = inner.silences.len();
        inner.silences.retain(|_id, silence| now.saturating_sub(silence.ends) < Silence::KEPT);
        inner.silences.len() < before
    }

    pub(super) fn show(&self, view: View) {
        self.lock().view = Arc::new(view);
    }

    pub(super) fn note(&self, receiver: &str, change: impl FnOnce(&mut Outcome)) {
        change(self.lock().outcomes.entry(receiver.to_owned()).or_default());
    }

    /// Forgets receivers that are not in the configuration any more.
    pub(super) fn forget_receivers(&self, known: &[String]) {
        self.lock().outcomes.retain(|name, _outcome| known.contains(name));
    }

    /// Has the loop look around now.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until something is asked.
    pub(super) async fn asked(&self) {
        self.changed.notified().await;
    }

    // What is inside is replaced whole, so that a holder that panicked left nothing half done.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
