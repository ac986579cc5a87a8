//! Whether a replica receives anything. One that is told to stream and cannot goes on answering, and says nothing of it by itself.

use std::time::{Duration, Instant};

use mainstay_core::database::Lsn;

/// How long nothing may be received before it counts: the other one may be starting, or has just been replaced.
const DRY: Duration = Duration::from_secs(5);

/// What was seen of the process that receives.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    process: Option<i32>,
    position: Lsn,
    dry_since: Option<Instant>,
    /// Why, as its log had it when that was seen.
    why: Option<String>,
}

impl Receiver {
    /// Takes note of a look. `process` is the one that streams now, if there is one; `why` is asked once for each time that
    /// nothing is received.
    pub(super) fn look(
        &mut self,
        process: Option<i32>,
        position: Lsn,
        now: Instant,
        why: impl FnOnce() -> String,
    ) -> bool {
        // A process that cannot write what it receives ends, and there is another one at the next look.
        let lives = process.is_some() && process == self.process;
        let is_wet = lives || position > self.position;
        (self.process, self.position) = (process, position);
        if is_wet {
            (self.dry_since, self.why) = (None, None);
            return false;
        }
        let since = *self.dry_since.get_or_insert(now);
        let is_dry = now.duration_since(since) >= DRY;
        if is_dry && self.why.is_none() {
            self.why = Some(why());
        }
        is_dry
    }

    /// It is not told to stream.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Why nothing is received.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_another_one_at_each_look_receives_nothing() {
        let (mut receiver, begun) = (Receiver::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut asked = 0;
        let mut look = |process, position, seconds| {
            receiver.look(process, position, at(seconds), || {
                asked += 1;
                "no room".to_owned()
            })
        };
        assert!(!look(Some(1), 100, 0));
        assert!(!look(Some(1), 100, 60), "nothing is written, and it is there");
        assert!(!look(Some(2), 100, 61));
        assert!(!look(Some(3), 100, 65));
        assert!(look(Some(4), 100, 66));
        assert!(look(None, 100, 67));
        assert!(!look(Some(5), 101, 68), "something came");
        assert!(!look(None, 101, 69));
        assert!(!look(Some(6), 101, 73));
        assert!(!look(Some(6), 101, 75));
        assert_eq!(asked, 1);
    }
}
