//! Makes journeys on time, on the thread that it is run on, and has told what came of them.
//!
//! A journey that ends by a panic says nothing about what it probes: it counts for nothing, and the next one is made when it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_core::time::Moment;
use mainstay_core::vantage;
use mainstay_gateway::state::BUCKETS;
use mainstay_runtime::task::{Kind, apart, spawn_local};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::board::{Asked, Board, Changed, phase};
use super::{Outcome, Probe, run};
use crate::history::{self, BUCKET_COUNT, Counts, History, Series};

/// How often it is looked what is due.
const LOOK: Duration = Duration::from_millis(250);
/// Journeys at once; others wait.
const RUNNING_MAX: usize = 16;
/// How often other nodes hear that a probe still passes, at most.
const RETELL: Duration = Duration::from_secs(10);

/// Who wants to know of changes.
pub type OnChange = Box<dyn Fn(&Changed)>;

/// Makes a journey.
pub type Journey = Box<dyn Fn(Probe) -> Pin<Box<dyn Future<Output = Outcome>>>>;

/// Journeys as they are made for users.
pub fn real() -> Journey {
    Box::new(|probe| Box::pin(async move { run(&probe).await }))
}

/// What the driver works with.
pub struct Parts {
    /// Where everything is noted.
    pub board: Arc<Board>,
    /// Where journeys are counted, as events for objectives.
    pub history: History,
    /// Makes the journeys.
    pub journey: Journey,
    /// Told of each change of a verdict.
    pub on_change: OnChange,
    /// Whether the node leaves.
    pub left: Box<dyn Fn() -> bool>,
}

/// A journey that has ended.
struct Ended {
    probe: Probe,
    /// `None`: by a panic.
    outcome: Option<Outcome>,
}

/// Runs until the node leaves. A second driver of the same board does nothing.
pub async fn drive(parts: Parts) {
    let Some(mut asked) = parts.board.take_asked() else { return };
    let (done, mut ended) = mpsc::channel::<Ended>(RUNNING_MAX);
    let board = Arc::clone(&parts.board);
    let mut driver = Driver { parts, due: BTreeMap::new(), running: BTreeSet::new(), told: Moment::ZERO };
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut wanted = 0_usize;
    let (answer, mut answered) = mpsc::channel::<()>(RUNNING_MAX);
    loop {
        tokio::select! {
            Some(Ended { probe, outcome }) = ended.recv() => driver.note(&probe, outcome, board.now()),
            Some(asked) = asked.recv(), if wanted < RUNNING_MAX => {
                wanted += usize::from(driver.answer(asked, answer.clone()));
            }
            Some(()) = answered.recv() => wanted = wanted.saturating_sub(1),
            _tick = ticks.tick() => {
                if (driver.parts.left)() {
                    return;
                }
                driver.start_due(board.now(), &done);
                driver.judge(board.now());
            }
        }
    }
}

struct Driver {
    parts: Parts,
    /// When each probe is due next, with the probe as it was then.
    due: BTreeMap<String, Moment>,
    running: BTreeSet<String>,
    /// When the others were told last.
    told: Moment,
}

impl Driver {
    fn start_due(&mut self, now: Moment, done: &mpsc::Sender<Ended>) {
        let probes = self.parts.board.probes();
        self.due.retain(|name, _at| probes.iter().any(|probe| probe.name == *name));
        for probe in probes.iter() {
            let Some((index, count)) = self.parts.board.turn(probe) else { continue };
            let wait = || {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                now.after(vantage::wait(wall, probe.interval, phase(probe), index, count))
            };
            let due = self.due.entry(probe.name.clone()).or_insert(now);
            // An interval that has become shorter holds at once.
            *due = (*due).min(now.after(probe.interval.saturating_mul(2)));
            if now < *due || self.running.len() >= RUNNING_MAX || self.running.contains(&probe.name) {
                continue;
            }
            *due = wait();
            self.running.insert(probe.name.clone());
            let (probe, done) = (probe.clone(), done.clone());
            let journey = (self.parts.journey)(probe.clone());
            spawn_local(Kind::Probe, async move {
                let outcome = apart(Kind::Probe, journey).await;
                // The driver is gone only if the node leaves.
                let _told = done.send(Ended { probe, outcome }).await;
            });
        }
    }

    fn note(&mut self, probe: &Probe, outcome: Option<Outcome>, now: Moment) {
        self.running.remove(&probe.name);
        let Some(outcome) = outcome else {
            tracing::error!(probe = probe.name, "a probe's journey ended by a panic and counts for nothing");
            return;
        };
        let took = outcome.took;
        if let Some(reason) = outcome.reason() {
            tracing::debug!(probe = probe.name, reason, "a probe failed");
        }
        if let Some(is_good) = self.parts.board.note(probe, outcome, now) {
            let series = Series::new(history::Kind::Probe, &probe.name);
            self.parts.history.add(&series, &event(is_good, took));
        }
        self.judge(now);
    }

    fn judge(&mut self, now: Moment) {
        let changed = self.parts.board.judge(now);
        changed.iter().for_each(|changed| (self.parts.on_change)(changed));
        if !changed.is_empty() || now.since(self.told) >= RETELL || self.told == Moment::ZERO {
            self.told = now;
            self.parts.board.tell();
        }
    }

    /// Makes a journey for somebody. Answers whether it has begun.
    fn answer(&self, asked: Asked, ended: mpsc::Sender<()>) -> bool {
        let probes = self.parts.board.probes();
        // Who asks has looked; it may have gone since, and then the answer is that there is none.
        let Some(probe) = probes.iter().find(|probe| probe.name == asked.name).cloned() else { return false };
        let journey = (self.parts.journey)(probe);
        spawn_local(Kind::Probe, async move {
            if let Some(outcome) = apart(Kind::Probe, journey).await {
                // Who asked may have given up.
                let _told = asked.answer.send(outcome);
            }
            let _counted = ended.send(()).await;
        });
        true
    }
}

/// What an objective counts. A bad one has taken longer than any bound, so that it is bad for latency too.
fn event(is_good: bool, took: Duration) -> Counts {
    let mut buckets = [0; BUCKET_COUNT];
    let slowest = BUCKET_COUNT - 1;
    let bucket = BUCKETS.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(slowest);
    if let Some(count) = buckets.get_mut(if is_good { bucket } else { slowest }) {
        *count = 1;
    }
    Counts { requests: 1, errors: u64::from(!is_good), buckets, ..Counts::default() }
}
