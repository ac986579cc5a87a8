//! Writes this node's verdicts, follows those of others, and has what comes of them heeded.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::opinion::{Effect, Merged, Opinions, Quorum, Verdict, effect, merge};
use mainstay_core::random::Rng;
use mainstay_runtime::task::{Kind, spawn_local};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::board::Board;
use super::{Answerer, Counts, Endpoints, HEALTH, Pace, Report, node_number};
use crate::coordinator::{Change, Consistency, Coordinator, Range, Watch};
use crate::peer::{NodeId, Service, Transport};
use crate::session::{Kept, Session};
use crate::sessions::now;

/// After the store could not be read or followed.
const PAUSE: Duration = Duration::from_millis(500);
/// The store takes so many bytes of one node's verdicts a second, at most.
const BYTES_PER_SECOND: usize = 256 * 1024;

/// Exchanges opinions with the other nodes.
pub struct Exchange<E> {
    /// What opinions are about.
    pub endpoints: E,
    /// Where they are written.
    pub coordinator: Arc<dyn Coordinator>,
    /// The node's session, on which they are written.
    pub session: Arc<Session>,
    /// Asks other nodes.
    pub transport: Arc<dyn Transport>,
    /// All nodes but this one.
    pub others: Rc<dyn Fn() -> Vec<NodeId>>,
    /// Answers other nodes.
    pub answerer: Answerer,
    /// How many nodes it takes.
    pub quorum: Quorum,
    /// How often what is done.
    pub pace: Pace,
    /// What is counted.
    pub counts: Arc<Counts>,
}

struct State {
    own: Report,
    kept: Option<Kept>,
    write_at: Instant,
    heard: Opinions,
    merged: Merged,
    /// Since when there is no lease.
    alone_since: Option<Instant>,
}

impl<E: Endpoints> Exchange<E> {
    /// Runs for ever.
    pub async fn run(self) {
        let board = Rc::new(RefCell::new(Board::default()));
        let own = Report { node: self.session.node().to_owned(), started: now(), ..Report::default() };
        let mut state = State {
            own,
            kept: None,
            write_at: Instant::now(),
            heard: Opinions::new(),
            merged: Merged::default(),
            alone_since: None,
        };
        let _following = spawn_local(Kind::Control, follow(self.follower(&board))).abort_on_drop();
        let _comparing = spawn_local(Kind::Control, compare(self.comparer(&board))).abort_on_drop();
        let mut ticks = interval(self.pace.write);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.say(&mut state);
            self.agree(&mut state, &board.borrow());
        }
    }

    /// Writes the own verdicts if they have changed and it is time.
    fn say(&self, state: &mut State) {
        let present = Instant::now();
        if present < state.write_at || !state.own.say(self.endpoints.verdicts()) {
            return;
        }
        let Ok(bytes) = state.own.encode() else { return };
        // Many endpoints are told of less often, so that the store has the same to do.
        let rest = Duration::from_secs_f64(bytes.len() as f64 / BYTES_PER_SECOND as f64);
        state.write_at = present + self.pace.write.max(rest);
        self.answerer.set(bytes.clone());
        match &state.kept {
            Some(kept) => kept.set(bytes),
            None => {
                let key = format!("{HEALTH}{}", state.own.node);
                state.kept = self.session.keep(key, bytes).map_err(|error| tracing::error!(%error, "opinions")).ok();
            }
        }
        self.counts.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Merges what all say, and has it heeded.
    fn agree(&self, state: &mut State, board: &Board) {
        let is_alone = self.session.lease().is_none();
        let since = if is_alone { Some(*state.alone_since.get_or_insert_with(Instant::now)) } else { None };
        state.alone_since = since;
        let node = node_number(&state.own.node);
        if let Some(since) = since {
            state.merged.frozen = true;
            if since.elapsed() >= self.pace.freeze {
                state.merged = Merged { frozen: true, ..Merged::default() };
            }
        } else {
            let heard = board.opinions(&state.own);
            if heard != state.heard || state.merged.frozen {
                let merged = merge(self.quorum, &heard, &state.merged);
                self.tell(&state.merged, &merged, node);
                (state.heard, state.merged) = (heard, merged);
            }
        }
        let merged = &state.merged;
        let says = |endpoint: u64, own: Option<Verdict>| -> Effect { effect(merged, node, endpoint, own) };
        let changed = self.endpoints.heed(&says);
        let down = merged.verdicts.values().filter(|verdict| **verdict == Verdict::Down).count();
        if changed > 0 {
            tracing::info!(changed, down, nodes = state.heard.len(), "opinions: the nodes' verdicts were merged anew");
        }
        let counts = &self.counts;
        counts.live.store(if is_alone { 1 } else { state.heard.len() as u64 }, Ordering::Relaxed);
        counts.is_cut_off.store(merged.cut_off.contains(&node), Ordering::Relaxed);
        counts.is_frozen.store(merged.frozen, Ordering::Relaxed);
        counts.down.store(down as u64, Ordering::Relaxed);
    }

    /// Says in the log that this node is cut off, and that it no longer is.
    fn tell(&self, before: &Merged, after: &Merged, node: u64) {
        match (before.cut_off.contains(&node), after.cut_off.contains(&node)) {
            (false, true) => tracing::warn!(
                "THIS NODE IS CUT OFF: every endpoint is down from here and not from the other nodes; \
                 its own verdicts are set aside"
            ),
            (true, false) => tracing::info!("opinions: this node is no longer cut off from the endpoints"),
            (true, true) | (false, false) => {}
        }
    }

    fn follower(&self, board: &Rc<RefCell<Board>>) -> Follower {
        Follower {
            coordinator: Arc::clone(&self.coordinator),
            board: Rc::clone(board),
            counts: Arc::clone(&self.counts),
            own: format!("{HEALTH}{}", self.session.node()),
        }
    }

    fn comparer(&self, board: &Rc<RefCell<Board>>) -> Comparer {
        let (transport, board) = (Arc::clone(&self.transport), Rc::clone(board));
        Comparer {
            transport,
            board,
            counts: Arc::clone(&self.counts),
            pace: self.pace,
            others: Rc::clone(&self.others),
        }
    }
}

struct Follower {
    coordinator: Arc<dyn Coordinator>,
    board: Rc<RefCell<Board>>,
    counts: Arc<Counts>,
    own: String,
}

/// Follows the keys of other nodes for ever.
async fn follow(follower: Follower) {
    loop {
        if let Ok(mut watch) = follower.list().await {
            while let Ok(batch) = watch.next().await {
                batch.changes.iter().for_each(|change| follower.note(change));
            }
        }
        // Compacted, or out of reach: from the beginning.
        sleep(PAUSE).await;
    }
}

impl Follower {
    async fn list(&self) -> Result<Box<dyn Watch>, crate::coordinator::Error> {
        let range = || Range::prefix(HEALTH);
        let listing = self.coordinator.range(range(), None, 0, Consistency::Linearizable).await?;
        self.board.borrow_mut().forget_live();
        listing.entries.into_iter().for_each(|entry| self.note(&Change::Put(entry)));
        self.coordinator.watch(range(), listing.revision + 1).await
    }

    fn note(&self, change: &Change) {
        let (key, value) = match change {
            Change::Put(entry) => (&entry.key, Some(&entry.value)),
            Change::Delete { key } => (key, None),
        };
        let Some(node) = key.strip_prefix(HEALTH).filter(|_node| *key != self.own) else { return };
        let mut board = self.board.borrow_mut();
        board.set_live(node, value.is_some());
        match value.map(|value| Report::decode(value)) {
            Some(Ok(report)) if report.node == node => {
                self.counts.received.fetch_add(1, Ordering::Relaxed);
                board.note(report);
            }
            Some(Ok(report)) => tracing::warn!(node, says = report.node, "opinions: a report under another's name"),
            Some(Err(reason)) => tracing::warn!(node, reason, "opinions: a report cannot be read"),
            None => {}
        }
    }
}

struct Comparer {
    transport: Arc<dyn Transport>,
    board: Rc<RefCell<Board>>,
    counts: Arc<Counts>,
    pace: Pace,
    others: Rc<dyn Fn() -> Vec<NodeId>>,
}

/// Asks all others for all their verdicts, now and then, for ever.
async fn compare(comparer: Comparer) {
    let mut rng = Rng::seeded(now() ^ u64::from(std::process::id()));
    loop {
        sleep(comparer.pace.compare.mul_f64(0.75 + rng.unit() / 2.0)).await;
        for other in (comparer.others)() {
            let asked = comparer.transport.call(other, Service::Opinions, Bytes::new(), comparer.pace.call).await;
            // Who does not answer is asked again in the next round.
            let Some(report) = asked.ok().and_then(|bytes| Report::decode(&bytes).ok()) else { continue };
            comparer.counts.comparisons.fetch_add(1, Ordering::Relaxed);
            if comparer.board.borrow_mut().note(report) {
                comparer.counts.repaired.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
