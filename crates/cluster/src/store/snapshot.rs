//! A whole store as bytes, and what is checked before such bytes are believed.

use thiserror::Error;

use super::{Limits, Store};

/// Bytes that are no store, or not a sound one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the store's snapshot is damaged: {0}")]
pub struct Damaged(String);

impl Store {
    /// The store as bytes.
    ///
    /// # Errors
    /// If it cannot be written down, which is a defect.
    pub fn snapshot(&self) -> Result<Vec<u8>, Damaged> {
        rmp_serde::to_vec_named(self).map_err(|error| Damaged(error.to_string()))
    }

    /// The store that [`Store::snapshot`] made bytes of.
    ///
    /// # Errors
    /// If they are not whole, or contradict themselves.
    pub fn restore(bytes: &[u8], limits: Limits) -> Result<Self, Damaged> {
        let mut store: Self = rmp_serde::from_slice(bytes).map_err(|error| Damaged(error.to_string()))?;
        store.limits = limits;
        store.check()?;
        Ok(store)
    }
}

pub(super) fn check(store: &Store) -> Result<(), Damaged> {
    let fail = |what: &str| Err(Damaged(what.to_owned()));
    let mut bytes = 0usize;
    for (key, entry) in &store.keys {
        if *key != entry.key {
            return fail("an entry stands under another key");
        }
        if entry.created == 0 || entry.created > entry.modified || entry.modified > store.revision {
            return fail("an entry's revisions are out of order");
        }
        if let Some(lease) = entry.lease
            && !store.leases.get(lease).is_some_and(|granted| granted.keys.contains(key))
        {
            return fail("an entry's lease does not know it");
        }
        bytes = bytes.saturating_add(super::limits::cost(entry));
    }
    if bytes != store.bytes {
        return fail("the bytes of the keys are not what was counted");
    }
    for (id, granted) in store.leases.iter() {
        if id.0 < 1 || id.0 > store.leases.last() {
            return fail("a lease has a name that was never given");
        }
        if !granted.keys.iter().all(|key| store.keys.get(key).is_some_and(|entry| entry.lease == Some(id))) {
            return fail("a lease has a key that does not know it");
        }
    }
    let last = store.history.span().map_or(0, |(_first, last)| last);
    if !store.history.is_sound() || last != store.revision || store.history.oldest() > store.revision {
        return fail("the history does not fit the revision");
    }
    if !store.requests.is_sound() {
        return fail("the answered requests are not what was counted");
    }
    Ok(())
}
