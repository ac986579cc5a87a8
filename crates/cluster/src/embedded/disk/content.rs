//! What was found on the disk, and how it is told from what was not written so.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_core::random::hash;
use openraft::{LogId, SnapshotMeta, Vote};
use serde::de::DeserializeOwned;

use crate::embedded::raft::{Entry, Peer};

/// Things that are kept beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) enum Name {
    /// The number of the node that this belongs to.
    Node,
    /// How many transactions there were.
    Count,
    /// Its last vote.
    Vote,
    /// The last entry of the log that was deleted because a snapshot has it.
    Purged,
    /// The last entry that is known to be decided. It may be older than what was known.
    Committed,
    /// What the snapshot is of.
    SnapshotMeta,
    /// The store's snapshot.
    Snapshot,
}

impl Name {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Count => "count",
            Self::Vote => "vote",
            Self::Purged => "purged",
            Self::Committed => "committed",
            Self::SnapshotMeta => "snapshot-meta",
            Self::Snapshot => "snapshot",
        }
    }
}

/// A snapshot with what it is of.
pub(in crate::embedded) type StoredSnapshot = (SnapshotMeta<u64, Peer>, Arc<Vec<u8>>);

/// All that is on the disk.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Content {
    pub(super) node: Option<u64>,
    pub(super) count: u64,
    pub(in crate::embedded) vote: Option<Vote<u64>>,
    pub(in crate::embedded) purged: Option<LogId<u64>>,
    pub(in crate::embedded) committed: Option<LogId<u64>>,
    pub(in crate::embedded) snapshot: Option<StoredSnapshot>,
    /// Entries with their size on the disk.
    pub(in crate::embedded) log: BTreeMap<u64, (Entry, usize)>,
}

/// The same as it was read.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) values: BTreeMap<String, Vec<u8>>,
    pub(super) log: BTreeMap<u64, Vec<u8>>,
}

impl Raw {
    pub(super) fn check(self) -> Result<Content, String> {
        let mut content = Content {
            node: self.number(Name::Node)?,
            count: self.number(Name::Count)?.unwrap_or_default(),
            vote: self.value(Name::Vote)?,
            purged: self.value(Name::Purged)?,
            committed: self.value(Name::Committed)?,
            snapshot: None,
            log: BTreeMap::new(),
        };
        content.snapshot = match (self.value(Name::SnapshotMeta)?, self.opened(Name::Snapshot)?) {
            (Some(meta), Some(body)) => Some((meta, Arc::new(body.to_vec()))),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err("a part of the snapshot is missing".to_owned()),
        };
        for (index, sealed) in self.log {
            let body = open(&index.to_le_bytes(), &sealed).ok_or_else(|| format!("entry {index} is damaged"))?;
            let entry: Entry =
                rmp_serde::from_slice(body).map_err(|error| format!("entry {index} cannot be read: {error}"))?;
            if entry.log_id.index != index {
                return Err(format!("entry {index} says that it is entry {}", entry.log_id.index));
            }
            content.log.insert(index, (entry, body.len()));
        }
        content.follows()?;
        Ok(content)
    }

    fn opened(&self, name: Name) -> Result<Option<&[u8]>, String> {
        let Some(sealed) = self.values.get(name.text()) else { return Ok(None) };
        open(name.text().as_bytes(), sealed).map(Some).ok_or_else(|| format!("\"{}\" is damaged", name.text()))
    }

    fn value<T: DeserializeOwned>(&self, name: Name) -> Result<Option<T>, String> {
        let read = |body| rmp_serde::from_slice(body).map_err(|error| format!("\"{}\": {error}", name.text()));
        self.opened(name)?.map(read).transpose()
    }

    fn number(&self, name: Name) -> Result<Option<u64>, String> {
        let read = |body: &[u8]| {
            let bytes = body.try_into().map_err(|_length| format!("\"{}\" has a wrong length", name.text()))?;
            Ok(u64::from_le_bytes(bytes))
        };
        self.opened(name)?.map(read).transpose()
    }
}

impl Content {
    /// Whether snapshot and log follow each other without a gap.
    fn follows(&self) -> Result<(), String> {
        let purged = self.purged.map_or(0, |last| last.index.saturating_add(1));
        let covered =
            self.snapshot.as_ref().and_then(|(meta, _body)| meta.last_log_id).map_or(0, |last| last.index + 1);
        if purged > covered {
            return Err("entries are deleted that no snapshot has".to_owned());
        }
        let first = self.log.keys().next().copied();
        if first.is_some_and(|first| first != purged) {
            return Err(format!("the log begins with entry {}, not with entry {purged}", first.unwrap_or_default()));
        }
        for (one, next) in self.log.keys().zip(self.log.keys().skip(1)) {
            if one + 1 != *next {
                return Err(format!("entries between {one} and {next} are missing"));
            }
        }
        Ok(())
    }
}

/// What is stored for a body: it, after a checksum over it and what it is stored under.
pub(super) fn seal(name: &[u8], body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(body.len() + 8);
    sealed.extend_from_slice(&sum(name, body).to_le_bytes());
    sealed.extend_from_slice(body);
    sealed
}

fn open<'a>(name: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (stored, body) = sealed.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*stored) == sum(name, body)).then_some(body)
}

fn sum(name: &[u8], body: &[u8]) -> u64 {
    hash(body) ^ hash(name).rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sealed_so_does_not_open() {
        let sealed = seal(b"vote", b"body");
        assert_eq!(open(b"vote", &sealed), Some(&b"body"[..]));
        assert_eq!(open(b"node", &sealed), None, "under another name");
        assert_eq!(open(b"vote", &sealed[..11]), None, "cut");
        assert_eq!(open(b"vote", &sealed[..3]), None, "cut in its checksum");
        for place in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[place] ^= 4;
            assert_eq!(open(b"vote", &flipped), None, "byte {place}");
        }
    }
}
