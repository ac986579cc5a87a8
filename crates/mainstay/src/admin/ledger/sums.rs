//! What the ledger says of all services and probes over 28 days, for the status and the metrics: computed now and then on a thread
//! of its own, since the ledger may be large.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_core::ledger::{Figures, Recovery};
use mainstay_core::transition::Subject;
use mainstay_observe::ledger::report;
use mainstay_runtime::thread;

use super::SPAN_SECONDS;
use crate::admin::lock;

/// Between two computations, at least; and so many times as long as one takes.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSES: u32 = 100;
/// Services and probes that are told of, at most.
const SUBJECTS_MAX: usize = 500;

/// How available something was.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// `service` or `probe`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Over 28 days, as this node saw it.
    pub figures: Figures,
}

/// What was computed last.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// By name.
    pub sums: Vec<Sum>,
    /// Failovers that this node carried out.
    pub recovery: Option<Recovery>,
}

/// What was computed last, and when it is due again.
#[derive(Debug, Default)]
pub struct Sums(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    known: Arc<Known>,
    due: Option<Instant>,
    is_running: bool,
}

impl Sums {
    /// What was computed last.
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&lock(&self.0).known)
    }

    /// Has it computed anew if that is due. Nobody waits for it.
    pub fn tick(&self, folder: Option<&Path>, now: Instant) {
        if let Some(folder) = folder.map(Path::to_owned) {
            self.tick_with(now, move || compute(&folder));
        }
    }

    fn tick_with(&self, now: Instant, work: impl FnOnce() -> Result<Known, report::ReportError> + Send + 'static) {
        {
            let mut inner = lock(&self.0);
            if inner.is_running || inner.due.is_some_and(|due| now < due) {
                return;
            }
            inner.is_running = true;
        }
        let turn = Turn { inner: Arc::clone(&self.0), began: now };
        let work = move || {
            let turn = turn;
            match work() {
                Ok(known) => lock(&turn.inner).known = Arc::new(known),
                // What is amiss with the folder is said by who writes to it.
                Err(error) => tracing::debug!(%error, "the ledger's sums are not known"),
            }
        };
        // A thread that the system refuses drops the turn, like one that ends.
        let _thread = thread::spawn_blocking_thread("ledger-sums", work);
    }
}

/// A computation. However it ends, by a panic too, another one is due later.
struct Turn {
    inner: Arc<Mutex<Inner>>,
    began: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let pause = PAUSE.max(self.began.elapsed().saturating_mul(PAUSES));
        let mut inner = lock(&self.inner);
        (inner.due, inner.is_running) = (Some(Instant::now() + pause), false);
    }
}

fn compute(folder: &Path) -> Result<Known, report::ReportError> {
    let (all, recovery) = report::of_all(folder, SPAN_SECONDS * 1000)?;
    let sum = |(about, figures): (Subject, Figures)| {
        let kind = match &about {
            Subject::Service { .. } => "service",
            Subject::Probe { .. } => "probe",
            Subject::Database { .. } => "database",
            _other => return None,
        };
        Some(Sum { kind, name: about.name().to_owned(), figures })
    };
    let mut sums: Vec<Sum> = all.into_iter().filter_map(sum).collect();
    sums.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    sums.truncate(SUBJECTS_MAX);
    Ok(Known { sums, recovery: (recovery.failovers > 0).then_some(recovery) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_computed_again_after_a_panic() {
        let sums = Sums::default();
        let began = Instant::now();
        sums.tick_with(began, || panic!("meant for the test"));
        let limit = began + Duration::from_secs(60);
        while lock(&sums.0).is_running && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
        let recovery = Some(Recovery::default());
        let known = Known { sums: Vec::new(), recovery };
        let later = Instant::now() + Duration::from_secs(86_400);
        sums.tick_with(later, move || Ok(known));
        while sums.known().recovery.is_none() && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(sums.known().recovery.is_some());
    }
}
