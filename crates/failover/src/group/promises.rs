//! What a member has promised a primary that asks it directly. It is written down before it is answered, since a member that
//! is restarted has to keep it as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::database::Plan;
use mainstay_core::database::failsafe::{Answer, PROMISE_MAX, Promises, Question};
use mainstay_runtime::clock::Boottime;
use serde::{Deserialize, Serialize};

use crate::folder::Folder;

/// A member's promises. The driver of its server and whoever answers other nodes have the same one.
#[derive(Debug)]
pub struct Vows {
    /// Where they are written; `None`: a restart forgets them.
    file: Option<PathBuf>,
    clock: Boottime,
    guard: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    promises: Promises,
    /// What stands in the file.
    written: Option<Written>,
}

/// A promise, wherever it began: after a restart it is counted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    term: u64,
    for_ms: u64,
}

impl Vows {
    /// Those that stand in `file`. `guard` is how much longer a promise is kept than the time that it was asked for.
    pub fn open(file: Option<PathBuf>, guard: Duration, clock: Boottime) -> Self {
        let found = file.as_deref().and_then(|file| fs::read(file).ok());
        // What cannot be read is some promise.
        let unknown = Written { term: 0, for_ms: u64::try_from(PROMISE_MAX.as_millis()).unwrap_or(u64::MAX) };
        let written = found.map(|bytes| serde_json::from_slice(&bytes).unwrap_or(unknown));
        let remembered = |it: Written| {
            let until = clock.now().after(Duration::from_millis(it.for_ms).saturating_add(guard));
            Promises::remembered(it.term, until)
        };
        let state = State { promises: written.map(remembered).unwrap_or_default(), written };
        Self { file, clock, guard, state: Mutex::new(state) }
    }

    /// Answers a primary, with a promise that is on the disk by then.
    pub fn answer(&self, question: &Question) -> Answer {
        let mut state = self.lock();
        let promise = Written { term: question.term, for_ms: question.for_ms };
        if !state.promises.would_promise(question) {
            return Answer::AnotherPlan;
        }
        if state.written != Some(promise) {
            if let Some(file) = &self.file
                && let Err(error) = write(file, &promise)
            {
                tracing::warn!(%error, group = question.group, "databases: a promise cannot be written, and is not given");
                return Answer::AnotherPlan;
            }
            state.written = Some(promise);
        }
        state.promises.answer(question, self.guard, self.clock.now())
    }

    /// Whether this plan may be gone by now; from then on it is.
    pub(super) fn admits(&self, plan: &Plan) -> bool {
        let now = self.clock.now();
        let mut state = self.lock();
        let is_admitted = state.promises.admits(plan, now);
        if is_admitted && state.promises.held_until(now).is_none() && state.written.take().is_some() {
            // What is left of it would only make the next start slow.
            let _stays = self.file.as_ref().map(fs::remove_file);
        }
        is_admitted
    }

    // Each change is one call of the machine.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(file: &Path, promise: &Written) -> Result<(), String> {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Err("there is no place for it".to_owned());
    };
    let bytes = serde_json::to_vec(promise).map_err(|error| error.to_string())?;
    Folder { path: folder, user: None }.write(name, &bytes).map_err(|error| super::words::describe_error(&error))
}

#[cfg(test)]
mod tests {
    use mainstay_core::database::Phase;

    use super::*;

    const GUARD: Duration = Duration::from_millis(200);

    fn plan(term: u64) -> Plan {
        Plan { term, phase: Phase::Serving { primary: "a".to_owned() }, ..Plan::default() }
    }

    #[test]
    fn a_promise_outlives_a_restart_and_is_not_given_if_it_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, clock) = (folder.path().join("promise"), Boottime::leaping());
        let question = Question { group: "orders".to_owned(), primary: "a".to_owned(), term: 3, for_ms: 2600 };
        let vows = Vows::open(Some(file.clone()), GUARD, clock.clone());
        assert_eq!(vows.answer(&question), Answer::AnotherPlan);
        assert!(!file.exists() && vows.admits(&plan(3)));
        assert_eq!(vows.answer(&question), Answer::Promised);
        assert!(!vows.admits(&plan(4)));
        // The process is killed, and comes back.
        drop(vows);
        clock.leap(2500);
        let vows = Vows::open(Some(file.clone()), GUARD, clock.clone());
        assert_eq!(vows.answer(&question), Answer::AnotherPlan, "it has read no plan yet");
        clock.leap(2700);
        assert!(!vows.admits(&plan(4)), "it does not know when the promise was given");
        clock.leap(101);
        assert!(vows.admits(&plan(4)) && !file.exists());
        // A file that says something else is a promise about any term.
        fs::write(&file, "{").unwrap();
        let vows = Vows::open(Some(file), GUARD, clock.clone());
        assert!(!vows.admits(&plan(1)));
        clock.leap(61_000);
        assert!(vows.admits(&plan(4)));
        let nowhere = Vows::open(Some(folder.path().join("none/promise")), GUARD, clock);
        assert!(nowhere.admits(&plan(3)));
        assert_eq!(nowhere.answer(&question), Answer::AnotherPlan);
        assert!(nowhere.admits(&plan(4)), "what was not answered holds nothing");
    }
}
