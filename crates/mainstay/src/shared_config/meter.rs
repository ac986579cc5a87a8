//! What clients of this node see before and after a change, from the routes' counters.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mainstay_cluster::config::SUBJECTS_MAX;
use mainstay_core::release::judge::ALL;
use mainstay_core::release::{Sample, Subject};
use mainstay_gateway::state::State;

use crate::admin::sampler::{Totals, quantile};

/// How far back "before" reaches.
const WINDOW: Duration = Duration::from_secs(60);
/// Between two notes.
const INTERVAL: Duration = Duration::from_secs(5);
const NOTES_MAX: usize = 13;

/// Counters by route.
type Note = HashMap<String, Totals>;

/// The meter of one gateway.
pub(super) struct Meter {
    gateway: Arc<mainstay_gateway::Gateway>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// The oldest first.
    recent: VecDeque<(Instant, Note)>,
    /// What went on in the window before the change.
    before: Vec<Subject>,
    /// The counters when the change was there.
    start: Note,
}

impl Meter {
    pub(super) fn new(gateway: Arc<mainstay_gateway::Gateway>) -> Self {
        Self { gateway, notes: Mutex::default() }
    }

    /// Notes the counters from time to time, for ever.
    pub(super) async fn run(&self) -> Infallible {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (now, note) = (Instant::now(), take(&self.gateway.state()));
            let mut notes = self.lock();
            let is_old = |(at, _note): &(Instant, Note)| now.saturating_duration_since(*at) > WINDOW;
            while notes.recent.len() >= NOTES_MAX || notes.recent.front().is_some_and(is_old) {
                notes.recent.pop_front();
            }
            notes.recent.push_back((now, note));
        }
    }

    /// Requests a second of late.
    pub(super) fn rate(&self) -> f64 {
        let now = take(&self.gateway.state());
        let notes = self.lock();
        let Some((at, then)) = notes.recent.front() else { return 0.0 };
        let added = subjects(&now, then);
        let requests = added.first().map_or(0, |all| all.sample.requests);
        requests as f64 / at.elapsed().as_secs_f64().max(1.0)
    }

    pub(super) fn change_comes(&self) {
        let now = take(&self.gateway.state());
        let mut notes = self.lock();
        let then = notes.recent.front().map(|(_at, note)| note);
        notes.before = then.map(|then| subjects(&now, then)).unwrap_or_default();
    }

    pub(super) fn change_is_there(&self) {
        let now = take(&self.gateway.state());
        self.lock().start = now;
    }

    /// What was before the change, and what is since it is there.
    pub(super) fn seen(&self) -> (Vec<Subject>, Vec<Subject>) {
        let now = take(&self.gateway.state());
        let notes = self.lock();
        (notes.before.clone(), subjects(&now, &notes.start))
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        // A poisoned lock only says that its holder panicked: notes are replaced whole.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(state: &State) -> Note {
    state.routes.iter().map(|route| (route.spec.name.clone(), Totals::of_route(route))).collect()
}

/// What was added since `then`: all routes together first, then those with the most requests.
fn subjects(now: &Note, then: &Note) -> Vec<Subject> {
    let added =
        |(name, totals): (&String, &Totals)| (name.clone(), totals.since(&then.get(name).copied().unwrap_or_default()));
    let mut routes: Vec<(String, Totals)> = now.iter().map(added).filter(|(_name, added)| added.finished > 0).collect();
    let mut all = Totals::default();
    for (_name, added) in &routes {
        all.finished += added.finished;
        all.failed += added.failed;
        all.buckets.iter_mut().zip(added.buckets).for_each(|(sum, count)| *sum += count);
    }
    routes.sort_by(|(one, left), (other, right)| right.finished.cmp(&left.finished).then_with(|| one.cmp(other)));
    routes.truncate(SUBJECTS_MAX);
    let subject = |(name, totals): (String, Totals)| Subject { name, sample: sample(&totals) };
    std::iter::once((ALL.to_owned(), all)).chain(routes).map(subject).collect()
}

fn sample(totals: &Totals) -> Sample {
    let duration = |q| quantile(&totals.buckets, q).unwrap_or_default();
    Sample { requests: totals.finished, failures: totals.failed, p50: duration(0.5), p99: duration(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_told_by_route_and_for_all_together() {
        let totals = |finished, failed| Totals { finished, failed, ..Totals::default() };
        let note = |routes: &[(&str, Totals)]| routes.iter().map(|(name, it)| ((*name).to_owned(), *it)).collect();
        let then: Note = note(&[("a", totals(100, 0)), ("b", totals(50, 10)), ("gone", totals(9, 9))]);
        let now: Note =
            note(&[("a", totals(110, 0)), ("b", totals(90, 30)), ("new", totals(5, 5)), ("idle", totals(0, 0))]);
        let added = subjects(&now, &then);
        let shown: Vec<_> = added.iter().map(|it| (it.name.as_str(), it.sample.requests, it.sample.failures)).collect();
        assert_eq!(shown, [("", 55, 25), ("b", 40, 20), ("a", 10, 0), ("new", 5, 5)]);
    }
}
