//! Elections on any coordinator: a key that is there once, on its holder's lease. The revision that made it is the fencing
//! token. Whoever wants it and finds it taken follows the key until it is gone; there is no queue, and no promise of order.
//!
//! These are the single steps; [`crate::role`] campaigns, renews and stops in time.

use std::time::Duration;

use bytes::Bytes;
use mainstay_core::lease::Token;
use mainstay_core::lease::holding::Seen;

use crate::coordinator::{
    Change, Compare, Coordinator, Entry, Error, LeaseId, Operation, Outcome, Range, Revision, Transaction,
};

/// What is under an election's key, as of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The revision of the change, or of the reading.
    pub revision: Revision,
    /// The holder's entry; its `created` is the token.
    pub holder: Option<Entry>,
}

impl News {
    /// The same for the machine.
    pub fn seen(&self) -> Seen {
        let holder = self.holder.as_ref().map(|entry| (entry.created, entry.lease.map_or(0, |lease| lease.0)));
        Seen { revision: self.revision, holder }
    }
}

/// Puts the key on the lease if it is not there, and answers what is there then: a holder on the own lease means that this
/// campaign, or an earlier one whose answer was lost, was won.
///
/// # Errors
/// As [`Coordinator::transact`]. After [`Error::Unknown`] it may have been won.
pub async fn campaign(coordinator: &dyn Coordinator, key: &str, value: Bytes, lease: LeaseId) -> Result<News, Error> {
    let put = Operation::put(key, value.clone(), Some(lease));
    let transaction = Transaction::when([Compare::absent(key)], [put]).or_else([Operation::get(key)]);
    let reply = coordinator.transact(transaction).await?;
    let revision = reply.revision;
    if reply.succeeded {
        let (key, lease) = (key.to_owned(), Some(lease));
        let holder = Entry { key, value, created: revision, modified: revision, version: 1, lease };
        return Ok(News { revision, holder: Some(holder) });
    }
    match reply.outcomes.into_iter().next() {
        Some(Outcome::Found { entries, .. }) => Ok(News { revision, holder: entries.into_iter().next() }),
        Some(Outcome::Put | Outcome::Deleted(_)) | None => {
            Err(Error::Invalid("the engine's answer to a campaign does not say who holds the role".to_owned()))
        }
    }
}

/// Deletes the key if it is the own one: that with this token, or, if it is not known which one that is, any on the lease.
/// When it answers, no key of the kind is there or can come from an earlier resignation.
///
/// # Errors
/// As [`Coordinator::transact`]. It is to be repeated until it succeeds.
pub async fn resign(
    coordinator: &dyn Coordinator,
    key: &str,
    token: Option<Token>,
    lease: LeaseId,
) -> Result<(), Error> {
    let token = match token {
        Some(token) => token,
        None => match coordinator.get(key).await? {
            Some(entry) if entry.lease == Some(lease) => entry.created,
            Some(_) | None => return Ok(()),
        },
    };
    let delete = Transaction::when([Compare::created(key, token)], [Operation::delete(key)]);
    coordinator.transact(delete).await.map(|_reply| ())
}

/// Reads who holds it.
///
/// # Errors
/// As [`Coordinator::range`].
pub async fn holder(coordinator: &dyn Coordinator, key: &str) -> Result<News, Error> {
    let listing = coordinator.range(Range::key(key), None, 1, crate::coordinator::Consistency::Linearizable).await?;
    Ok(News { revision: listing.revision, holder: listing.entries.into_iter().next() })
}

/// Tells who holds it, first as it is and then with each change, until the task is dropped. What a broken watch may have
/// missed is read anew after `pause`.
pub async fn observe(coordinator: &dyn Coordinator, key: &str, pause: Duration, mut tell: impl AsyncFnMut(News)) {
    loop {
        if let Err(error) = observe_once(coordinator, key, &mut tell).await {
            tracing::debug!(key, %error, "the holder of a role cannot be followed");
        }
        tokio::time::sleep(pause).await;
    }
}

async fn observe_once(coordinator: &dyn Coordinator, key: &str, tell: &mut impl AsyncFnMut(News)) -> Result<(), Error> {
    let news = holder(coordinator, key).await?;
    let mut watch = coordinator.watch(Range::key(key), news.revision + 1).await?;
    tell(news).await;
    loop {
        let batch = watch.next().await?;
        for change in batch.changes {
            let holder = match change {
                Change::Put(entry) if entry.key == key => Some(entry),
                Change::Delete { key: deleted } if deleted == key => None,
                Change::Put(_) | Change::Delete { .. } => continue,
            };
            tell(News { revision: batch.revision, holder }).await;
        }
    }
}
