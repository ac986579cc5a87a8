//! All members: which one is asked, and what is done when it does not answer.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use tokio::time::{Instant, timeout};

use super::fault::Fault;
use super::member::Member;

/// The members, one of which is asked until it fails.
#[derive(Debug)]
pub(super) struct Members {
    all: Vec<Member>,
    current: AtomicUsize,
    connect: ConnectOptions,
    patience: Duration,
}

/// What a request is, when its answer does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Doing it again does no harm: another member is asked.
    Repeatable,
    /// Once sent it is not sent again, and its caller is told that nobody knows.
    Once,
    /// A read that any member answers from what it has.
    Local,
}

impl Members {
    /// `urls` must not be empty. A request takes `patience` at most, over all members together.
    pub(super) fn new(urls: &[String], connect: ConnectOptions, patience: Duration) -> Self {
        let all = urls.iter().map(|url| Member::new(url)).collect();
        Self { all, current: AtomicUsize::new(0), connect, patience }
    }

    pub(super) fn all(&self) -> &[Member] {
        &self.all
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// The member that is asked at present.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed) % self.all.len().max(1)
    }

    /// Asks another one from now on, unless somebody has seen to that already.
    pub(super) fn leave(&self, index: usize) {
        if let Some(member) = self.all.get(index) {
            member.doubt();
        }
        let next = (index + 1) % self.all.len().max(1);
        let _another_did = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A client of the member that is asked at present, within `limit`.
    pub(super) async fn connected(&self, index: usize, sort: Sort, limit: Duration) -> Result<Client, Fault> {
        let Some(member) = self.all.get(index) else {
            return Err(Fault::NotDone("no member of etcd is configured".to_owned()));
        };
        let connecting = async {
            match sort {
                Sort::Local => member.local(&self.connect).await,
                Sort::Repeatable | Sort::Once => member.client(&self.connect).await,
            }
        };
        let fault = match timeout(limit, connecting).await {
            Ok(Ok(client)) => return Ok(client),
            // Nothing but a question has been sent so far.
            Ok(Err(Fault::Lost(reason) | Fault::NotDone(reason))) => Fault::NotDone(reason),
            Ok(Err(fault)) => fault,
            Err(_elapsed) => Fault::NotDone(format!("no connection within {limit:?}")),
        };
        Err(at(member.url(), fault))
    }

    /// Asks a member, and others if it cannot answer and asking again is harmless. `ask` gets a client and the index of its
    /// member.
    pub(super) async fn ask<T, F>(&self, sort: Sort, ask: impl Fn(Client, usize) -> F + Sync) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let end = Instant::now() + self.patience;
        // A single member is asked a second time, too: it may have had no leader for a moment.
        let attempts = self.all.len().max(2);
        let mut last = Fault::NotDone("there was no time to ask".to_owned());
        for attempt in 0..attempts {
            let index = self.current();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Others get their share of the time, so that one frozen member does not use it up.
            let share = if self.all.len() < 2 { left } else { left / u32::try_from(attempts - attempt).unwrap_or(1) };
            let client = match self.connected(index, sort, share).await {
                Ok(client) => client,
                Err(Fault::NotDone(reason)) => {
                    self.leave(index);
                    last = Fault::NotDone(reason);
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let left = end.saturating_duration_since(Instant::now());
            let limit = if sort == Sort::Once { left } else { share.min(left) };
            let fault = match timeout(limit, ask(client, index)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(fault)) => fault,
                Err(_elapsed) => Fault::Lost(format!("no answer within {limit:?}")),
            };
            let fault = at(self.all[index].url(), fault);
            match fault {
                Fault::NotDone(_) => self.leave(index),
                Fault::Lost(_) => {
                    self.leave(index);
                    if sort == Sort::Once {
                        return Err(fault);
                    }
                }
                Fault::Compacted | Fault::Future | Fault::LeaseNotFound | Fault::Final(_) => return Err(fault),
            }
            last = fault;
        }
        Err(last)
    }
}

/// Adds the member's address to what people read.
fn at(url: &str, fault: Fault) -> Fault {
    match fault {
        Fault::NotDone(reason) => Fault::NotDone(format!("{url}: {reason}")),
        Fault::Lost(reason) => Fault::Lost(format!("{url}: {reason}")),
        other => other,
    }
}
