//! An old primary that lives and does not stop is ended from outside by an operator's command.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mainstay_core::database::Obstacle;
use mainstay_core::time::Moment;
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};

use crate::fence::stonith::Hook;

/// After the command has failed.
const PAUSE: Duration = Duration::from_secs(5);

/// The groups' commands, and what came of them.
#[derive(Default)]
pub(super) struct Fencing {
    hooks: BTreeMap<String, Hook>,
    under_way: BTreeMap<String, Case>,
}

/// One term's.
struct Case {
    term: u64,
    since: Moment,
    /// Who is off.
    off: Rc<RefCell<Option<String>>>,
    task: Option<AbortOnDrop>,
}

impl Fencing {
    pub(super) fn new(hooks: BTreeMap<String, Hook>) -> Self {
        Self { hooks, under_way: BTreeMap::new() }
    }

    /// Who was ended in this term.
    pub(super) fn off(&self, group: &str, term: u64) -> Option<String> {
        self.under_way.get(group).filter(|case| case.term == term)?.off.borrow().clone()
    }

    /// Begins with the command once the old primary has had its time to stop.
    pub(super) fn look(
        &mut self,
        group: &str,
        term: u64,
        obstacle: Option<&Obstacle>,
        now: Moment,
        patience: Duration,
    ) {
        let Some(hook) = self.hooks.get(group) else { return };
        if self.under_way.get(group).is_none_or(|case| case.term != term) {
            let case = Case { term, since: now, off: Rc::default(), task: None };
            self.under_way.insert(group.to_owned(), case);
        }
        let (Some(Obstacle::NotFenced { from }), Some(case)) = (obstacle, self.under_way.get_mut(group)) else {
            return;
        };
        if case.task.is_some() || now.since(case.since) < patience {
            return;
        }
        let (hook, from, off) = (hook.clone(), from.clone(), Rc::clone(&case.off));
        let name = group.to_owned();
        let work = async move {
            while let Err(error) = hook.fence(&from, term).await {
                tracing::error!(group = name, from, error, "databases: the old primary's machine could not be ended");
                tokio::time::sleep(PAUSE).await;
            }
            tracing::warn!(group = name, from, "databases: the old primary's machine was ended");
            *off.borrow_mut() = Some(from);
        };
        case.task = Some(spawn_local(Kind::Control, work).abort_on_drop());
    }

    /// This node plans no more: what it has begun is broken off.
    pub(super) fn forget(&mut self) {
        self.under_way.clear();
    }
}
