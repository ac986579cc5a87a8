//! The recent calls that a breaker judges by: the last so many, or those of the last so long.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Moment;

/// Which calls count as recent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The last so many; 1 to [`CALLS_MAX`].
    Calls(u32),
    /// Those of the last so long, to a tenth of it.
    Time(Duration),
}

/// Calls that a window counts one by one, at most: each takes two bytes.
pub const CALLS_MAX: u32 = 10_000;
/// Slices that a span of time is cut into.
const SLICES: u64 = 10;

/// Numbers of recent calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All that came to an end.
    pub calls: u64,
    /// Of these, those that failed.
    pub failed: u64,
    /// Of these, those that took too long; some of them may have failed as well.
    pub slow: u64,
}

impl Tally {
    const fn of(failed: bool, slow: bool) -> Self {
        Self { calls: 1, failed: failed as u64, slow: slow as u64 }
    }

    const fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }

    const fn take(&mut self, other: Self) {
        self.calls -= other.calls;
        self.failed -= other.failed;
        self.slow -= other.slow;
    }
}

/// The recent calls.
#[derive(Clone, Debug)]
pub(super) struct Window {
    kept: Kept,
    total: Tally,
}

#[derive(Clone, Debug)]
enum Kept {
    Calls { last: VecDeque<(bool, bool)>, most: usize },
    Slices { slices: Box<[Tally; SLICES as usize]>, newest: u64, nanos: u64 },
}

impl Window {
    pub(super) fn new(span: Span) -> Self {
        let kept = match span {
            Span::Calls(most) => {
                let most = most.clamp(1, CALLS_MAX) as usize;
                Kept::Calls { last: VecDeque::with_capacity(most), most }
            }
            Span::Time(time) => {
                let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) / SLICES;
                Kept::Slices { slices: Box::default(), newest: 0, nanos: nanos.max(1) }
            }
        };
        Self { kept, total: Tally::default() }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.total = Tally::default();
        match &mut self.kept {
            Kept::Calls { last, .. } => last.clear(),
            Kept::Slices { slices, .. } => slices.fill(Tally::default()),
        }
    }

    /// Counts one call.
    pub(super) fn count(&mut self, now: Moment, failed: bool, slow: bool) {
        self.advance(now);
        match &mut self.kept {
            Kept::Calls { last, most } => {
                if last.len() == *most
                    && let Some((failed, slow)) = last.pop_front()
                {
                    self.total.take(Tally::of(failed, slow));
                }
                last.push_back((failed, slow));
            }
            Kept::Slices { slices, newest, .. } => slices[(*newest % SLICES) as usize].add(Tally::of(failed, slow)),
        }
        self.total.add(Tally::of(failed, slow));
    }

    /// Counts `number` calls that went well.
    pub(super) fn count_well(&mut self, now: Moment, number: u32) {
        if let Kept::Calls { most, .. } = self.kept {
            for _call in 0..(number as usize).min(most) {
                self.count(now, false, false);
            }
            return;
        }
        self.advance(now);
        let well = Tally { calls: u64::from(number), failed: 0, slow: 0 };
        if let Kept::Slices { slices, newest, .. } = &mut self.kept {
            slices[(*newest % SLICES) as usize].add(well);
            self.total.add(well);
        }
    }

    /// The recent calls at `now`.
    pub(super) fn tally(&mut self, now: Moment) -> Tally {
        self.advance(now);
        self.total
    }

    /// Forgets what is too old. A moment before the newest slice counts as in it: callers read the clock before they take
    /// their lock.
    fn advance(&mut self, now: Moment) {
        let Kept::Slices { slices, newest, nanos } = &mut self.kept else { return };
        let target = now.as_nanos() / *nanos;
        let steps = target.saturating_sub(*newest).min(SLICES);
        for number in (target + 1).saturating_sub(steps)..=target {
            if steps > 0 {
                self.total.take(std::mem::take(&mut slices[(number % SLICES) as usize]));
            }
        }
        *newest = target.max(*newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(calls: u64, failed: u64, slow: u64) -> Tally {
        Tally { calls, failed, slow }
    }

    #[test]
    fn the_last_calls_count_and_no_others() {
        let mut window = Window::new(Span::Calls(3));
        for (failed, slow) in [(true, true), (true, false), (false, true)] {
            window.count(Moment::ZERO, failed, slow);
        }
        assert_eq!(window.tally(Moment::NEVER), tally(3, 2, 2));
        window.count(Moment::ZERO, false, false);
        assert_eq!(window.tally(Moment::ZERO), tally(3, 1, 1));
        window.count_well(Moment::ZERO, u32::MAX);
        assert_eq!(window.tally(Moment::ZERO), tally(3, 0, 0));
    }

    #[test]
    fn calls_are_forgotten_after_their_time() {
        let mut window = Window::new(Span::Time(Duration::from_secs(10)));
        window.count(Moment::from_millis(60_000), true, false);
        window.count_well(Moment::from_millis(64_500), 7);
        window.count(Moment::from_millis(64_500), false, true);
        assert_eq!(window.tally(Moment::from_millis(69_900)), tally(9, 1, 1));
        assert_eq!(window.tally(Moment::from_millis(70_000)), tally(8, 0, 1));
        assert_eq!(window.tally(Moment::from_millis(74_000)), tally(0, 0, 0));
        window.count(Moment::from_millis(1), true, true);
        assert_eq!(window.tally(Moment::from_millis(74_000)), tally(1, 1, 1), "a clock read before the lock");
        window.clear();
        assert_eq!(window.tally(Moment::NEVER), tally(0, 0, 0));
    }
}
