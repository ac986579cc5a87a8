//! Whether a replica can still get what it lacks.

use std::time::{Duration, Instant};

use mainstay_core::database::Lsn;

/// A replica that gets nothing and comes no further for so long is stuck, if its primary no longer has what it lacks.
const STUCK_AFTER: Duration = Duration::from_secs(15);

/// What was seen of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    /// Where it stands still, and since when.
    still: Option<(Lsn, Instant)>,
    stuck: bool,
}

impl Reach {
    /// A look at a running replica. What comes from an archive moves it as well.
    pub(super) fn note(&mut self, receives: bool, position: Lsn, now: Instant) {
        let since = self.still.filter(|(at, _)| *at == position && !receives).map_or(now, |(_, since)| since);
        self.still = (!receives).then_some((position, since));
        self.stuck = !receives && now.duration_since(since) >= STUCK_AFTER;
    }

    /// It was stuck when it was looked at last; while it is stopped, that stands.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Its data is another one, or it follows another one.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_gets_nothing_and_moves_no_further_is_stuck_until_it_does() {
        let (mut reach, began) = (Reach::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        reach.note(false, 7, at(0));
        reach.note(false, 7, at(14));
        assert!(!reach.is_stuck());
        reach.note(false, 8, at(15));
        reach.note(false, 8, at(29));
        assert!(!reach.is_stuck(), "it replays an archive");
        reach.note(false, 8, at(30));
        assert!(reach.is_stuck());
        reach.note(true, 8, at(31));
        assert!(!reach.is_stuck());
        reach.note(false, 8, at(60));
        assert!(!reach.is_stuck(), "it is counted anew");
    }
}
