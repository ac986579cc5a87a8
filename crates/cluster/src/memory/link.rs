//! A link to the engine that fails as links do.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::Memory;
use crate::coordinator::{
    Batch, Consistency, Coordinator, Error, Lease, LeaseId, Listing, Range, Revision, Transaction, TransactionReply,
    Watch,
};

/// How a link fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// Requests are refused at once; nothing is performed.
    Refused,
    /// Requests vanish: nothing is performed, and no answer ever comes.
    RequestsLost,
    /// Requests are performed, and no answer ever comes.
    AnswersLost,
    /// Requests are performed at once, and answers come so much later.
    Late(Duration),
}

/// An engine behind a link. While the link fails, watches stay silent.
#[derive(Debug)]
pub struct Link {
    memory: Memory,
    fault: watch::Sender<Fault>,
}

impl Link {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, fault: watch::Sender::new(Fault::None) }
    }

    /// Fails in this way from now on; what is on its way already is not affected.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    async fn pass<T: Send>(&self, call: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        let fault = *self.fault.borrow();
        match fault {
            Fault::None => call.await,
            Fault::Refused => Err(Error::Unavailable("the link is down".to_owned())),
            Fault::RequestsLost => std::future::pending().await,
            Fault::AnswersLost => {
                let _lost = call.await;
                std::future::pending().await
            }
            Fault::Late(late) => {
                let answer = call.await;
                tokio::time::sleep(late).await;
                answer
            }
        }
    }
}

#[async_trait]
impl Coordinator for Link {
    async fn range(
        &self,
        range: Range,
        at: Option<Revision>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<Listing, Error> {
        self.pass(self.memory.range(range, at, limit, consistency)).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<TransactionReply, Error> {
        self.pass(self.memory.transact(transaction)).await
    }

    async fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, Error> {
        let watch = self.pass(self.memory.watch(range, from)).await?;
        Ok(Box::new(Behind { fault: self.fault.subscribe(), watch }))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, Error> {
        self.pass(self.memory.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, Error> {
        self.pass(self.memory.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.pass(self.memory.revoke(lease)).await
    }
}

struct Behind {
    fault: watch::Receiver<Fault>,
    watch: Box<dyn Watch>,
}

#[async_trait]
impl Watch for Behind {
    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            // The link outlives its watches or not: without it nobody can mend what it had last.
            if self.fault.wait_for(|fault| *fault == Fault::None).await.is_err() {
                return Err(Error::Unavailable("the link is gone".to_owned()));
            }
            tokio::select! {
                biased;
                _told = self.fault.changed() => {}
                batch = self.watch.next() => return batch,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mainstay_runtime::thread::run_here;

    use super::*;

    #[test]
    fn a_link_fails_in_each_way() {
        run_here(async {
            let memory = Memory::new();
            let link = memory.link();
            let coordinator: &dyn Coordinator = &link;
            let brief = Duration::from_millis(30);
            link.set(Fault::Refused);
            assert!(matches!(coordinator.put("a", Bytes::new(), None).await, Err(Error::Unavailable(_))));
            link.set(Fault::RequestsLost);
            assert!(tokio::time::timeout(brief, coordinator.put("a", Bytes::new(), None)).await.is_err());
            link.set(Fault::None);
            assert_eq!(coordinator.get("a").await.unwrap(), None);
            let mut watch = coordinator.watch(Range::key("a"), 1).await.unwrap();
            link.set(Fault::AnswersLost);
            assert!(tokio::time::timeout(brief, coordinator.put("a", Bytes::new(), None)).await.is_err());
            assert!(tokio::time::timeout(brief, watch.next()).await.is_err());
            link.set(Fault::None);
            assert_eq!(watch.next().await.unwrap().revision, 1);
            assert!(coordinator.get("a").await.unwrap().is_some());
        })
        .unwrap();
    }
}
