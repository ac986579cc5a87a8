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
        let Some(folder) = folder.map(Path::to_owned) else { return };
        {
            let mut inner = lock(&self.0);
            if inner.is_running || inner.due.is_some_and(|due| now < due) {
                return;
            }
            inner.is_running = true;
        }
        let (inner, again) = (Arc::clone(&self.0), Arc::clone(&self.0));
        let work = move || {
            let known = compute(&folder);
            let took = now.elapsed();
            let mut inner = lock(&inner);
            match known {
                Ok(known) => inner.known = Arc::new(known),
                // What is amiss with the folder is said by who writes to it.
                Err(error) => tracing::debug!(%error, "the ledger's sums are not known"),
            }
            (inner.due, inner.is_running) = (Some(Instant::now() + PAUSE.max(took * PAUSES)), false);
        };
        if thread::spawn_blocking_thread("ledger-sums", work).is_err() {
            let mut inner = lock(&again);
            (inner.due, inner.is_running) = (Some(now + PAUSE), false);
        }
    }
}

fn compute(folder: &Path) -> Result<Known, report::ReportError> {
    let (all, recovery) = report::of_all(folder, SPAN_SECONDS * 1000)?;
    let sum = |(about, figures): (Subject, Figures)| {
        let kind = match &about {
            Subject::Service { .. } => "service",
            Subject::Probe { .. } => "probe",
            _other => return None,
        };
        Some(Sum { kind, name: about.name().to_owned(), figures })
    };
    let mut sums: Vec<Sum> = all.into_iter().filter_map(sum).collect();
    sums.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    sums.truncate(SUBJECTS_MAX);
    Ok(Known { sums, recovery: (recovery.failovers > 0).then_some(recovery) })
}
