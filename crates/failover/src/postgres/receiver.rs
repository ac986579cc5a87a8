//! Whether a replica receives anything. One that is told to stream and cannot goes on answering, and says nothing of it by itself.

use std::time::{Duration, Instant};

use mainstay_core::database::Lsn;

/// How long nothing may be received before it is told: the other one may be starting, or has just been replaced.
const DRY: Duration = Duration::from_secs(5);
/// How long it is before the replica is copied anew, if its primary no longer has what it lacks.
const STUCK_AFTER: Duration = Duration::from_secs(15);
/// The same at most: each copy doubles it. A replica that has gone on for so long since its last copy is copied as readily as any.
const STUCK_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Beyond so many copies the time does not grow any more.
const DOUBLED_MAX: u32 = 8;

/// What was seen of the process that receives.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    process: Option<i32>,
    position: Lsn,
    /// Since when nothing is received; while the server is stopped, that stands.
    dry: Option<Dry>,
    /// Copies because of that, one soon after the other.
    copies: u32,
    copied_at: Option<Instant>,
}

#[derive(Debug)]
struct Dry {
    since: Instant,
    seen: Instant,
    /// Why, as its log had it when that was seen.
    why: Option<String>,
}

impl Receiver {
    /// Of data that was copied so often, one copy soon after the other, the last time then.
    pub(super) fn after(copies: u32, copied_at: Instant) -> Self {
        Self { copies, copied_at: Some(copied_at), ..Self::default() }
    }

    /// How often it was copied, one copy soon after the other.
    pub(super) const fn copies(&self) -> u32 {
        self.copies
    }

    /// Takes note of a look at a replica that is told to stream. `process` is the one that streams now, if there is one; `why` is
    /// asked once for each time that nothing is received. What comes from an archive moves the position as well.
    pub(super) fn look(&mut self, process: Option<i32>, position: Lsn, now: Instant, why: impl FnOnce() -> String) {
        // A process that cannot write what it receives ends, and there is another one at the next look.
        let lives = process.is_some() && process == self.process;
        let is_wet = lives || position > self.position;
        (self.process, self.position) = (process, position);
        if is_wet {
            self.dry = None;
            if self.copied_at.is_some_and(|at| now.duration_since(at) >= STUCK_AFTER_MAX) {
                (self.copies, self.copied_at) = (0, None);
            }
            return;
        }
        let (copies, patience) = (self.copies, self.patience().as_secs());
        let dry = self.dry.get_or_insert(Dry { since: now, seen: now, why: None });
        dry.seen = now;
        if dry.lasts(DRY) && dry.why.is_none() {
            let lately = format!("; copied anew lately: {copies}; the next copy only after {patience} s of this");
            dry.why = Some(why() + if copies == 0 { "" } else { &lately });
        }
    }

    /// It is not told to stream, or by another one.
    pub(super) fn forget(&mut self) {
        (self.process, self.position, self.dry) = (None, 0, None);
    }

    /// Its data is a copy.
    pub(super) fn is_copied(&mut self, now: Instant) {
        if self.is_stuck() {
            self.copies = self.copies.saturating_add(1);
            self.copied_at = Some(now);
        }
        self.forget();
    }

    /// It receives nothing.
    pub(super) fn is_dry(&self) -> bool {
        self.dry.as_ref().is_some_and(|dry| dry.lasts(DRY))
    }

    /// It has received nothing for so long that it is to be copied, if its primary no longer has what it lacks.
    fn is_stuck(&self) -> bool {
        self.dry.as_ref().is_some_and(|dry| dry.lasts(self.patience()))
    }

    /// Where it has been since then.
    pub(super) fn stuck_at(&self) -> Option<Lsn> {
        self.is_stuck().then_some(self.position)
    }

    /// Why nothing is received.
    pub(super) fn why(&self) -> Option<&str> {
        self.dry.as_ref()?.why.as_deref()
    }

    fn patience(&self) -> Duration {
        (STUCK_AFTER * (1 << self.copies.min(DOUBLED_MAX))).min(STUCK_AFTER_MAX)
    }
}

impl Dry {
    fn lasts(&self, time: Duration) -> bool {
        self.seen.duration_since(self.since) >= time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at a receiver after so many seconds.
    fn look(receiver: &mut Receiver, process: Option<i32>, position: Lsn, at: Instant) -> (bool, bool) {
        receiver.look(process, position, at, || "no room".to_owned());
        (receiver.is_dry(), receiver.is_stuck())
    }

    #[test]
    fn a_process_that_is_another_one_at_each_look_receives_nothing() {
        let (mut receiver, begun) = (Receiver::default(), Instant::now());
        let mut look =
            |process, position, seconds| look(&mut receiver, process, position, begun + Duration::from_secs(seconds));
        assert_eq!(look(Some(1), 100, 0), (false, false));
        assert_eq!(look(Some(1), 100, 60), (false, false), "nothing is written, and it is there");
        assert_eq!(look(Some(2), 100, 61), (false, false));
        assert_eq!(look(Some(3), 100, 65), (false, false));
        assert_eq!(look(Some(4), 100, 66), (true, false));
        assert_eq!(look(None, 100, 75), (true, false));
        assert_eq!(look(None, 100, 76), (true, true));
        assert_eq!(look(Some(5), 101, 77), (false, false), "something came");
        assert_eq!(look(None, 101, 78), (false, false), "it is counted anew");
        assert_eq!(look(None, 102, 92), (false, false), "it replays an archive");
        assert_eq!(look(Some(6), 102, 93), (false, false));
        assert_eq!(look(Some(6), 102, 150), (false, false));
        assert_eq!(receiver.why(), None);
    }

    #[test]
    fn each_copy_in_a_row_is_waited_for_twice_as_long_and_that_is_told() {
        let (mut receiver, mut now) = (Receiver::default(), Instant::now());
        let mut waited = Vec::new();
        for copies in 0..10 {
            look(&mut receiver, Some(1), 100, now);
            look(&mut receiver, None, 100, now);
            let since = now;
            while !look(&mut receiver, None, 100, now).1 {
                now += Duration::from_secs(5);
            }
            waited.push(now.duration_since(since).as_secs());
            let why = receiver.why().expect("nothing is received");
            assert_eq!(why.contains(&format!("copied anew lately: {copies};")), copies > 0, "{why}");
            receiver.is_copied(now);
        }
        assert_eq!(waited, [15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(receiver.why(), None);
        // It goes on for a while. A copy for another reason changes nothing.
        look(&mut receiver, Some(1), 100, now);
        look(&mut receiver, Some(1), 200, now + STUCK_AFTER_MAX);
        receiver.is_copied(now + STUCK_AFTER_MAX);
        assert_eq!(receiver.patience(), STUCK_AFTER);
    }
}
