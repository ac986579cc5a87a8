//! What nodes tell each other of sessions: MessagePack with named fields, so that an older node passes over what it does not
//! know.

use bytes::Bytes;
use mainstay_core::session::{BUCKETS, ENDPOINT_BYTES_MAX, Key, Session, Stamp};
use serde::{Deserialize, Serialize};

/// Sessions in one message, at most; with the longest names it is still a fourth of what a message may be.
pub const RECORDS_MAX: usize = 4096;

/// A session, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    scope: u64,
    /// The id, high half first.
    id: (u64, u64),
    endpoint: String,
    ttl: u32,
    bound: u64,
    node: u64,
    created: u64,
    accessed: u64,
}

impl Record {
    /// What is sent of a session.
    pub fn new(key: Key, session: &Session) -> Self {
        Self {
            scope: key.scope,
            id: ((key.id >> 64) as u64, key.id as u64),
            endpoint: session.endpoint.as_ref().to_owned(),
            ttl: session.ttl,
            bound: session.bound.millis,
            node: session.bound.node,
            created: session.created,
            accessed: session.accessed,
        }
    }

    /// What it says.
    pub fn read(self) -> (Key, Session) {
        let id = (u128::from(self.id.0) << 64) | u128::from(self.id.1);
        let session = Session {
            bound: Stamp { millis: self.bound, node: self.node },
            endpoint: self.endpoint.into(),
            ttl: self.ttl,
            created: self.created,
            accessed: self.accessed,
        };
        (Key { scope: self.scope, id }, session)
    }
}

/// What a node asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Take these over.
    Tell {
        /// The sessions.
        records: Vec<Record>,
    },
    /// Which buckets hold something else than mine?
    Compare {
        /// What stands for each of my buckets.
        digests: Vec<u64>,
    },
    /// What is in these buckets?
    Fetch {
        /// The buckets.
        buckets: Vec<u8>,
        /// The part to go on with, as the last answer said; 0 at first.
        part: u32,
    },
}

/// What the other answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Taken over, but for those at these places.
    Told {
        /// Places in the question's list.
        refused: Vec<u32>,
    },
    /// These buckets differ.
    Differ {
        /// The buckets.
        buckets: Vec<u8>,
    },
    /// This is in them.
    Page {
        /// The sessions.
        records: Vec<Record>,
        /// The part to go on with, if there is more.
        next: Option<u32>,
    },
}

/// As bytes.
///
/// # Errors
/// If it cannot be encoded, which is a defect.
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, String> {
    rmp_serde::to_vec_named(message).map(Bytes::from).map_err(|error| format!("cannot encode: {error}"))
}

/// From bytes.
///
/// # Errors
/// If they are no such message.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    rmp_serde::from_slice(bytes).map_err(|error| format!("not a message about sessions: {error}"))
}

/// The buckets of a list, as flags; what is no bucket is passed over.
pub fn flags(buckets: &[u8]) -> [bool; BUCKETS] {
    let mut flags = [false; BUCKETS];
    for bucket in buckets {
        if let Some(flag) = flags.get_mut(usize::from(*bucket)) {
            *flag = true;
        }
    }
    flags
}

// A record has at most some 120 bytes besides its name.
const _: () = assert!(RECORDS_MAX * (ENDPOINT_BYTES_MAX + 200) < crate::peer::MESSAGE_BYTES_MAX / 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let key = Key { scope: 3, id: u128::MAX - 7 };
        let session =
            Session { bound: Stamp { millis: 5, node: 2 }, endpoint: "a:1".into(), ttl: 60, created: 4, accessed: 9 };
        let record = Record::new(key, &session);
        assert_eq!(record.clone().read(), (key, session));
        for question in [
            Question::Tell { records: vec![record.clone()] },
            Question::Compare { digests: vec![1; BUCKETS] },
            Question::Fetch { buckets: vec![0, 63], part: 4 },
        ] {
            assert_eq!(decode::<Question>(&encode(&question).unwrap()), Ok(question));
        }
        let page = Reply::Page { records: vec![record], next: Some(3) };
        assert_eq!(decode::<Reply>(&encode(&page).unwrap()), Ok(page));
        assert!(decode::<Question>(b"\xc1 nothing").is_err());
        assert_eq!(flags(&[1, 200]).iter().filter(|it| **it).count(), 1);
    }
}
