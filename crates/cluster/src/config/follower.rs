//! What every node does about the shared configuration: check, vote, apply, report.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::backoff;
use mainstay_core::random::Rng;
use mainstay_core::release::{Stage, Version, Vote};
use mainstay_core::time::Moment;
use mainstay_runtime::clock::Clock;
use mainstay_runtime::thread;
use tokio::sync::{oneshot, watch};

use super::record::{self, Record, Report};
use super::view::{self, Feed, View};
use super::{Host, Kept, REASON_CHARS_MAX, REASONS_MAX, SUBJECTS_MAX};
use crate::coordinator::{Compare, Coordinator, Error, Operation, Revision, Transaction};

/// While a canary bakes, nodes say this often what their clients see.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// What could not be applied is tried again after this time, though nothing has changed in the store.
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// Between attempts to reach the coordinator.
pub(super) const BACKOFF: backoff::Policy =
    backoff::Policy { base: Duration::from_millis(100), cap: Duration::from_secs(2) };

/// The follower of one node. [`Follower::run`] does not end by itself.
pub struct Follower {
    store: Arc<dyn Coordinator>,
    host: Arc<dyn Host>,
    node: String,
    /// Where the last version is kept; `None`: nowhere.
    kept_at: Option<PathBuf>,
    clock: Clock,
    rng: Rng,
    seen: watch::Sender<Option<View>>,
    serves: Version,
    /// Its text, if it came from the coordinator since this node has started.
    text: Option<Arc<str>>,
    /// The version on disk.
    kept: Version,
    /// The highest number of a release that was obeyed.
    obeyed: u64,
    /// The version that this node has voted on.
    voted: Version,
    failure: Option<Failure>,
    /// How far this node has measured the release that goes on.
    measured: (Version, Phase),
    reported: Option<(Report, Moment)>,
}

/// What could not be applied.
struct Failure {
    version: Version,
    reason: String,
    at: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Unmeasured,
    Coming,
    There,
}

impl Follower {
    /// The follower of `node`, which serves version `serves` already: what it found in `kept_at`, or 0.
    pub fn new(
        store: Arc<dyn Coordinator>,
        host: Arc<dyn Host>,
        node: &str,
        kept_at: Option<PathBuf>,
        serves: Version,
        seed: u64,
    ) -> Self {
        Self {
            store,
            host,
            node: node.to_owned(),
            kept_at,
            clock: Clock::new(),
            rng: Rng::seeded(seed),
            seen: watch::Sender::new(None),
            serves,
            text: None,
            kept: serves,
            obeyed: 0,
            voted: 0,
            failure: None,
            measured: (0, Phase::Unmeasured),
            reported: None,
        }
    }

    /// What the node knows, as it changes; `None` until it has reached the coordinator once.
    pub fn seen(&self) -> watch::Receiver<Option<View>> {
        self.seen.subscribe()
    }

    /// Follows for ever.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            let error = match self.follow(&mut failures).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            tracing::debug!(%error, "the shared configuration is not followed for a moment");
            tokio::time::sleep(backoff::delay(&BACKOFF, failures, &mut self.rng)).await;
            failures = failures.saturating_add(1);
        }
    }

    async fn follow(&mut self, failures: &mut u32) -> Result<Infallible, Error> {
        let mut feed = Feed::open(&self.store).await?;
        loop {
            let view = feed.view().clone();
            self.seen.send_replace(Some(view.clone()));
            let again = self.act(&view).await?;
            *failures = 0;
            tokio::select! {
                changed = feed.next() => changed?,
                () = self.clock.sleep_until(again) => {}
            }
        }
    }

    /// Does what the view asks for, and says when to look again though nothing changes.
    async fn act(&mut self, view: &View) -> Result<Moment, Error> {
        let record = view.record.as_ref();
        if let Some((_revision, record)) = record {
            if record.release.number < self.obeyed {
                tracing::warn!(
                    number = record.release.number,
                    obeyed = self.obeyed,
                    "an older plan of a configuration's release is not obeyed"
                );
                return Ok(Moment::NEVER);
            }
            self.obeyed = record.release.number;
            self.measure(record);
        }
        if let Some((revision, record)) = record {
            self.vote(*revision, record).await?;
        }
        let mut again = Moment::NEVER;
        if let Some(wanted) = view.wanted(&self.node) {
            again = self.serve(wanted).await?;
            self.keep(view).await;
        }
        Ok(self.report(record.map(|(_revision, record)| record)).await?.min(again))
    }

    /// Whether this node could serve the version, said once for each version.
    async fn vote(&mut self, revision: Revision, record: &Record) -> Result<(), Error> {
        let version = record.release.version;
        if record.release.stage != Stage::Validating || self.voted == version {
            return Ok(());
        }
        let vote = match view::text(&self.store, version).await? {
            None => Vote::Veto(vec!["its text is not in the coordinator".to_owned()]),
            Some(text) => match self.host.check(text).await {
                Ok(()) => Vote::Accept,
                Err(reasons) => Vote::Veto(bounded(reasons)),
            },
        };
        match &vote {
            Vote::Accept => tracing::info!(version, "this node could serve the cluster's new configuration"),
            Vote::Veto(reasons) => {
                tracing::warn!(
                    version,
                    reasons = reasons.join(" | "),
                    "this node vetoes the cluster's new configuration"
                );
            }
        }
        let report = self.present(Some(record));
        let operations = [
            Operation::put(record::vote_key(version, &self.node), record::encode(&vote), None),
            Operation::put(record::report_key(&self.node), record::encode(&report), None),
        ];
        // A vote that comes after its release is over would stay for ever.
        let unchanged = [Compare::modified(record::RELEASE, revision)];
        if view::within(self.store.transact(Transaction::when(unchanged, operations))).await?.succeeded {
            self.voted = version;
            self.reported = Some((report, self.clock.now()));
        }
        Ok(())
    }

    fn measure(&mut self, record: &Record) {
        let (version, stage) = (record.release.version, &record.release.stage);
        if self.measured.0 != version {
            self.measured = (version, Phase::Unmeasured);
        }
        let phase = match stage {
            Stage::Canary { .. } => Phase::Coming,
            Stage::Baking { .. } => Phase::There,
            Stage::Validating
            | Stage::Spreading { .. }
            | Stage::RollingBack { .. }
            | Stage::Done { .. }
            | Stage::Vetoed { .. }
            | Stage::RolledBack { .. } => return,
        };
        if self.measured.1 < Phase::Coming {
            self.host.change_comes();
        }
        if self.measured.1 < phase && phase == Phase::There {
            self.host.change_is_there();
        }
        self.measured.1 = self.measured.1.max(phase);
    }

    async fn serve(&mut self, wanted: Version) -> Result<Moment, Error> {
        if wanted == self.serves {
            self.failure = None;
            return Ok(Moment::NEVER);
        }
        let now = self.clock.now();
        if let Some(failure) = &self.failure
            && failure.version == wanted
            && now.since(failure.at) < RETRY_EVERY
        {
            return Ok(failure.at.after(RETRY_EVERY));
        }
        let text = match wanted {
            0 => None,
            version => match view::text(&self.store, version).await? {
                Some(text) => Some(text),
                None => return Ok(self.failed(wanted, "its text is not in the coordinator".to_owned())),
            },
        };
        match self.host.apply(wanted, text.clone()).await {
            Ok(()) => {
                tracing::info!(version = wanted, before = self.serves, "the cluster's configuration is served");
                self.serves = wanted;
                self.text = text;
                self.failure = None;
                Ok(Moment::NEVER)
            }
            Err(reason) => Ok(self.failed(wanted, reason)),
        }
    }

    fn failed(&mut self, version: Version, reason: String) -> Moment {
        tracing::error!(version, serves = self.serves, reason, "the cluster's configuration cannot be applied here");
        let at = self.clock.now();
        self.failure = Some(Failure { version, reason: record::clipped(&reason, REASON_CHARS_MAX), at });
        at.after(RETRY_EVERY)
    }

    /// Keeps what is served on disk, unless it is on trial. A disk that does not take it costs nothing but that: it is tried
    /// again at the next change.
    async fn keep(&mut self, view: &View) {
        let on_trial = view.record.as_ref().is_some_and(|(_revision, record)| {
            let is_trial = matches!(record.release.stage, Stage::Canary { .. } | Stage::Baking { .. });
            is_trial && record.release.version == self.serves
        });
        let Some(path) = self.kept_at.clone().filter(|_path| self.kept != self.serves && !on_trial) else { return };
        let kept = self.text.clone().map(|text| Kept { version: self.serves, text });
        let (done, written) = oneshot::channel();
        // The disk may be slow, and this thread has leases to renew.
        let thread = thread::spawn_blocking_thread("config-write", move || {
            let result = kept.map_or_else(|| Kept::forget(&path), |kept| kept.write(&path));
            let _receiver_waits = done.send(result.map_err(|error| error.to_string()));
        });
        let result = match thread {
            Ok(_runs) => written.await.unwrap_or_else(|_gone| Err("the writing thread ended".to_owned())),
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(()) => self.kept = self.serves,
            Err(error) => {
                tracing::error!(error, version = self.serves, "the cluster's configuration is not kept on disk")
            }
        }
    }

    /// Says what this node serves and what its clients see, if that is news.
    async fn report(&mut self, record: Option<&Record>) -> Result<Moment, Error> {
        let now = self.clock.now();
        let is_baking = record.is_some_and(|record| matches!(record.release.stage, Stage::Baking { .. }));
        let report = self.present(record);
        let due = match &self.reported {
            None => true,
            Some((said, at)) => {
                let is_news =
                    (said.serves, said.about, &said.failure) != (report.serves, report.about, &report.failure);
                is_news || (is_baking && now.since(*at) >= REPORT_EVERY)
            }
        };
        if due {
            let put = Operation::put(record::report_key(&self.node), record::encode(&report), None);
            view::within(self.store.transact(Transaction::always([put]))).await?;
            self.reported = Some((report, now));
        }
        let last = self.reported.as_ref().map_or(now, |(_report, at)| *at);
        Ok(if is_baking { last.after(REPORT_EVERY) } else { Moment::NEVER })
    }

    fn present(&self, record: Option<&Record>) -> Report {
        let about = record.map_or(0, |record| record.release.version);
        let (mut before, mut since) =
            if self.measured == (about, Phase::There) { self.host.seen() } else { (Vec::new(), Vec::new()) };
        before.truncate(SUBJECTS_MAX + 1);
        since.truncate(SUBJECTS_MAX + 1);
        let failure = self.failure.as_ref().map(|failure| failure.reason.clone());
        Report { serves: self.serves, about, failure, rate: self.host.rate(), before, since }
    }
}

fn bounded(reasons: Vec<String>) -> Vec<String> {
    let more = reasons.len().saturating_sub(REASONS_MAX);
    let mut bounded: Vec<String> =
        reasons.iter().take(REASONS_MAX).map(|reason| record::clipped(reason, REASON_CHARS_MAX)).collect();
    if more > 0 {
        bounded.push(format!("and {more} more"));
    }
    bounded
}
