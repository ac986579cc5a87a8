//! What operators ask of the shared configuration, at any node.

use std::sync::Arc;

use mainstay_core::release::{Release, Terms, Version};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::record::{self, Current, Meta, Record};
use super::{NOTE_CHARS_MAX, TEXT_BYTES_MAX, VERSIONS_MAX, view};
use crate::coordinator::{
    self, Compare, Consistency, Coordinator, Operation, Outcome, Range, Revision, Transaction, TransactionReply,
};

/// Whoever changes the store at the same moment makes us look again, so many times.
const ATTEMPTS: usize = 5;

/// A new version, and how it is to be released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its text.
    pub text: String,
    /// Who proposes it.
    pub author: String,
    /// Why.
    pub note: String,
    /// How it is released.
    pub terms: Terms,
}

/// Why the desk did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeskError {
    /// One release at a time.
    #[error("version {version} is being released: {stage}")]
    Busy {
        /// Which.
        version: Version,
        /// How far it is.
        stage: String,
    },
    /// The text is that of the current version.
    #[error("the cluster's configuration is this one already: version {0}")]
    Unchanged(Version),
    /// It is too large.
    #[error("the configuration has {bytes} bytes; {TEXT_BYTES_MAX} are possible")]
    TooLarge {
        /// How large.
        bytes: usize,
    },
    /// There is no such version.
    #[error("there is no version {0}; {VERSIONS_MAX} are kept")]
    NoVersion(Version),
    /// There is nothing before the current version.
    #[error("there is no earlier version that was released")]
    NothingBefore,
    /// Nothing is being released.
    #[error("nothing is being released")]
    NoRelease,
    /// Another version is current than whoever asks has seen.
    #[error("version {0} is current by now, not the one that this builds on")]
    Changed(Version),
    /// Others changed the configuration at the same time, again and again.
    #[error("the configuration changed meanwhile; look at it and ask again")]
    Raced,
    /// The coordinator.
    #[error(transparent)]
    Store(#[from] coordinator::Error),
}

/// The versions of which one has to be current (0: none is), so that nobody takes back what others did meanwhile; `None`: any.
pub type BuildsOn<'a> = Option<&'a [Version]>;

/// Writes a new version and begins its release. Who asked may be gone afterwards: the release goes on.
///
/// # Errors
/// If it cannot begin, or another version is current than it builds on. After [`coordinator::Error::Unknown`] it may have begun all the same.
pub async fn propose(
    store: &Arc<dyn Coordinator>,
    proposal: &Proposal,
    builds_on: BuildsOn<'_>,
) -> Result<Version, DeskError> {
    if proposal.text.len() > TEXT_BYTES_MAX {
        return Err(DeskError::TooLarge { bytes: proposal.text.len() });
    }
    let sha256 = record::sha256(&proposal.text);
    for _attempt in 0..ATTEMPTS {
        let known = Known::read(store).await?;
        known.refuse_if_busy()?;
        let current = known.current.map_or(0, |current| current.version);
        // The release that made it current changed the record, which the transaction below compares.
        if builds_on.is_some_and(|versions| !versions.contains(&current)) {
            return Err(DeskError::Changed(current));
        }
        if known.metas.iter().any(|meta| meta.version == current && meta.sha256 == sha256) {
            return Err(DeskError::Unchanged(current));
        }
        let version = known.metas.iter().map(|meta| meta.version).chain([current]).max().unwrap_or(0) + 1;
        let meta = Meta {
            version,
            author: record::clipped(&proposal.author, NOTE_CHARS_MAX),
            written_unix_ms: record::unix_ms(),
            note: record::clipped(&proposal.note, NOTE_CHARS_MAX),
            sha256: sha256.clone(),
            bytes: proposal.text.len() as u64,
            outcome: None,
        };
        if write(store, &known, &meta, proposal, current).await?.succeeded {
            return Ok(version);
        }
    }
    Err(DeskError::Raced)
}

async fn write(
    store: &Arc<dyn Coordinator>,
    known: &Known,
    meta: &Meta,
    proposal: &Proposal,
    current: Version,
) -> Result<TransactionReply, coordinator::Error> {
    let version = meta.version;
    let after = known.record.as_ref().map_or(0, |(_revision, record)| record.release.number);
    let now = record::unix_ms();
    let release = Release::new(version, current, proposal.terms.clone(), after);
    let release = Record { release, begun_unix_ms: now, changed_unix_ms: now };
    let mut operations = vec![
        Operation::put(record::version_key(version), record::encode(meta), None),
        Operation::put(record::text_key(version), proposal.text.clone(), None),
        Operation::put(record::RELEASE, record::encode(&release), None),
        Operation::delete(record::ABORT),
    ];
    for old in known.superfluous(current) {
        operations.push(Operation::delete(record::version_key(old)));
        operations.push(Operation::delete(record::text_key(old)));
    }
    let seen = known.record.as_ref().map_or(0, |(revision, _record)| *revision);
    let unchanged = [Compare::modified(record::RELEASE, seen), Compare::absent(record::version_key(version))];
    view::within(store.transact(Transaction::when(unchanged, operations))).await
}

/// The text of an earlier version, proposed again as a new one. `None` asks for the one that was current before.
///
/// # Errors
/// As [`propose`], or if there is no such version.
pub async fn roll_back(
    store: &Arc<dyn Coordinator>,
    to: Option<Version>,
    author: &str,
    terms: Terms,
    builds_on: BuildsOn<'_>,
) -> Result<(Version, Version), DeskError> {
    let known = Known::read(store).await?;
    known.refuse_if_busy()?;
    let current = known.current.map_or(0, |current| current.version);
    if builds_on.is_some_and(|versions| !versions.contains(&current)) {
        return Err(DeskError::Changed(current));
    }
    let was_released = |meta: &&Meta| meta.outcome.as_deref().is_some_and(|outcome| outcome.starts_with("done"));
    let to = match to {
        Some(version) => version,
        None => {
            let earlier = known.metas.iter().filter(|meta| meta.version < current).filter(was_released);
            earlier.map(|meta| meta.version).max().ok_or(DeskError::NothingBefore)?
        }
    };
    let text = view::text(store, to).await?.ok_or(DeskError::NoVersion(to))?;
    let note = format!("back to version {to}");
    let proposal = Proposal { text: text.to_string(), author: author.to_owned(), note, terms };
    Ok((propose(store, &proposal, builds_on).await?, to))
}

/// Asks for the end of the release that goes on, and answers its version.
///
/// # Errors
/// If there is none, or the coordinator cannot be reached.
pub async fn abort(store: &Arc<dyn Coordinator>) -> Result<Version, DeskError> {
    // The release may move on to another stage between reading and writing, which is no reason not to end it.
    for _attempt in 0..ATTEMPTS {
        let known = Known::read(store).await?;
        let goes_on = known.record.filter(|(_revision, record)| !record.release.stage.is_over());
        let Some((revision, record)) = goes_on else { return Err(DeskError::NoRelease) };
        let version = record.release.version;
        let put = Operation::put(record::ABORT, record::encode(&version), None);
        let unchanged = [Compare::modified(record::RELEASE, revision)];
        if view::within(store.transact(Transaction::when(unchanged, [put]))).await?.succeeded {
            return Ok(version);
        }
    }
    Err(DeskError::Raced)
}

/// All versions that are kept, the oldest first, and which one is current.
///
/// # Errors
/// If the coordinator cannot be reached.
pub async fn history(store: &Arc<dyn Coordinator>) -> Result<(Vec<Meta>, Option<Version>), DeskError> {
    let known = Known::read(store).await?;
    Ok((known.metas, known.current.map(|current| current.version)))
}

/// A version with its text; `None` asks for the current one.
///
/// # Errors
/// If there is no such version, or the coordinator cannot be reached.
pub async fn show(store: &Arc<dyn Coordinator>, version: Option<Version>) -> Result<(Meta, String), DeskError> {
    let known = Known::read(store).await?;
    let version = version.or(known.current.map(|current| current.version)).unwrap_or_default();
    let meta = known.metas.into_iter().find(|meta| meta.version == version).ok_or(DeskError::NoVersion(version))?;
    let text = view::text(store, version).await?.ok_or(DeskError::NoVersion(version))?;
    Ok((meta, text.to_string()))
}

/// What is written, but for the texts.
struct Known {
    current: Option<Current>,
    record: Option<(Revision, Record)>,
    /// By version.
    metas: Vec<Meta>,
}

impl Known {
    async fn read(store: &Arc<dyn Coordinator>) -> Result<Self, coordinator::Error> {
        let metas = Operation::Range { range: Range::prefix(record::VERSIONS), limit: 0 };
        let reading = [Operation::get(record::CURRENT), Operation::get(record::RELEASE), metas];
        let reply = view::within(store.transact(Transaction::always(reading))).await?;
        let mut known = Self { current: None, record: None, metas: Vec::new() };
        for outcome in reply.outcomes {
            let Outcome::Found { entries, .. } = outcome else { continue };
            for entry in entries {
                match entry.key.as_str() {
                    record::CURRENT => known.current = record::decode(&entry.key, &entry.value),
                    record::RELEASE => {
                        let record: Option<Record> = record::decode(&entry.key, &entry.value);
                        known.record = record.map(|record| (entry.modified, record));
                    }
                    key => known.metas.extend(record::decode::<Meta>(key, &entry.value)),
                }
            }
        }
        Ok(known)
    }

    fn refuse_if_busy(&self) -> Result<(), DeskError> {
        match &self.record {
            Some((_revision, record)) if !record.release.stage.is_over() => {
                let Release { version, stage, .. } = &record.release;
                Err(DeskError::Busy { version: *version, stage: stage.to_string() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Versions that have to go so that one more has room: the oldest, but never the current one.
    fn superfluous(&self, current: Version) -> Vec<Version> {
        let too_many = (self.metas.len() + 1).saturating_sub(VERSIONS_MAX);
        let old = self.metas.iter().map(|meta| meta.version).filter(|version| *version != current);
        old.take(too_many).collect()
    }
}

/// What a reader who needs no quorum may see: the current version as this node knows it.
///
/// # Errors
/// If the engine cannot be read.
pub async fn current_here(store: &Arc<dyn Coordinator>) -> Result<Option<Version>, DeskError> {
    let listing = view::within(store.range(Range::key(record::CURRENT), None, 1, Consistency::Local)).await?;
    let entry = listing.entries.into_iter().next();
    Ok(entry.and_then(|entry| record::decode::<Current>(&entry.key, &entry.value)).map(|current| current.version))
}
