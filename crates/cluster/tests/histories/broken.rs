//! Stores that break a promise, to see that the checks object.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mainstay_cluster::coordinator::{
    Batch, Consistency, Coordinator, Error, Lease, LeaseId, Listing, Range, Revision, Transaction, TransactionReply,
    Watch,
};

use crate::run::Variant;

impl Variant {
    /// The store as this variant shows it.
    pub(crate) fn of(self, store: Arc<dyn Coordinator>) -> Arc<dyn Coordinator> {
        match self {
            Self::Sound => store,
            Self::StaleReads | Self::UnknownCalledUndone | Self::RenewalIgnored | Self::WatchSkips => {
                Arc::new(Broken { store, how: self })
            }
        }
    }
}

struct Broken {
    store: Arc<dyn Coordinator>,
    how: Variant,
}

#[async_trait]
impl Coordinator for Broken {
    async fn range(
        &self,
        range: Range,
        at: Option<Revision>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<Listing, Error> {
        let consistency = if self.how == Variant::StaleReads { Consistency::Local } else { consistency };
        self.store.range(range, at, limit, consistency).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<TransactionReply, Error> {
        match self.store.transact(transaction).await {
            Err(Error::Unknown(reason)) if self.how == Variant::UnknownCalledUndone => Err(Error::Unavailable(reason)),
            answer => answer,
        }
    }

    async fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, Error> {
        let watch = self.store.watch(range, from).await?;
        Ok(if self.how == Variant::WatchSkips { Box::new(Skipping { watch, told: 0 }) } else { watch })
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, Error> {
        self.store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, Error> {
        if self.how == Variant::RenewalIgnored {
            return Ok(Lease { id: lease, ttl: crate::cluster::TIMINGS.ttl });
        }
        self.store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.store.revoke(lease).await
    }
}

/// Leaves one batch out.
struct Skipping {
    watch: Box<dyn Watch>,
    told: u64,
}

#[async_trait]
impl Watch for Skipping {
    async fn next(&mut self) -> Result<Batch, Error> {
        self.told += 1;
        if self.told == 10 {
            self.watch.next().await?;
        }
        self.watch.next().await
    }
}
