//! Orders of a cluster: one node orders for all, and what it orders is in the store.
//!
//! | key | what | until |
//! |---|---|---|
//! | `acme/record/NAME` | account, certificate and keys, what became of earlier orders | the next one |
//! | `acme/answers/NAME` | what an authority is answered | the lease of the node that orders ends |
//! | `acme/heard/NODE` | the revision up to which a node answers | its lease ends |
//! | `acme/asked/NAME` | somebody asks for an order | it begins |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use mainstay_cluster::coordinator::{
    Change, Compare, Consistency, Coordinator, Entry, Error, Operation, Range, Revision, Transaction,
};
use mainstay_cluster::role::{Role, Standing};
use mainstay_cluster::session::{Kept, Session};
use mainstay_runtime::tls::Answer;
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::record::Record;
use super::shelf::Shelf;

/// The name of the role.
pub const ROLE: &str = "acme";
const PREFIX: &str = "acme/";
const RECORDS: &str = "acme/record/";
const ANSWERS: &str = "acme/answers/";
const HEARD: &str = "acme/heard/";
const ASKED: &str = "acme/asked/";
/// After the watch of the store broke.
const PAUSE: Duration = Duration::from_secs(1);
/// The configuration may have changed without a change in the store.
const LOOK: Duration = Duration::from_secs(5);
/// Of one write.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the node that orders waits for others to know the answers. One that has died is forgotten with its lease.
const ANSWERS_PATIENCE: Duration = Duration::from_secs(15);

/// Where a node says up to which revision it answers: on its session.
pub fn heard_key(node: &str) -> String {
    format!("{HEARD}{node}")
}

pub(super) fn asked_key(name: &str) -> String {
    format!("{ASKED}{name}")
}

/// An answer as it stands in the store.
#[derive(Serialize, Deserialize)]
#[serde(tag = "challenge")]
enum Written {
    #[serde(rename = "http-01")]
    Http { token: String, content: String },
    #[serde(rename = "tls-alpn-01")]
    Tls { domain: String, digest: String },
}

impl Written {
    fn of(answer: &Answer) -> Self {
        match answer.clone() {
            Answer::Http { token, content } => Self::Http { token, content },
            Answer::Tls { domain, digest } => Self::Tls { domain, digest: BASE64_STANDARD.encode(digest) },
        }
    }

    fn read(self) -> Option<Answer> {
        Some(match self {
            Self::Http { token, content } => Answer::Http { token, content },
            Self::Tls { domain, digest } => Answer::Tls { domain, digest: BASE64_STANDARD.decode(digest).ok()? },
        })
    }
}

/// What is in the store, as this node has heard.
#[derive(Debug, Default)]
struct Heard {
    asked: Vec<String>,
    nodes: BTreeMap<String, Revision>,
    orderer: Option<String>,
}

/// The part of a node of a cluster.
pub struct Shared {
    coordinator: Arc<dyn Coordinator>,
    session: Session,
    role: Role,
    kept: Kept,
    shelf: Arc<Shelf>,
    heard: Mutex<Heard>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    /// Takes part. `role` is that of [`ROLE`], `kept` the registration under [`heard_key`].
    pub fn new(coordinator: Arc<dyn Coordinator>, session: Session, role: Role, kept: Kept, shelf: Arc<Shelf>) -> Self {
        shelf.desk().share(Some(Arc::clone(&coordinator)));
        Self { coordinator, session, role, kept, shelf, heard: Mutex::default() }
    }

    /// Follows what is in the store, and whether this node orders, for ever.
    pub async fn follow(&self) {
        tokio::join!(self.follow_store(), self.follow_role());
    }

    /// Has the driver look as soon as this node begins to order: another one may have died in the middle.
    async fn follow_role(&self) {
        let mut follow = self.role.follow();
        let mut ordered = false;
        loop {
            let orders = matches!(follow.standing(), Standing::Holding { .. });
            if orders && !ordered {
                self.shelf.desk().wake();
            }
            ordered = orders;
            if !follow.changed().await {
                return;
            }
        }
    }

    async fn follow_store(&self) {
        loop {
            if let Err(error) = self.follow_once().await {
                tracing::debug!(%error, "certificates in the cluster's store cannot be followed");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self) -> Result<(), Error> {
        let listing = self.coordinator.range(Range::prefix(PREFIX), None, 0, Consistency::Linearizable).await?;
        let mut revision = listing.revision;
        let mut watch = self.coordinator.watch(Range::prefix(PREFIX), revision + 1).await?;
        let mut all: BTreeMap<String, Entry> =
            listing.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        self.hear(&all, Some(revision));
        loop {
            let mut is_news = false;
            if let Ok(batch) = tokio::time::timeout(LOOK, watch.next()).await {
                let batch = batch?;
                revision = batch.revision;
                for change in batch.changes {
                    let (Change::Put(Entry { key, .. }) | Change::Delete { key }) = &change;
                    // What nodes have heard is no news to be heard of, or they would never be silent again.
                    is_news |= !key.starts_with(HEARD);
                    match change {
                        Change::Put(entry) => all.insert(entry.key.clone(), entry),
                        Change::Delete { key } => all.remove(&key),
                    };
                }
            }
            self.hear(&all, is_news.then_some(revision));
        }
    }

    /// Serves and answers what is there, and says so if it is news.
    fn hear(&self, all: &BTreeMap<String, Entry>, news: Option<Revision>) {
        fn read<T: serde::de::DeserializeOwned>(entry: &Entry) -> Option<T> {
            // What another version has written and this one cannot read counts for nothing here.
            serde_json::from_slice(&entry.value).ok()
        }
        let mut heard = Heard {
            asked: below(all, ASKED).map(|(name, _entry)| name.to_owned()).collect(),
            nodes: below(all, HEARD).filter_map(|(node, entry)| Some((node.to_owned(), read(entry)?))).collect(),
            orderer: None,
        };
        let is_asked = !heard.asked.is_empty();
        // Only names of the own configuration: they become names of files.
        for name in self.shelf.desk().settings().iter().map(|it| &it.name) {
            let answers = all.get(&format!("{ANSWERS}{name}")).and_then(read::<Vec<Written>>).unwrap_or_default();
            let answers: Vec<Answer> = answers.into_iter().filter_map(Written::read).collect();
            if let Err(error) = self.shelf.answer(name, &answers) {
                tracing::error!(certificate = name, %error, "acme: an authority cannot be answered");
            }
            let Some(record) = all.get(&format!("{RECORDS}{name}")).and_then(read::<Record>) else { continue };
            heard.orderer = record.last.as_ref().map(|last| last.node.clone()).or(heard.orderer);
            if let Err(error) = self.shelf.put(name, &record) {
                tracing::error!(certificate = name, %error, "acme: a certificate is served, but not kept for a restart");
            }
        }
        *self.lock() = heard;
        if let Some(revision) = news {
            self.kept.set(Bytes::from(revision.to_string()));
        }
        if is_asked {
            self.shelf.desk().wake();
        }
    }

    /// Writes if this node still orders; answers the revision.
    async fn write(&self, operations: Vec<Operation>) -> Result<Revision, String> {
        let Some(token) = self.role.holds(self.session.now()) else {
            return Err("another node orders certificates now".to_owned());
        };
        let write = Transaction::when([Compare::created(self.role.key(), token)], operations);
        match tokio::time::timeout(PATIENCE, self.coordinator.transact(write)).await {
            Ok(Ok(reply)) if reply.succeeded => Ok(reply.revision),
            Ok(Ok(_refused)) => Err("another node orders certificates now".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err(format!("no answer of the store within {} s", PATIENCE.as_secs())),
        }
    }

    fn put(name: &str, record: &Record) -> Result<Operation, String> {
        let bytes = serde_json::to_vec(record).map_err(|error| error.to_string())?;
        Ok(Operation::put(format!("{RECORDS}{name}"), Bytes::from(bytes), None))
    }

    /// Waits until every node that is there answers what the store has as of `revision`.
    async fn all_have_heard(&self, revision: Revision) {
        let all = async {
            while !self.lock().nodes.values().all(|heard| *heard >= revision) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(ANSWERS_PATIENCE, all).await.is_err() {
            let late: Vec<String> = {
                let heard = self.lock();
                heard.nodes.iter().filter(|(_node, it)| **it < revision).map(|(node, _it)| node.clone()).collect()
            };
            tracing::warn!(
                nodes = late.join(", "),
                "acme: nodes may not answer the authority; it is asked all the same"
            );
        }
    }

    /// Gives the role up.
    pub async fn resign(&self) {
        self.shelf.desk().share(None);
        self.role.resign().await;
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn below<'a>(all: &'a BTreeMap<String, Entry>, prefix: &'static str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
    all.iter().filter_map(move |(key, entry)| Some((key.strip_prefix(prefix)?, entry)))
}

#[async_trait(?Send)]
impl Place for Shared {
    fn orders(&self) -> bool {
        self.role.holds(self.session.now()).is_some()
    }

    fn ends(&self) -> bool {
        true
    }

    fn orderer(&self) -> Option<String> {
        if self.orders() { Some(self.session.node().to_owned()) } else { self.lock().orderer.clone() }
    }

    fn is_asked(&self, name: &str) -> bool {
        self.lock().asked.iter().any(|asked| asked == name)
    }

    async fn load(&self, name: &str) -> Result<Record, String> {
        match self.coordinator.get(&format!("{RECORDS}{name}")).await {
            // What is wrong with it could quote a key.
            Ok(Some(entry)) => serde_json::from_slice(&entry.value)
                .map_err(|_damaged| "what the store has of it cannot be read by this version".to_owned()),
            // A node that has become a cluster goes on with what it had.
            Ok(None) => self.shelf.read(name),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn begin(&self, name: &str, record: &Record) -> Result<(), String> {
        self.write(vec![Self::put(name, record)?, Operation::delete(asked_key(name))]).await?;
        self.lock().asked.retain(|asked| asked != name);
        Ok(())
    }

    async fn save(&self, name: &str, record: &Record) -> Result<(), String> {
        self.write(vec![Self::put(name, record)?]).await.map(|_revision| ())
    }

    async fn publish(&self, name: &str, answers: &[Answer]) -> Result<(), String> {
        let key = format!("{ANSWERS}{name}");
        if answers.is_empty() {
            return self.write(vec![Operation::delete(key)]).await.map(|_revision| ());
        }
        let written: Vec<Written> = answers.iter().map(Written::of).collect();
        let bytes = serde_json::to_vec(&written).map_err(|error| error.to_string())?;
        let lease = self.session.lease().ok_or("this node has no lease")?;
        let revision = self.write(vec![Operation::put(key, Bytes::from(bytes), Some(lease))]).await?;
        self.all_have_heard(revision).await;
        Ok(())
    }
}
