//! Endpoints that an operator has drained for all nodes. Each is a key without a lease: it stays until it is taken back, whatever
//! becomes of the node that was asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::coordinator::{
    Change, Consistency, Coordinator, Error, KEY_BYTES_MAX, Operation, Range, Transaction, Watch,
};

/// Drained endpoints, by service and endpoint.
pub const DRAINS: &str = "drains/";
/// After the store could not be read or followed.
const PAUSE: Duration = Duration::from_millis(500);

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Drained {
    /// The service's name.
    pub service: String,
    /// The endpoint's name.
    pub endpoint: String,
}

impl Drained {
    fn key(&self) -> String {
        format!("{DRAINS}{}/{}", self.service, self.endpoint)
    }

    /// Drains the endpoint for all nodes, or with `drain` false no longer.
    ///
    /// # Errors
    /// As [`Coordinator::transact`]; drains need a quorum.
    pub async fn set(&self, coordinator: &dyn Coordinator, drain: bool) -> Result<(), Error> {
        let key = self.key();
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::Invalid(format!("the names of service and endpoint have {} bytes together", key.len())));
        }
        let operation = if drain {
            let value = serde_json::to_vec(self).map_err(|error| Error::Invalid(error.to_string()))?;
            Operation::put(&key, Bytes::from(value), None)
        } else {
            Operation::delete(key)
        };
        coordinator.transact(Transaction::always([operation])).await.map(|_reply| ())
    }
}

/// Calls `apply` with all drained endpoints, at first and after each change, for ever. While the store is out of reach what it
/// said last stands.
pub async fn follow(coordinator: Arc<dyn Coordinator>, apply: impl Fn(&BTreeSet<Drained>)) {
    loop {
        if let Ok((mut drained, mut watch)) = list(coordinator.as_ref()).await {
            apply(&all(&drained));
            while let Ok(batch) = watch.next().await {
                for change in batch.changes {
                    match change {
                        Change::Put(entry) => drained.extend(read(&entry.key, &entry.value)),
                        Change::Delete { key } => drained.retain(|(known, _drained)| *known != key),
                    }
                }
                apply(&all(&drained));
            }
        }
        sleep(PAUSE).await;
    }
}

type Keyed = BTreeSet<(String, Drained)>;

fn all(drained: &Keyed) -> BTreeSet<Drained> {
    drained.iter().map(|(_key, drained)| drained.clone()).collect()
}

/// What is under a key; nothing if that cannot be read.
fn read(key: &str, value: &[u8]) -> Option<(String, Drained)> {
    Some((key.to_owned(), serde_json::from_slice(value).ok()?))
}

async fn list(coordinator: &dyn Coordinator) -> Result<(Keyed, Box<dyn Watch>), Error> {
    let listing = coordinator.range(Range::prefix(DRAINS), None, 0, Consistency::Linearizable).await?;
    let drained = listing.entries.iter().filter_map(|entry| read(&entry.key, &entry.value)).collect();
    Ok((drained, coordinator.watch(Range::prefix(DRAINS), listing.revision + 1).await?))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use mainstay_runtime::task::{Kind, spawn_local};
    use mainstay_runtime::thread::run_here;

    use super::*;
    use crate::memory::Memory;

    #[test]
    fn a_drain_is_followed_until_it_is_taken_back() {
        run_here(async {
            let store: Arc<dyn Coordinator> = Arc::new(Memory::new());
            let one = Drained { service: "shop".into(), endpoint: "10.0.0.1:80".into() };
            let other = Drained { service: "shop".into(), endpoint: "[::1]:80".into() };
            one.set(store.as_ref(), true).await.unwrap();
            let seen = Rc::new(RefCell::new(BTreeSet::new()));
            let told = Rc::clone(&seen);
            let apply = move |drained: &BTreeSet<Drained>| told.borrow_mut().clone_from(drained);
            let _following = spawn_local(Kind::Control, follow(Arc::clone(&store), apply)).abort_on_drop();
            let until = async |expected: &[&Drained]| {
                for _turn in 0..200 {
                    if seen.borrow().iter().eq(expected.iter().copied()) {
                        return;
                    }
                    sleep(Duration::from_millis(10)).await;
                }
                panic!("{:?}", seen.borrow());
            };
            until(&[&one]).await;
            other.set(store.as_ref(), true).await.unwrap();
            until(&[&one, &other]).await;
            one.set(store.as_ref(), false).await.unwrap();
            until(&[&other]).await;
            let long = Drained { service: "s".repeat(KEY_BYTES_MAX), endpoint: "e".into() };
            assert!(matches!(long.set(store.as_ref(), true).await, Err(Error::Invalid(_))));
        })
        .unwrap();
    }
}
