//! What is known of probes: what came of them on this node, what the others say, and what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::random;
use mainstay_core::time::Moment;
use mainstay_core::vantage::{self, Finding, Policy, Verdict, View};
use mainstay_runtime::clock::Clock;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Outcome, PROBES_MAX, Probe};
use crate::alerts::clock;

/// Runs that somebody asked for and that wait, at most.
const ASKED_MAX: usize = 8;
/// Bytes of a reason that other nodes are told.
const TOLD_BYTES_MAX: usize = 120;
/// News of others take this long at most: a view counts as fresh for two intervals and a timeout, and this.
const SLACK: Duration = Duration::from_secs(20);

/// What a node tells the others of its probes, by their names.
pub type Report = BTreeMap<String, Told>;

/// What it tells of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Counts its journeys.
    pub run: u64,
    /// Whether the last one passed.
    pub passed: bool,
    /// Why not.
    #[serde(default)]
    pub why: String,
}

/// A journey that somebody asks for now.
#[derive(Debug)]
pub struct Asked {
    /// Which.
    pub name: String,
    /// Who waits for what comes of it.
    pub answer: oneshot::Sender<Outcome>,
}

/// A probe and how it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The probe.
    pub probe: Probe,
    /// What its nodes say together.
    pub verdict: Verdict,
    /// Since when, in milliseconds since 1970; `None` if it was never anything else.
    pub since: Option<u64>,
    /// Where it fails, and why.
    pub failing: Vec<(String, String)>,
    /// Nodes whose view is fresh.
    pub fresh: usize,
    /// Nodes that should have one.
    pub expected: usize,
    /// What came of it here last, and when, in milliseconds since 1970.
    pub last: Option<(Arc<Outcome>, u64)>,
    /// Journeys of this node that passed.
    pub passed: u64,
    /// And that failed.
    pub failed: u64,
}

/// A change of a probe's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The probe.
    pub name: String,
    /// What it was.
    pub from: Verdict,
    /// What it is; `None` if there is no such probe any more.
    pub to: Option<Verdict>,
    /// Where it fails, and why.
    pub cause: String,
}

/// All that is known; shared by the threads that run probes, exchange views, and answer questions.
#[derive(Debug)]
pub struct Board {
    node: String,
    /// Of all moments here: those of two clocks cannot be compared.
    clock: Clock,
    state: Mutex<State>,
    asking: mpsc::Sender<Asked>,
    asked: Mutex<Option<mpsc::Receiver<Asked>>>,
    report: watch::Sender<Report>,
}

#[derive(Debug, Default)]
struct State {
    probes: Arc<[Probe]>,
    known: BTreeMap<String, Known>,
    /// Of each other node that is there: what it said last of which probe, and when that was news.
    others: BTreeMap<String, BTreeMap<String, (Told, Moment)>>,
    /// The cluster is out of reach: nobody's view but the own one is known, and that is worth nothing alone.
    cut_off: bool,
}

#[derive(Debug, Default)]
struct Known {
    told: Option<(Told, Moment)>,
    last: Option<(Arc<Outcome>, u64)>,
    passed: u64,
    failed: u64,
    verdict: Verdict,
    since: Option<u64>,
}

impl Board {
    /// A board without views. `node` is this node; in a cluster (`is_shared`) nothing is judged before the cluster is heard.
    pub fn new(node: &str, probes: &[Probe], is_shared: bool) -> Self {
        let (asking, asked) = mpsc::channel(ASKED_MAX);
        let state = State { probes: probes.into(), cut_off: is_shared, ..State::default() };
        Self {
            node: node.to_owned(),
            clock: Clock::new(),
            state: Mutex::new(state),
            asking,
            asked: Mutex::new(Some(asked)),
            report: watch::Sender::default(),
        }
    }

    /// The probes of the configuration.
    pub fn probes(&self) -> Arc<[Probe]> {
        Arc::clone(&self.lock().probes)
    }

    /// Takes the probes of another configuration. What is known of one that has changed is forgotten, but not its verdict.
    pub fn adopt(&self, probes: &[Probe]) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.probes, probes.into());
        for probe in probes.iter().filter(|probe| !before.contains(probe)) {
            if let Some(known) = state.known.get_mut(&probe.name) {
                (known.told, known.last) = (None, None);
            }
        }
    }

    /// Asks for a journey now; it counts for nothing.
    ///
    /// # Errors
    /// If too many others have asked as well, or nobody runs probes.
    pub fn ask(&self, name: &str) -> Result<oneshot::Receiver<Outcome>, String> {
        let (answer, answered) = oneshot::channel();
        let asked = self.asking.try_send(Asked { name: name.to_owned(), answer });
        asked.map(|()| answered).map_err(|_full_or_closed| "too many runs are asked for already".to_owned())
    }

    pub(super) fn take_asked(&self) -> Option<mpsc::Receiver<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes what came of a journey of this node, and answers whether it is a good event for objectives.
    pub(super) fn note(&self, probe: &Probe, outcome: Outcome, now: Moment) -> Option<bool> {
        let mut state = self.lock();
        if !state.probes.contains(probe) {
            return None;
        }
        let known = state.known.entry(probe.name.clone()).or_default();
        let passed = outcome.passed();
        *(if passed { &mut known.passed } else { &mut known.failed }) += 1;
        let mut why = outcome.reason().unwrap_or_default();
        why.truncate(why.floor_char_boundary(TOLD_BYTES_MAX));
        let run = known.told.as_ref().map_or(0, |(told, _at)| told.run) + 1;
        known.told = Some((Told { run, passed, why }, now));
        known.last = Some((Arc::new(outcome), clock::now()));
        state.find(&self.node, probe, now).verdict.event(passed)
    }

    /// Judges all probes anew.
    pub(super) fn judge(&self, now: Moment) -> Vec<Changed> {
        let mut state = self.lock();
        let probes = Arc::clone(&state.probes);
        let mut changed = Vec::new();
        for probe in probes.iter() {
            let finding = state.find(&self.node, probe, now);
            let causes = state.reasons(&self.node, probe, &finding);
            let known = state.known.entry(probe.name.clone()).or_default();
            if known.verdict != finding.verdict {
                let from = std::mem::replace(&mut known.verdict, finding.verdict);
                known.since = Some(clock::now());
                let (name, to, cause) = (probe.name.clone(), Some(finding.verdict), cause(&causes));
                changed.push(Changed { name, from, to, cause });
            }
        }
        let gone: Vec<String> =
            state.known.keys().filter(|name| !probes.iter().any(|probe| probe.name == **name)).cloned().collect();
        for name in gone {
            if let Some(Known { verdict: from @ (Verdict::Up | Verdict::Degraded | Verdict::Down), .. }) =
                state.known.remove(&name)
            {
                changed.push(Changed { name, from, to: None, cause: "no longer configured".to_owned() });
            }
        }
        changed
    }

    /// What the other nodes are to be told, from now on.
    pub(super) fn tell(&self) -> Report {
        let state = self.lock();
        let told = |(name, known): (&String, &Known)| Some((name.clone(), known.told.as_ref()?.0.clone()));
        let report: Report = state.known.iter().filter_map(told).collect();
        drop(state);
        self.report.send_if_modified(|before| {
            let is_news = *before != report;
            before.clone_from(&report);
            is_news
        });
        report
    }

    pub(super) fn reports(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Notes what the nodes that are there say; `all` may have this one among them.
    pub(super) fn hear(&self, all: BTreeMap<String, Report>, now: Moment) {
        let mut state = self.lock();
        state.cut_off = false;
        let mut before = std::mem::take(&mut state.others);
        for (node, report) in all.into_iter().filter(|(node, _report)| *node != self.node) {
            let mut known = before.remove(&node).unwrap_or_default();
            let news = report.into_iter().take(PROBES_MAX).map(|(name, told)| {
                let at = known.remove(&name).filter(|(before, _at)| *before == told).map_or(now, |(_told, at)| at);
                (name, (told, at))
            });
            state.others.insert(node, news.collect());
        }
    }

    /// Notes whether the cluster is out of reach.
    pub(super) fn set_cut_off(&self, cut_off: bool) {
        self.lock().cut_off = cut_off;
    }

    /// This node's number among those that make a probe, and how many these are; `None` if it is not one of them.
    pub(super) fn turn(&self, probe: &Probe) -> Option<(usize, usize)> {
        let state = self.lock();
        let makers = state.makers(&self.node, probe);
        let index = makers.iter().position(|node| *node == self.node)?;
        Some((index, makers.len()))
    }

    /// How all probes stand.
    pub fn standings(&self) -> Vec<Standing> {
        let state = self.lock();
        let standing = |probe: &Probe| {
            let known = state.known.get(&probe.name);
            let failing = state.failing(&self.node, probe);
            Standing {
                verdict: known.map(|known| known.verdict).unwrap_or_default(),
                since: known.and_then(|known| known.since),
                fresh: state.views(&self.node, probe).len(),
                expected: state.makers(&self.node, probe).len(),
                last: known.and_then(|known| known.last.clone()),
                passed: known.map_or(0, |known| known.passed),
                failed: known.map_or(0, |known| known.failed),
                failing,
                probe: probe.clone(),
            }
        };
        state.probes.iter().map(standing).collect()
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The nodes that are there and make a probe, in order.
    fn makers(&self, own: &str, probe: &Probe) -> BTreeSet<String> {
        let all = self.others.keys().map(String::as_str).chain([own]);
        all.filter(|node| probe.is_made_by(node)).map(str::to_owned).collect()
    }

    fn told<'s>(&'s self, own: &str, node: &str, probe: &str) -> Option<&'s (Told, Moment)> {
        if node == own {
            return self.known.get(probe)?.told.as_ref();
        }
        self.others.get(node)?.get(probe)
    }

    fn views(&self, own: &str, probe: &Probe) -> BTreeMap<String, View> {
        let view = |node: String| {
            let (told, heard) = self.told(own, &node, &probe.name)?;
            Some((node, View { passed: told.passed, heard: *heard }))
        };
        self.makers(own, probe).into_iter().filter_map(view).collect()
    }

    fn find(&self, own: &str, probe: &Probe, now: Moment) -> Finding<String> {
        if self.cut_off {
            return Finding { verdict: Verdict::Unknown, failing: Vec::new(), fresh: 0 };
        }
        let expected = self.makers(own, probe).len();
        let fresh = probe.interval.saturating_mul(2) + probe.timeout + SLACK;
        vantage::judge(&Policy { fresh, expected }, now, &self.views(own, probe))
    }

    fn reasons(&self, own: &str, probe: &Probe, finding: &Finding<String>) -> Vec<(String, String)> {
        let why = |node: &String| {
            let told = self.told(own, node, &probe.name);
            (node.clone(), told.map(|(told, _at)| told.why.clone()).unwrap_or_default())
        };
        finding.failing.iter().map(why).collect()
    }

    /// Where it fails by all views, old ones included: for people.
    fn failing(&self, own: &str, probe: &Probe) -> Vec<(String, String)> {
        let views = self.views(own, probe);
        let failing = views.iter().filter(|(_node, view)| !view.passed).map(|(node, _view)| node.clone()).collect();
        self.reasons(own, probe, &Finding { verdict: Verdict::Unknown, failing, fresh: 0 })
    }
}

fn cause(failing: &[(String, String)]) -> String {
    let Some((node, why)) = failing.first() else { return String::new() };
    let others = failing.len() - 1;
    let more = if others > 0 { format!(" and {others} more") } else { String::new() };
    format!("{why} (from {node}{more})")
}

/// A number of a probe, the same on all nodes, so that not all probes are run at once.
pub(super) fn phase(probe: &Probe) -> u64 {
    random::hash(probe.name.as_bytes())
}
