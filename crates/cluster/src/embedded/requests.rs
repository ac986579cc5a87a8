//! The coordinator's methods on any node: what only the leader can do is passed on to it, as often as it takes.

use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::Embedded;
use super::leader;
use super::state::State;
use super::wire::{FromLeader, ToLeader, decode, encode};
use crate::coordinator::{
    Consistency, Coordinator, Error, Lease, LeaseId, Listing, Range, Revision, Transaction, TransactionReply, Watch,
};
use crate::peer::{CallError, NodeId, Service};
use crate::store::{Command, Reply};

/// What came of one attempt.
enum Attempt<T> {
    Done(T),
    /// Nothing was done, and another attempt may do better.
    Not(String),
    /// It may have been done.
    Maybe(String),
}

impl State {
    /// How long a request is tried: long enough for an election in between.
    fn patience(&self) -> Duration {
        self.timings.election_max * 2 + self.timings.rpc
    }

    /// Asks the leader, whoever that is.
    async fn ask(&self, question: &ToLeader, limit: Duration) -> Attempt<FromLeader> {
        let known = self.raft.get().and_then(|raft| raft.metrics().borrow().current_leader);
        let answer = match known {
            None => return Attempt::Not("no leader is known".to_owned()),
            Some(leader) if leader == self.node => match question {
                ToLeader::Write(command) => leader::write(self, command.clone()).await,
                ToLeader::ReadIndex => leader::read_index(self).await,
                ToLeader::Change(change) => match leader::here(self) {
                    Err(elsewhere) => elsewhere,
                    Ok(_raft) => FromLeader::Changed(super::membership::perform(self, change.clone()).await),
                },
            },
            Some(leader) => {
                let bytes = match encode(question) {
                    Ok(bytes) => bytes,
                    Err(reason) => return Attempt::Not(reason),
                };
                let call = self.transport.call(NodeId(leader), Service::Store, bytes, limit);
                let answer = match question {
                    ToLeader::Change(_) => call.await,
                    // What the old leader has got may be asked of the new one again: requests carry their names.
                    ToLeader::Write(_) | ToLeader::ReadIndex => tokio::select! {
                        biased;
                        answer = call => answer,
                        () = self.leads_no_more(leader) => {
                            return Attempt::Maybe("the leader has changed meanwhile".to_owned());
                        }
                    },
                };
                match answer {
                    Ok(answer) => match decode(&answer) {
                        Ok(answer) => answer,
                        Err(reason) => return Attempt::Maybe(reason),
                    },
                    Err(error @ CallError::Lost { .. }) => return Attempt::Maybe(error.to_string()),
                    Err(error @ (CallError::Unreachable { .. } | CallError::Refused { .. })) => {
                        return Attempt::Not(error.to_string());
                    }
                }
            }
        };
        match answer {
            FromLeader::NotLeader(_other) => Attempt::Not("the leader has changed".to_owned()),
            FromLeader::Refused(reason) => Attempt::Not(reason),
            FromLeader::Unknown(reason) => Attempt::Maybe(reason),
            done @ (FromLeader::Written(_) | FromLeader::ReadIndex(_) | FromLeader::Changed(_)) => Attempt::Done(done),
        }
    }

    /// Waits until another node leads than this one.
    async fn leads_no_more(&self, leader: u64) {
        let Some(raft) = self.raft.get() else { return std::future::pending().await };
        let mut metrics = raft.metrics();
        let other = metrics.wait_for(|metrics| metrics.current_leader.is_some_and(|other| other != leader));
        if other.await.is_err() {
            // The consensus has ended; the call ends by its own limit.
            std::future::pending::<()>().await;
        }
    }

    /// Waits a little, or until there is another leader.
    async fn pause(&self) {
        let Some(raft) = self.raft.get() else { return tokio::time::sleep(self.timings.heartbeat).await };
        let mut metrics = raft.metrics();
        let leader = metrics.borrow().current_leader;
        let other = metrics.wait_for(|metrics| metrics.current_leader != leader);
        // Whichever comes first; the next attempt sees what has come of it.
        let _waited = tokio::time::timeout(self.timings.heartbeat / 2, other).await;
    }

    /// Puts a command into the log. It must do no harm to be performed twice, or carry a request's name.
    pub(super) async fn write(&self, command: Command) -> Result<Reply, Error> {
        let (started, question) = (Instant::now(), ToLeader::Write(command));
        let mut maybe = None;
        loop {
            if let Err(error) = self.check() {
                return Err(maybe.map_or(error, Error::Unknown));
            }
            // The leader itself gives up after `rpc`; what it says is worth waiting for a little longer.
            let reason = match self.ask(&question, self.timings.rpc + self.timings.heartbeat).await {
                Attempt::Done(FromLeader::Written(answer)) => return answer,
                Attempt::Done(other) => return Err(Error::Unknown(format!("the leader answered {other:?}"))),
                Attempt::Not(reason) => reason,
                Attempt::Maybe(reason) => {
                    maybe = Some(reason.clone());
                    reason
                }
            };
            if started.elapsed() >= self.patience() {
                return Err(maybe.map_or(Error::Unavailable(reason), Error::Unknown));
            }
            self.pause().await;
        }
    }

    /// Waits until this node's replica is as recent as the moment of asking.
    async fn catch_up(&self) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            self.check()?;
            let reason = match self.ask(&ToLeader::ReadIndex, self.timings.rpc + self.timings.heartbeat).await {
                Attempt::Done(FromLeader::ReadIndex(next)) => {
                    let mut applied = self.applied.subscribe();
                    let left = self.patience().saturating_sub(started.elapsed()).max(self.timings.heartbeat);
                    let reached = applied.wait_for(|applied| *applied >= next);
                    return match tokio::time::timeout(left, reached).await {
                        Ok(Ok(_applied)) => Ok(()),
                        Ok(Err(_closed)) => Err(Error::Unavailable("the engine has ended".to_owned())),
                        Err(_elapsed) => Err(Error::Unavailable("this node lags behind the others".to_owned())),
                    };
                }
                Attempt::Done(other) => format!("the leader answered {other:?}"),
                Attempt::Not(reason) | Attempt::Maybe(reason) => reason,
            };
            if started.elapsed() >= self.patience() {
                return Err(Error::Unavailable(reason));
            }
            self.pause().await;
        }
    }

    /// Asks the leader for something that takes long and must not be repeated blindly.
    pub(super) async fn once(&self, question: ToLeader, limit: Duration) -> Result<FromLeader, Error> {
        let started = Instant::now();
        loop {
            self.check()?;
            match self.ask(&question, limit).await {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Maybe(reason) => return Err(Error::Unknown(reason)),
                Attempt::Not(reason) if started.elapsed() >= self.patience() => return Err(Error::Unavailable(reason)),
                Attempt::Not(_reason) => self.pause().await,
            }
        }
    }
}

fn unexpected(reply: &Reply) -> Error {
    Error::Unknown(format!("the store answered something else: {reply:?}"))
}

#[async_trait]
impl Coordinator for Embedded {
    async fn range(
        &self,
        range: Range,
        at: Option<Revision>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<Listing, Error> {
        match consistency {
            Consistency::Linearizable => self.state.catch_up().await?,
            Consistency::Local => {}
        }
        self.state.replica.read(|store| store.range(&range, at, limit))
    }

    async fn transact(&self, transaction: Transaction) -> Result<TransactionReply, Error> {
        let request = Some(self.state.request());
        match self.state.write(Command::Transact { request, transaction }).await? {
            Reply::Transaction(reply) => Ok(reply),
            other => Err(unexpected(&other)),
        }
    }

    async fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, Error> {
        Ok(Box::new(self.state.replica.follow(range, from)?))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, Error> {
        // One that was granted without its answer coming through ends by itself, so that asking again does no harm.
        match self.state.write(Command::Grant { ttl }).await? {
            Reply::Lease(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, Error> {
        match self.state.write(Command::KeepAlive { lease }).await? {
            Reply::Lease(lease) => Ok(lease),
            other => Err(unexpected(&other)),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        match self.state.write(Command::Revoke { lease }).await? {
            Reply::Ended(_whether_by_this) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}
