//! Leases, without their time: who measures it is the leader's business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use crate::coordinator::{Error, Lease, LeaseId};

/// A lease that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// How long it lives after a renewal.
    pub ttl: Duration,
    /// How often it was renewed. An expiry that was decided before the last renewal is told by it.
    pub epoch: u64,
    /// The keys that end with it.
    pub keys: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leases {
    /// The last name that was given.
    last: i64,
    granted: BTreeMap<LeaseId, Granted>,
}

impl Leases {
    pub(super) fn get(&self, lease: LeaseId) -> Option<&Granted> {
        self.granted.get(&lease)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LeaseId, &Granted)> {
        self.granted.iter().map(|(id, granted)| (*id, granted))
    }

    pub(super) fn last(&self) -> i64 {
        self.last
    }

    pub(super) fn grant(&mut self, ttl: Duration, limits: &Limits) -> Result<Lease, Error> {
        if ttl < limits.ttl_min || ttl > limits.ttl_max {
            return Err(Error::Invalid(format!(
                "a lease lives for {:?} to {:?}, not for {ttl:?}",
                limits.ttl_min, limits.ttl_max
            )));
        }
        if self.granted.len() >= limits.leases {
            return Err(Error::Invalid(format!("there are {} leases already, as many as there may be", limits.leases)));
        }
        let Some(id) = self.last.checked_add(1) else {
            return Err(Error::Invalid("all names of leases have been given".to_owned()));
        };
        self.last = id;
        self.granted.insert(LeaseId(id), Granted { ttl, epoch: 0, keys: BTreeSet::new() });
        Ok(Lease { id: LeaseId(id), ttl })
    }

    pub(super) fn keep_alive(&mut self, lease: LeaseId) -> Result<Lease, Error> {
        let granted = self.granted.get_mut(&lease).ok_or(Error::LeaseNotFound(lease))?;
        granted.epoch = granted.epoch.saturating_add(1);
        Ok(Lease { id: lease, ttl: granted.ttl })
    }

    pub(super) fn remove(&mut self, lease: LeaseId) -> Option<Granted> {
        self.granted.remove(&lease)
    }

    pub(super) fn attach(&mut self, lease: LeaseId, key: &str) {
        if let Some(granted) = self.granted.get_mut(&lease) {
            granted.keys.insert(key.to_owned());
        }
    }

    pub(super) fn detach(&mut self, lease: LeaseId, key: &str) {
        if let Some(granted) = self.granted.get_mut(&lease) {
            granted.keys.remove(key);
        }
    }
}
