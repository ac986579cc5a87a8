//! Alerts of a cluster: every node says what is wrong as it sees it, one evaluates, and what it has told is in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use mainstay_cluster::coordinator::{
    Change, Compare, Consistency, Coordinator, Entry, Operation, Range, Transaction, VALUE_BYTES_MAX,
};
use mainstay_cluster::role::Role;
use mainstay_cluster::session::{Kept, Session};
use mainstay_core::alert::{Acknowledgement, Condition, Fingerprint, Instance, Millis, Silence, Silences, State};

use super::clock;
use super::desk::Desk;
use super::keep::Place;

/// The name of the role.
pub const ROLE: &str = "alerts";
const PREFIX: &str = "alerts/";
const STATE: &str = "alerts/state";
const SEEN: &str = "alerts/seen/";
const SILENCES: &str = "alerts/silence/";
const ACKNOWLEDGEMENTS: &str = "alerts/acknowledged/";
/// Conditions that a node tells of, at most: the gravest.
const CONDITIONS_MAX: usize = 300;
/// After the watch of the store broke.
const PAUSE: Duration = Duration::from_secs(1);
/// Of one key, while it is written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a silence is.
pub fn silence_key(id: &str) -> String {
    format!("{SILENCES}{id}")
}

/// Where it is said that somebody takes care of an alert.
pub fn acknowledgement_key(id: Fingerprint) -> String {
    format!("{ACKNOWLEDGEMENTS}{id}")
}

/// Where a node says what is wrong: on its session.
pub fn seen_key(node: &str) -> String {
    format!("{SEEN}{node}")
}

/// What is in the store, as this node has heard.
#[derive(Debug, Default)]
struct Heard {
    seen: BTreeMap<String, Vec<Condition>>,
    state: State,
    evaluator: Option<String>,
}

/// The number that a node evaluates by which is cut off from the store: no role has it.
const ALONE: u64 = u64::MAX;
/// How long the store must be out of reach before a node judges alone.
const CUT_OFF: Duration = Duration::from_secs(10);
/// How long a node that judged alone has to tell that it is over.
const AFTERWARDS: Duration = Duration::from_secs(40);

/// Says since when the cluster cannot decide anything, if it cannot.
pub type Lost = Box<dyn Fn() -> Option<Instant>>;

/// A node that is cut off from the store.
#[derive(Debug)]
struct Alone {
    state: State,
    /// Until when it goes on although the store is back.
    until: Option<Instant>,
}

/// The part of a node of a cluster.
pub struct Shared {
    lost: Lost,
    alone: Mutex<Option<Alone>>,
    coordinator: Arc<dyn Coordinator>,
    session: Session,
    role: Role,
    kept: Kept,
    desk: Arc<Desk>,
    heard: Mutex<Heard>,
}

impl Shared {
    /// Takes part. `role` is that of [`ROLE`], `kept` the registration under [`seen_key`].
    pub fn new(
        coordinator: Arc<dyn Coordinator>,
        session: Session,
        role: Role,
        kept: Kept,
        desk: Arc<Desk>,
        lost: Lost,
    ) -> Self {
        desk.share(Some(Arc::clone(&coordinator)));
        Self { lost, alone: Mutex::default(), coordinator, session, role, kept, desk, heard: Mutex::default() }
    }

    /// Whether this node has to judge alone, because nobody else can: without the store nobody has the role, and that is
    /// the very thing of which somebody must be told.
    fn is_alone(&self) -> bool {
        let now = Instant::now();
        let is_lost = (self.lost)().is_some_and(|since| now.duration_since(since) >= CUT_OFF);
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *alone, is_lost) {
            (None, false) => {}
            (None, true) => *alone = Some(Alone { state: self.lock().state.clone(), until: None }),
            (Some(alone), true) => alone.until = None,
            (Some(Alone { until: Some(until), .. }), false) if now >= *until => *alone = None,
            (Some(Alone { until, .. }), false) => *until = until.or(Some(now + AFTERWARDS)),
        }
        alone.is_some()
    }

    /// Follows what is in the store, for ever.
    pub async fn follow(&self) {
        loop {
            if let Err(error) = self.follow_once().await {
                tracing::debug!(%error, "alerts in the cluster's store cannot be followed");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self) -> Result<(), mainstay_cluster::coordinator::Error> {
        let listing = self.coordinator.range(Range::prefix(PREFIX), None, 0, Consistency::Linearizable).await?;
        let mut watch = self.coordinator.watch(Range::prefix(PREFIX), listing.revision + 1).await?;
        let mut all: BTreeMap<String, Entry> =
            listing.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        self.hear(&all);
        loop {
            for change in watch.next().await?.changes {
                match change {
                    Change::Put(entry) => all.insert(entry.key.clone(), entry),
                    Change::Delete { key } => all.remove(&key),
                };
            }
            self.hear(&all);
        }
    }

    fn hear(&self, all: &BTreeMap<String, Entry>) {
        fn read<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
            // What another version has written and this one cannot read counts for nothing here.
            serde_json::from_slice(&entry.value).ok()
        }
        let below =
            |prefix: &'static str| all.iter().filter_map(move |(key, it)| Some((key.strip_prefix(prefix)?, it)));
        let silences: Silences =
            below(SILENCES).filter_map(|(id, entry)| Some((id.to_owned(), read::<Silence>(entry)?))).collect();
        let acknowledged: BTreeMap<Fingerprint, Acknowledgement> =
            below(ACKNOWLEDGEMENTS).filter_map(|(id, entry)| Some((Fingerprint::parse(id)?, read(entry)?))).collect();
        let mut heard = self.lock();
        heard.seen = below(SEEN).filter_map(|(node, entry)| Some((node.to_owned(), read(entry)?))).collect();
        if let Some(state) = all.get(STATE).and_then(read::<Record>) {
            heard.state = state.state;
            heard.evaluator = Some(state.node);
        }
        drop(heard);
        self.desk.put_silences(silences);
        self.desk.put_acknowledgements(acknowledged);
    }

    /// Deletes silences that are long over, and acknowledgements that are a part of the state by now.
    async fn tidy(&self) {
        let Ok(known) = self.coordinator.range(Range::prefix(PREFIX), None, 0, Consistency::Local).await else {
            return;
        };
        let now = clock::now();
        let is_old = |time: Millis| now.saturating_sub(time) >= Silence::KEPT;
        for Entry { key, value, .. } in known.entries {
            let silence = || serde_json::from_slice::<Silence>(&value).is_ok_and(|it| is_old(it.ends));
            let acknowledgement = || serde_json::from_slice::<Acknowledgement>(&value).is_ok_and(|it| is_old(it.at));
            let is_over =
                (key.starts_with(SILENCES) && silence()) || (key.starts_with(ACKNOWLEDGEMENTS) && acknowledgement());
            if is_over {
                // It is tried again with the next change of anything.
                let _tried = self.coordinator.transact(Transaction::always([Operation::delete(key)])).await;
            }
        }
    }

    /// Gives the role up, once nothing more is told by this node.
    pub async fn resign(&self) {
        self.desk.share(None);
        self.role.resign().await;
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is kept, and by whom.
#[derive(serde::Serialize, serde::Deserialize)]
struct Record {
    node: String,
    state: State,
}

#[async_trait(?Send)]
impl Place for Shared {
    fn evaluates(&self) -> Option<u64> {
        if self.is_alone() { Some(ALONE) } else { self.role.holds(self.session.now()) }
    }

    fn evaluator(&self) -> Option<String> {
        match self.evaluates() {
            Some(_token) => Some(self.session.node().to_owned()),
            None => self.lock().evaluator.clone(),
        }
    }

    async fn load(&self) -> Result<State, String> {
        if let Some(alone) = &*self.alone.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(alone.state.clone());
        }
        match self.coordinator.get(STATE).await {
            Ok(Some(entry)) => {
                let kept = serde_json::from_slice::<Record>(&entry.value);
                if let Err(error) = &kept {
                    tracing::error!(%error, "what is kept of alerts cannot be read: all of them are told again");
                }
                Ok(kept.map(|kept| kept.state).unwrap_or_default())
            }
            Ok(None) => Ok(State::default()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn save(&self, state: &State, _silences: &Silences) -> Result<(), String> {
        if let Some(alone) = &mut *self.alone.lock().unwrap_or_else(PoisonError::into_inner) {
            alone.state = state.clone();
            return Ok(());
        }
        let Some(token) = self.evaluates() else { return Err("another node evaluates alerts now".to_owned()) };
        let mut kept = Record { node: self.session.node().to_owned(), state: state.clone() };
        let encode = |kept: &Record| serde_json::to_vec(kept).map_err(|error| error.to_string());
        let mut bytes = encode(&kept)?;
        if bytes.len() > VALUE_BYTES_MAX {
            // Particulars are seen anew within a second.
            kept.state.alerts.values_mut().for_each(|alert| alert.summary.clear());
            bytes = encode(&kept)?;
        }
        let compare = Compare::created(self.role.key(), token);
        let write = Transaction::when([compare], [Operation::put(STATE, Bytes::from(bytes), None)]);
        match tokio::time::timeout(PATIENCE, self.coordinator.transact(write)).await {
            Ok(Ok(reply)) if reply.succeeded => {
                self.tidy().await;
                Ok(())
            }
            Ok(Ok(_refused)) => Err("another node evaluates alerts now".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err(format!("no answer of the store within {} s", PATIENCE.as_secs())),
        }
    }

    fn exchange(&self, mut own: Vec<Condition>) -> Vec<Condition> {
        own.sort_by_key(|condition| condition.severity);
        own.truncate(CONDITIONS_MAX);
        let mut heard = self.lock();
        // Summaries have numbers that change each second; what matters is what there is.
        let same = |known: &Vec<Condition>| {
            known.len() == own.len() && known.iter().zip(&own).all(|(a, b)| a.labels == b.labels)
        };
        let node = self.session.node().to_owned();
        if !heard.seen.get(&node).is_some_and(same)
            && let Ok(bytes) = serde_json::to_vec(&own)
        {
            self.kept.set(Bytes::from(bytes));
        }
        heard.seen.insert(node.clone(), own);
        let mut all: BTreeMap<Fingerprint, Condition> = BTreeMap::new();
        let others = heard.seen.iter().filter(|(name, _conditions)| **name != node);
        for condition in others.chain(heard.seen.get_key_value(&node)).flat_map(|(_node, conditions)| conditions) {
            all.insert(condition.labels.fingerprint(), condition.clone());
        }
        drop(heard);
        if let Some(Alone { state, until: Some(_over) }) = &*self.alone.lock().unwrap_or_else(PoisonError::into_inner) {
            // What is new is told by whoever has the role by now.
            let is_known = |id: &Fingerprint| state.alerts.get(id).is_some_and(Instance::is_firing);
            all.retain(|id, condition| is_known(id) && condition.name() != "QuorumLost");
        }
        all.into_values().collect()
    }

    fn watched(&self) -> State {
        self.lock().state.clone()
    }
}
