//! What a node does by the clock: heartbeats and the end of leases while it leads, elections while nobody does.
//!
//! openraft has timers of its own, but no vote beforehand: a node that comes back from an isolation would end a healthy
//! leader's term. Here a node asks the others first, and they say no as long as they hear their leader. It also need not
//! wait when the leader's port is refused: then its process is gone. How long the others' answers are waited for follows the
//! links ([`mainstay_core::candidacy`]), and after an election without a leader it keeps still for a while.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use mainstay_core::random::Rng;
use mainstay_runtime::task::{AbortOnDrop, Kind, Task, spawn_local};
use openraft::{RaftMetrics, ServerState};

use super::leader;
use super::network::answer_limit;
use super::raft::{Peer, Raft};
use super::serve::unreachable;
use super::state::State;
use super::status::Quorum;
use super::wire::{FromRaft, ToRaft, decode, encode};
use crate::coordinator::Error;
use crate::peer::{NodeId, Service};
use crate::store::Command;

/// Leases that are ended at a time.
const EXPIRIES: usize = 64;
/// Bytes of the log from which on a snapshot is made before its time.
const LOG_BYTES: usize = 32 << 20;

type Metrics = RaftMetrics<u64, Peer>;

/// Starts the duties. They end when what is returned is dropped.
pub(super) fn start(state: &Arc<State>, raft: &Raft, seed: u64) -> [AbortOnDrop; 2] {
    let beat = Beat {
        state: Arc::clone(state),
        raft: raft.clone(),
        rng: Rng::seeded(seed),
        patience: Duration::ZERO,
        leader: None,
        beaten: None,
        campaign: None,
        probe: None,
        compacted: Instant::now(),
    };
    let (state, raft) = (Arc::clone(state), raft.clone());
    [
        spawn_local(Kind::Control, beat.run()).abort_on_drop(),
        spawn_local(Kind::Control, async move { expire(&state, &raft).await }).abort_on_drop(),
    ]
}

struct Beat {
    state: Arc<State>,
    raft: Raft,
    rng: Rng,
    /// How long this node is without a leader before it wants to be one itself.
    patience: Duration,
    /// The last that was told of.
    leader: Option<u64>,
    beaten: Option<Instant>,
    campaign: Option<Task>,
    /// Looks whether the leader's process is gone.
    probe: Option<Task>,
    compacted: Instant,
}

impl Beat {
    async fn run(mut self) {
        let timings = self.state.timings;
        let turn = (timings.heartbeat / 4).max(Duration::from_millis(5));
        self.draw();
        loop {
            tokio::time::sleep(turn).await;
            let metrics = self.raft.metrics().borrow().clone();
            if let Err(error) = &metrics.running_state {
                self.tell_quorum(false);
                let why = self.state.check().err();
                self.state.replica.close(why.unwrap_or_else(|| Error::Unavailable(error.to_string())));
                return;
            }
            self.tell_leader(&metrics);
            let voters: BTreeSet<u64> = metrics.membership_config.membership().voter_ids().collect();
            let reached = self.reached(&metrics, &voters);
            self.tell_quorum(reached);
            match metrics.state {
                ServerState::Leader => self.lead(reached).await,
                ServerState::Follower | ServerState::Candidate if voters.contains(&self.state.node) => {
                    self.follow(&metrics, voters).await;
                }
                ServerState::Follower | ServerState::Candidate | ServerState::Learner | ServerState::Shutdown => {}
            }
            self.compact(&metrics).await;
        }
    }

    async fn lead(&mut self, reached: bool) {
        // Without a majority's answers the followers have to be shown that this leader is of no use: see `network`.
        self.state.mute.store(!reached, Ordering::Relaxed);
        if self.beaten.is_none_or(|beaten| beaten.elapsed() >= self.state.timings.heartbeat) {
            self.beaten = Some(Instant::now());
            // It fails when the consensus has ended, which the next turn sees.
            let _ended = self.raft.trigger().heartbeat().await;
        }
        self.state.hear();
    }

    async fn follow(&mut self, metrics: &Metrics, voters: BTreeSet<u64>) {
        if voters.len() == 1 {
            if metrics.state == ServerState::Follower {
                let _ended = self.raft.trigger().elect().await;
            }
            return;
        }
        let timings = self.state.timings;
        let silence = self.state.silence();
        let leader = metrics.current_leader.filter(|leader| *leader != self.state.node);
        if leader.is_some() && silence < timings.heartbeat * 2 {
            self.state.lost.store(0, Ordering::Relaxed);
        }
        if silence >= self.patience && is_free(self.campaign.as_ref()) {
            self.draw();
            let (state, raft) = (Arc::clone(&self.state), self.raft.clone());
            let mut rng = Rng::seeded(self.rng.next_u64());
            let campaign = async move { stand(&state, &raft, &voters, None, &mut rng).await };
            self.campaign = Some(spawn_local(Kind::Control, campaign));
        } else if silence >= timings.heartbeat * 2
            && let Some(leader) = leader
            && is_free(self.probe.as_ref())
            && is_free(self.campaign.as_ref())
        {
            // Both followers of a dead leader find its port refused; they shall not want to be elected at once.
            let delay = timings.heartbeat.mul_f64(self.rng.unit());
            let mut rng = Rng::seeded(self.rng.next_u64());
            let (state, raft) = (Arc::clone(&self.state), self.raft.clone());
            let probe = async move {
                tokio::time::sleep(delay).await;
                if unreachable(&state, leader).await && state.silence() >= timings.heartbeat * 2 {
                    stand(&state, &raft, &voters, Some(leader), &mut rng).await;
                }
                tokio::time::sleep(timings.heartbeat / 2).await;
            };
            self.probe = Some(spawn_local(Kind::Control, probe));
        }
    }

    fn draw(&mut self) {
        self.patience = self.state.timings.candidacy().patience(&mut self.rng);
    }

    fn reached(&self, metrics: &Metrics, voters: &BTreeSet<u64>) -> bool {
        let timings = self.state.timings;
        match metrics.state {
            ServerState::Leader if voters.len() == 1 => true,
            ServerState::Leader => {
                metrics.millis_since_quorum_ack.is_some_and(|ago| u128::from(ago) <= timings.election_max.as_millis())
            }
            ServerState::Follower | ServerState::Candidate | ServerState::Learner => {
                metrics.current_leader.is_some_and(|leader| leader != self.state.node)
                    && self.state.silence() <= timings.election_max
            }
            ServerState::Shutdown => false,
        }
    }

    fn tell_leader(&mut self, metrics: &Metrics) {
        let leader = metrics.current_leader;
        if leader.is_some() && leader != self.leader {
            tracing::info!(
                node = self.state.node,
                leader,
                term = metrics.current_term,
                "the cluster has another leader"
            );
            self.leader = leader;
        }
    }

    fn tell_quorum(&self, reached: bool) {
        self.state.quorum.send_if_modified(|quorum| {
            let changes = quorum.reached != reached;
            if changes {
                if reached {
                    tracing::info!(node = self.state.node, "a majority of the cluster is reached");
                } else {
                    tracing::warn!(
                        node = self.state.node,
                        "no majority of the cluster is reached: nothing can be changed"
                    );
                }
                *quorum = Quorum { reached, since: SystemTime::now() };
            }
            changes
        });
    }

    /// Makes a snapshot when few but large entries fill the memory.
    async fn compact(&mut self, metrics: &Metrics) {
        if self.state.log.bytes() < LOG_BYTES || self.compacted.elapsed() < Duration::from_secs(2) {
            return;
        }
        self.compacted = Instant::now();
        if metrics.snapshot < metrics.last_applied {
            let _ended = self.raft.trigger().snapshot().await;
        }
        if let Some(snapshot) = metrics.snapshot {
            let _ended = self.raft.trigger().purge_log(snapshot.index).await;
        }
    }
}

fn is_free(task: Option<&Task>) -> bool {
    task.is_none_or(Task::is_finished)
}

/// Wants to lead, if a majority would have it so. Ends when there is a leader, or it is time to look again.
async fn stand(state: &State, raft: &Raft, voters: &BTreeSet<u64>, refused: Option<u64>, rng: &mut Rng) {
    // The look at the leader's port and the end of patience may both have led here.
    let Ok(_alone) = state.standing.try_lock() else { return };
    let timings = state.timings;
    let began = Instant::now();
    let silence = state.silence();
    if !would_win(state, voters, refused).await {
        return tokio::time::sleep(timings.heartbeat / 2).await;
    }
    if state.silence() < silence {
        // The leader is back, or another node has got this one's vote meanwhile.
        return;
    }
    tracing::info!(node = state.node, ?silence, refused, "no leader: standing for election");
    let mut metrics = raft.metrics();
    let term = metrics.borrow().current_term;
    let others = voters.iter().filter(|voter| **voter != state.node && Some(**voter) != refused);
    let limit = others.map(|voter| answer_limit(&*state.transport, &timings, NodeId(*voter))).max();
    let limit = limit.unwrap_or(timings.rpc);
    state.promise(limit);
    let _ended = raft.trigger().elect().await;
    let led = metrics.wait_for(|metrics| metrics.current_term > term && metrics.current_leader.is_some());
    if tokio::time::timeout(limit, led).await.is_ok() {
        state.lost.store(0, Ordering::Relaxed);
        return;
    }
    let lost = state.lost.fetch_add(1, Ordering::Relaxed).saturating_add(1);
    let pause = timings.candidacy().pause(lost, began.elapsed(), rng);
    tracing::info!(node = state.node, lost, ?pause, "the election brought no leader");
    let led = metrics.wait_for(|metrics| metrics.current_leader.is_some_and(|leader| leader != state.node));
    // Whichever comes first: it looks again then.
    let _waited = tokio::time::timeout(pause, led).await;
}

/// Whether a majority would vote for this node.
async fn would_win(state: &State, voters: &BTreeSet<u64>, refused: Option<u64>) -> bool {
    let last = state.log.last();
    let Ok(question) = encode(&ToRaft::WouldVote { last, refused }) else { return false };
    let ask = |voter: u64| {
        let question = question.clone();
        // The other side may have to see for itself that the leader is gone.
        let limit = answer_limit(&*state.transport, &state.timings, NodeId(voter));
        async move {
            let answer = state.transport.call(NodeId(voter), Service::Raft, question, limit).await;
            answer.is_ok_and(|answer| matches!(decode(&answer), Ok(FromRaft::WouldVote(true))))
        }
    };
    let others = voters.iter().filter(|voter| **voter != state.node && Some(**voter) != refused);
    let mut answers: FuturesUnordered<_> = others.map(|voter| ask(*voter)).collect();
    let mut yes = 1;
    // Not longer than it takes: the one that does not answer is the leader that is gone.
    while yes <= voters.len() / 2 {
        if yes + answers.len() <= voters.len() / 2 {
            return false;
        }
        match answers.next().await {
            Some(answer) => yes += usize::from(answer),
            None => return false,
        }
    }
    true
}

/// Ends leases whose time is over, while this node leads and a majority hears it.
async fn expire(state: &Arc<State>, raft: &Raft) {
    let turn = Duration::from_millis(50);
    let mut last = (state.now)();
    loop {
        tokio::time::sleep(turn).await;
        let now = (state.now)();
        let late = now.since(last).saturating_sub(turn);
        last = now;
        // A machine that stood still has not heard of renewals either. A lease may live longer, never shorter.
        if late > turn * 4 {
            state.grace(late);
        }
        if !state.quorum.borrow().reached || leader::here(state).is_err() {
            continue;
        }
        let term = raft.metrics().borrow().current_term;
        let ends = state.over(EXPIRIES).into_iter().map(|(lease, epoch)| async move {
            let answer = leader::write(state, Command::Expire { lease, epoch, term }).await;
            if leader::ended(&answer) {
                tracing::info!(lease = lease.0, "a lease has ended: it was not renewed in time");
            }
        });
        join_all(ends).await;
    }
}
