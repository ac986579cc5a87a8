//! Whether a server says anything at all. One that hangs runs, takes connections perhaps, and answers none of them.

use std::time::{Duration, Instant};

use crate::Error;

/// How long a replica's server may say nothing before it is ended and started again. A slow disk or a long command takes less.
const ENDED_AFTER: Duration = Duration::from_secs(30);
/// The same at most: each end doubles it. One that has been well for so long since is ended as readily as any.
const ENDED_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Beyond so many ends the time does not grow any more.
const DOUBLED_MAX: u32 = 7;
/// How long it may say nothing before that is told.
const TOLD_AFTER: Duration = Duration::from_secs(5);
/// Who has not looked for longer stood still as well, or was busy with something else: nothing is known of that time.
const LOOKED_WITHIN: Duration = Duration::from_secs(10);

/// For how long a server has said nothing.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    spell: Option<Spell>,
    /// Ends because of that, one soon after the other.
    ends: u32,
    ended_at: Option<Instant>,
    /// That it says nothing, for people.
    why: Option<String>,
}

#[derive(Debug)]
struct Spell {
    since: Instant,
    seen: Instant,
}

impl Silence {
    /// It has said something, if only that it lets nobody in.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.forget();
        if self.ended_at.is_some_and(|at| now.duration_since(at) >= ENDED_AFTER_MAX) {
            (self.ends, self.ended_at) = (0, None);
        }
    }

    /// It was asked, and this was the outcome. A server that leads is replaced, and no matter of this.
    pub(crate) fn failed(&mut self, error: &Error, leads: bool, now: Instant) {
        if error.is_silence() { self.unheard(leads, now) } else { self.heard(now) }
    }

    fn unheard(&mut self, leads: bool, now: Instant) {
        self.spell = self.spell.take().filter(|spell| now.duration_since(spell.seen) <= LOOKED_WITHIN);
        self.spell.get_or_insert(Spell { since: now, seen: now }).seen = now;
        if !self.lasts(TOLD_AFTER) {
            self.why = None;
        } else if self.why.is_none() {
            let end = format!("; it is ended and started again after {} s of that", self.patience().as_secs());
            self.why = Some("its server runs, and answers nothing".to_owned() + if leads { "" } else { &end });
        }
    }

    /// None runs.
    pub(crate) fn forget(&mut self) {
        (self.spell, self.why) = (None, None);
    }

    /// It is ended, for whatever reason.
    pub(crate) fn end(&mut self, now: Instant) {
        if self.is_hung() {
            self.ends = self.ends.saturating_add(1);
            self.ended_at = Some(now);
        }
        self.forget();
    }

    /// It has said nothing for so long that it is to be started again.
    pub(crate) fn is_hung(&self) -> bool {
        self.lasts(self.patience())
    }

    /// That it says nothing, once it has for a while.
    pub(crate) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    fn lasts(&self, time: Duration) -> bool {
        self.spell.as_ref().is_some_and(|spell| spell.seen.duration_since(spell.since) >= time)
    }

    fn patience(&self) -> Duration {
        (ENDED_AFTER * (1 << self.ends.min(DOUBLED_MAX))).min(ENDED_AFTER_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks in vain for so many seconds; answers how long it takes until the server is taken for hung.
    fn hangs_after(silence: &mut Silence, now: &mut Instant) -> u64 {
        let since = *now;
        silence.unheard(false, *now);
        while !silence.is_hung() {
            *now += Duration::from_secs(5);
            silence.unheard(false, *now);
        }
        now.duration_since(since).as_secs()
    }

    #[test]
    fn a_server_that_answers_nothing_is_hung_after_a_while_and_one_that_refuses_is_not() {
        let (mut silence, begun) = (Silence::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for second in (0..=25).step_by(5) {
            silence.unheard(false, at(second));
            assert_eq!((silence.is_hung(), silence.why().is_some()), (false, second >= 5));
        }
        silence.heard(at(26));
        assert_eq!(silence.why(), None);
        silence.unheard(true, at(27));
        silence.unheard(true, at(32));
        assert_eq!(silence.why(), Some("its server runs, and answers nothing"), "its successor is no matter of this");
    }

    #[test]
    fn what_nobody_has_looked_at_does_not_count() {
        let (mut silence, begun) = (Silence::default(), Instant::now());
        for second in [0, 5, 60, 65, 70] {
            silence.unheard(false, begun + Duration::from_secs(second));
        }
        assert!(!silence.is_hung(), "the agent itself stood still");
    }

    #[test]
    fn each_end_in_a_row_is_waited_for_twice_as_long() {
        let (mut silence, mut now) = (Silence::default(), Instant::now());
        let mut waited = Vec::new();
        for _end in 0..9 {
            waited.push(hangs_after(&mut silence, &mut now));
            silence.end(now);
            silence.heard(now);
        }
        assert_eq!(waited, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        silence.heard(now + ENDED_AFTER_MAX);
        assert_eq!(hangs_after(&mut silence, &mut now), 30, "it was well meanwhile");
    }

    #[test]
    fn an_end_for_another_reason_makes_nobody_wait_longer() {
        let (mut silence, mut now) = (Silence::default(), Instant::now());
        silence.unheard(false, now);
        silence.end(now);
        assert_eq!(hangs_after(&mut silence, &mut now), 30);
    }
}
