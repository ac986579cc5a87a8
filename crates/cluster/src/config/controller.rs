//! What the holder of the role `config` does: plans the release that goes on, and writes the plan down.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::backoff;
use mainstay_core::random::Rng;
use mainstay_core::release::{self, Node, Observation, Plan, Policy, Previous, Release, Stage, Traffic, Version};
use mainstay_core::time::Moment;
use mainstay_runtime::clock::Clock;
use tokio::sync::watch;

use super::follower::BACKOFF;
use super::record::{self, Current, Meta, Record};
use super::view::{Feed, View, within};
use crate::coordinator::{Compare, Coordinator, Error, Operation, Range, Revision, Transaction};

/// How long what was written may take to come back by the watch before it is looked at anew.
const ECHO_WITHIN: Duration = Duration::from_secs(2);
/// Characters of how a release ended, as its version remembers it.
const OUTCOME_CHARS_MAX: usize = 2000;

/// What shows that its holder has the role: the key and the revision that made it. A plan is written only while it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The role's key.
    pub key: String,
    /// The fencing token.
    pub created: Revision,
}

/// The controller of one node; it works while the node has the role. [`Controller::run`] does not end by itself.
pub struct Controller {
    store: Arc<dyn Coordinator>,
    policy: Policy,
    /// What the node holds the role by; `None` while another one has it.
    held: watch::Receiver<Option<Fence>>,
    clock: Clock,
    rng: Rng,
}

/// One term: from the role's gain to its loss.
struct Term<'c> {
    controller: &'c Controller,
    fence: Fence,
    rng: Rng,
    /// Whether a release that another node has planned before was taken over, or there was none.
    has_begun: bool,
    previous: Option<Previous>,
    /// When each node's report came, by the revision that wrote it.
    received: HashMap<String, (Revision, Moment)>,
}

impl Controller {
    /// A controller that works while `held` has something.
    pub fn new(store: Arc<dyn Coordinator>, policy: Policy, held: watch::Receiver<Option<Fence>>, seed: u64) -> Self {
        Self { store, policy, held, clock: Clock::new(), rng: Rng::seeded(seed) }
    }

    /// Works whenever the node has the role, until whoever gives it roles is gone.
    pub async fn run(mut self) {
        let mut held = self.held.clone();
        loop {
            let Some(fence) = held.borrow_and_update().clone() else {
                if held.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let rng = Rng::seeded(self.rng.next_u64());
            let received = HashMap::new();
            let mut term = Term { controller: &self, fence, rng, has_begun: false, previous: None, received };
            tokio::select! {
                changed = held.changed() => if changed.is_err() {
                    return;
                },
                never = term.work() => match never {},
            }
        }
    }
}

impl Term<'_> {
    /// Plans, over all failures of the coordinator.
    async fn work(&mut self) -> Infallible {
        let mut failures = 0;
        loop {
            if let Err(error) = self.follow(&mut failures).await {
                tracing::debug!(%error, "the shared configuration is not planned for a moment");
                tokio::time::sleep(backoff::delay(&BACKOFF, failures, &mut self.rng)).await;
                failures = failures.saturating_add(1);
            }
        }
    }

    /// Plans until a watch ends, or what was written does not come back by it.
    async fn follow(&mut self, failures: &mut u32) -> Result<(), Error> {
        let mut feed = Feed::open(&self.controller.store).await?;
        loop {
            let now = self.controller.clock.now();
            let mut again = Moment::NEVER;
            if let Some((revision, record)) = feed.view().record.clone() {
                let plan = self.plan(now, feed.view(), &record);
                if plan.release == record.release {
                    again = plan.deadline.unwrap_or(Moment::NEVER);
                    self.previous = Some(Previous { release: plan.release, since: plan.since });
                } else {
                    let is_written = self.write(revision, &record, &plan).await?;
                    if is_written {
                        self.has_begun = true;
                        self.previous = Some(Previous { release: plan.release.clone(), since: plan.since });
                    }
                    if !self.echo(&mut feed, revision).await? {
                        return Ok(());
                    }
                    continue;
                }
            }
            *failures = 0;
            // A release that begins from here on is this term's own.
            self.has_begun = true;
            tokio::select! {
                changed = feed.next() => changed?,
                () = self.controller.clock.sleep_until(again) => {}
            }
        }
    }

    /// Waits until the feed shows a release that was written after `revision`.
    async fn echo(&self, feed: &mut Feed, revision: Revision) -> Result<bool, Error> {
        let until = self.controller.clock.now().after(ECHO_WITHIN);
        while feed.view().record.as_ref().is_some_and(|(seen, _record)| *seen <= revision) {
            tokio::select! {
                changed = feed.next() => changed?,
                () = self.controller.clock.sleep_until(until) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn plan(&mut self, now: Moment, view: &View, record: &Record) -> Plan {
        let release = &record.release;
        let same = self.previous.clone().filter(|previous| previous.release == *release);
        let previous = match same {
            Some(previous) => previous,
            None if !self.has_begun && !release.stage.is_over() => {
                return Plan { release: release.taken_over(), since: now, deadline: Some(now) };
            }
            None => Previous { release: release.clone(), since: now },
        };
        let nodes = self.nodes(now, view, release);
        let abort = view.abort == Some(release.version);
        release::plan(&self.controller.policy, &Observation { now, nodes: &nodes, abort }, &previous)
    }

    fn nodes(&mut self, now: Moment, view: &View, release: &Release) -> Vec<Node> {
        self.received.retain(|node, _seen| view.reports.contains_key(node));
        let mut nodes = Vec::with_capacity(view.nodes.len());
        for name in &view.nodes {
            let mut node = Node { name: name.clone(), vote: view.votes.get(name).cloned(), ..Node::default() };
            if let Some((revision, report)) = view.reports.get(name) {
                let received = self.received.entry(name.clone()).or_insert((*revision, now));
                if received.0 != *revision {
                    *received = (*revision, now);
                }
                node.serves = Some(report.serves);
                node.rate = report.rate;
                let is_about_this = report.about == release.version;
                // What cannot be served is this version only if the node was told to serve it.
                if is_about_this && release.target(name) == release.version && report.serves != release.version {
                    node.failure = report.failure.clone();
                }
                if is_about_this && !report.since.is_empty() {
                    let (before, since) = (report.before.clone(), report.since.clone());
                    node.traffic = Some(Traffic { received: received.1, before, since });
                }
            }
            nodes.push(node);
        }
        nodes
    }

    /// Writes the plan down if the release is what it was made for and the role is still held; whether it was.
    async fn write(&self, revision: Revision, record: &Record, plan: &Plan) -> Result<bool, Error> {
        let release = &plan.release;
        let version = release.version;
        let next = Record { release: release.clone(), changed_unix_ms: record::unix_ms(), ..record.clone() };
        let mut operations = vec![Operation::put(record::RELEASE, record::encode(&next), None)];
        if release.stage.is_over() {
            if let Some(meta) = self.meta(version).await? {
                let outcome = Some(record::clipped(&release.stage.to_string(), OUTCOME_CHARS_MAX));
                let meta = record::encode(&Meta { outcome, ..meta });
                operations.push(Operation::put(record::version_key(version), meta, None));
            }
            operations.push(Operation::Delete(Range::prefix(record::votes_of(version))));
            operations.push(Operation::delete(record::ABORT));
        }
        if matches!(release.stage, Stage::Done { .. }) {
            operations.push(Operation::put(record::CURRENT, record::encode(&Current { version }), None));
        }
        let conditions = [
            Compare::created(self.fence.key.clone(), self.fence.created),
            Compare::modified(record::RELEASE, revision),
        ];
        let reply = within(self.controller.store.transact(Transaction::when(conditions, operations))).await?;
        if reply.succeeded {
            tracing::info!(version, stage = %release.stage, number = release.number, "release of a configuration");
        }
        Ok(reply.succeeded)
    }

    async fn meta(&self, version: Version) -> Result<Option<Meta>, Error> {
        let key = record::version_key(version);
        let entry = within(self.controller.store.get(&key)).await?;
        Ok(entry.and_then(|entry| record::decode(&entry.key, &entry.value)))
    }
}
