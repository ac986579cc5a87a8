//! Renewals that a quorum confirms.
//!
//! etcd answers a renewal from the memory of the member that takes itself for the leader. In the second before a leader that
//! is cut off notices it, another one may count the lease's time from its own election. So a read that needs a quorum
//! follows each renewal: if it is answered in the same term of leadership, nobody else was leader when the renewal was made,
//! and whoever becomes leader after that grants the lease its whole time anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, GetOptions, LeaseKeepAliveStream, LeaseKeeper};

use super::fault::Fault;
use crate::coordinator::{Lease, LeaseId};

/// Streams that are kept open, at most: one for each lease that is renewed.
const STREAMS_MAX: usize = 64;

/// The open streams of renewals, by lease, each with its member.
#[derive(Debug, Default)]
pub(super) struct Renewals(Mutex<HashMap<LeaseId, (usize, LeaseKeeper, LeaseKeepAliveStream)>>);

impl Renewals {
    /// Renews `lease` at the member with that index. `probe` is any key.
    pub(super) async fn renew(
        &self,
        mut client: Client,
        index: usize,
        lease: LeaseId,
        probe: Vec<u8>,
    ) -> Result<Lease, Fault> {
        // Taken out while in use: if this future is dropped the answer on its way would be taken for that to the next one.
        let held = self.lock().remove(&lease).filter(|(member, ..)| *member == index);
        let (keeper, stream) = match held {
            Some((_member, keeper, stream)) => (keeper, stream),
            None => client.lease_client().keep_alive(lease.0).await?,
        };
        let (mut keeper, mut stream) = (keeper, stream);
        keeper.keep_alive().await?;
        let Some(answer) = stream.message().await? else {
            return Err(Fault::Lost("the stream of renewals ended".to_owned()));
        };
        let Ok(ttl @ 1..) = u64::try_from(answer.ttl()) else { return Err(Fault::LeaseNotFound) };
        let confirmed = client.get(probe, Some(GetOptions::new().with_count_only())).await?;
        let terms = (answer.header().map(|one| one.raft_term()), confirmed.header().map(|one| one.raft_term()));
        if terms.0.is_none() || terms.0 != terms.1 {
            return Err(Fault::NotDone("the leader changed while the lease was renewed".to_owned()));
        }
        let mut streams = self.lock();
        if streams.len() >= STREAMS_MAX
            && let Some(other) = streams.keys().next().copied()
        {
            streams.remove(&other);
        }
        streams.insert(lease, (index, keeper, stream));
        Ok(Lease { id: lease, ttl: Duration::from_secs(ttl) })
    }

    /// Forgets a lease that has ended.
    pub(super) fn forget(&self, lease: LeaseId) {
        self.lock().remove(&lease);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseId, (usize, LeaseKeeper, LeaseKeepAliveStream)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
