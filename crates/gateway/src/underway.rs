//! Commands that a connection waits for the answers of, each with the moment since when. Answers come in the order of the
//! commands.

use std::collections::VecDeque;

use mainstay_core::time::Moment;

/// Runs that are told apart. Commands beyond them count as sent with the last run.
const RUNS_MAX: usize = 32;

/// Commands that are not answered, of kinds `K`.
#[derive(Debug)]
pub(crate) struct Underway<K> {
    runs: VecDeque<Run<K>>,
}

/// Commands of one kind that were sent at once.
#[derive(Clone, Copy, Debug)]
struct Run<K> {
    kind: K,
    since: Moment,
    count: u64,
}

impl<K: Copy + PartialEq> Underway<K> {
    pub(crate) const fn new() -> Self {
        Self { runs: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// A command was sent.
    pub(crate) fn begin(&mut self, kind: K, since: Moment) {
        let is_full = self.runs.len() >= RUNS_MAX;
        match self.runs.back_mut().filter(|run| is_full || (run.kind == kind && run.since == since)) {
            Some(run) => run.count = run.count.saturating_add(1),
            None => self.runs.push_back(Run { kind, since, count: 1 }),
        }
    }

    /// The command that is answered next.
    pub(crate) fn next(&self) -> Option<K> {
        self.runs.front().map(|run| run.kind)
    }

    /// The first command is under way no more: what kind it was of, and since when it was. `None`: there was none.
    pub(crate) fn end(&mut self) -> Option<(K, Moment)> {
        let run = self.runs.front_mut()?;
        let ended = (run.kind, run.since);
        run.count -= 1;
        if run.count == 0 {
            self.runs.pop_front();
        }
        Some(ended)
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_end_in_their_order_with_their_moments() {
        let mut underway = Underway::new();
        let at = Moment::from_millis;
        for (kind, since) in [('a', 1), ('a', 1), ('b', 1), ('a', 2)] {
            underway.begin(kind, at(since));
        }
        assert_eq!(underway.next(), Some('a'));
        for expected in [('a', 1), ('a', 1), ('b', 1), ('a', 2)] {
            assert_eq!(underway.end(), Some((expected.0, at(expected.1))));
        }
        assert!(underway.is_empty() && underway.next().is_none() && underway.end().is_none());
    }

    #[test]
    fn however_many_are_under_way_none_is_forgotten_and_memory_is_bounded() {
        let mut underway = Underway::new();
        (0..10_000).for_each(|since| underway.begin((), Moment::from_millis(since)));
        assert_eq!(underway.runs.len(), RUNS_MAX);
        assert_eq!(std::iter::from_fn(|| underway.end()).count(), 10_000);
    }
}
