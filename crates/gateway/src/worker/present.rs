//! The present as a worker's connections see it: read from the clock once in each turn of a task, since nothing in a turn
//! waits, and a request asks for it eight times.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime};

use super::Worker;
use mainstay_core::time::Moment;
use mainstay_runtime::clock::{Clock, Wall};

/// How the clock is read.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Anew each time.
    Outside,
    /// Inside a turn that has not asked for the time yet.
    Begun,
    /// Inside a turn that has.
    Read(Moment),
}

/// The clocks of one worker.
#[derive(Debug)]
pub(super) struct Present {
    clock: Clock,
    turn: Cell<Turn>,
    wall: RefCell<Wall>,
    /// What the wall clock showed when the monotonic one began, as of the last adjustment.
    origin: Cell<SystemTime>,
}

/// Ends a turn, also if the task panics.
struct EndOfTurn<'a>(&'a Present);

impl Drop for EndOfTurn<'_> {
    fn drop(&mut self) {
        self.0.turn.set(Turn::Outside);
    }
}

impl Present {
    pub(super) fn new(clock: Clock) -> Self {
        let wall = RefCell::new(Wall::new());
        Self { clock, turn: Cell::new(Turn::Outside), wall, origin: Cell::new(origin(clock)) }
    }

    /// The present moment.
    pub(super) fn now(&self) -> Moment {
        if let Turn::Read(now) = self.turn.get() {
            return now;
        }
        let now = self.clock.now();
        if matches!(self.turn.get(), Turn::Begun) {
            self.turn.set(Turn::Read(now));
        }
        now
    }

    /// Lets a task take one turn.
    pub(super) fn turn<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.turn.set(Turn::Begun);
        let _ends = EndOfTurn(self);
        poll()
    }

    /// Writes the present in RFC 3339.
    fn write(&self, out: &mut Vec<u8>) {
        self.wall.borrow_mut().write(self.time(), out);
    }

    fn time(&self) -> SystemTime {
        self.origin.get() + Duration::from_nanos(self.now().as_nanos())
    }

    /// Follows a wall clock that was set. Called a few times a second.
    pub(super) fn adjust(&self) {
        self.origin.set(origin(self.clock));
    }
}

impl Worker {
    /// Writes the present in RFC 3339.
    pub(crate) fn write_time(&self, out: &mut Vec<u8>) {
        self.present.write(out);
    }

    /// The present in seconds since 1970.
    pub(crate) fn seconds(&self) -> u64 {
        self.present.time().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |passed| passed.as_secs())
    }

    /// The present since 1970.
    pub(crate) fn since_1970(&self) -> Duration {
        self.present.time().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    /// The present as the `Date` header has it.
    pub(crate) fn http_date(&self) -> [u8; 29] {
        self.present.wall.borrow_mut().http_date(self.present.time())
    }
}

fn origin(clock: Clock) -> SystemTime {
    let now = SystemTime::now();
    now.checked_sub(Duration::from_nanos(clock.now().as_nanos())).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_one_moment_and_the_next_one_another() {
        let present = Present::new(Clock::new());
        let in_turn = || {
            let first = present.now();
            std::thread::sleep(Duration::from_millis(2));
            assert_eq!(present.now(), first);
            first
        };
        let (first, second) = (present.turn(in_turn), present.turn(in_turn));
        assert!(second > first);
        let outside = present.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(present.now() > outside && outside > second);
    }

    #[test]
    fn the_written_time_is_the_wall_clocks() {
        let written = |time| {
            let mut text = Vec::new();
            Wall::new().write(time, &mut text);
            text
        };
        let (before, second) = (SystemTime::now(), Duration::from_secs(1));
        let mut ours = Vec::new();
        Present::new(Clock::new()).write(&mut ours);
        assert!(written(before - second) <= ours && ours <= written(SystemTime::now() + second));
    }
}
