//! From what an observer wrote down to intervals.

use std::time::Duration;

use super::State;

/// A while in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The state.
    pub state: State,
    /// For how long.
    pub lasted: Duration,
    /// When it began by the observer's wall clock, in milliseconds since 1970: to put it on a calendar, not to measure.
    pub at_unix_ms: u64,
    /// Whether somebody wanted it.
    pub planned: bool,
    /// Why.
    pub cause: String,
}

/// When something was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which start of the machine: moments compare only within one.
    pub boot: String,
    /// CLOCK_BOOTTIME in nanoseconds.
    pub boottime_ns: u64,
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
}

impl Mark {
    /// From this to a later one: by the boot-time clock, or over a restart of the machine by its wall clock, which only
    /// times that were not observed are long.
    fn until(&self, later: &Self) -> Duration {
        if self.boot == later.boot {
            Duration::from_nanos(later.boottime_ns.saturating_sub(self.boottime_ns))
        } else {
            Duration::from_millis(later.at_unix_ms.saturating_sub(self.at_unix_ms))
        }
    }
}

/// What was written down, as far as it concerns one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The observer begins to look; what was between it and the entry before was not observed.
    Begins,
    /// It looks and nothing changed.
    Beat,
    /// The service stands otherwise.
    Stands {
        /// How; not observed if it is not known or gone.
        state: State,
        /// Whether somebody wanted it.
        planned: bool,
        /// Why.
        cause: String,
    },
}

/// Puts intervals together, one entry after the other.
#[derive(Debug)]
pub struct Timeline {
    /// What lies before is left out, in milliseconds since 1970.
    from_unix_ms: u64,
    intervals: Vec<Interval>,
    last: Option<Mark>,
    present: (State, bool, String),
}

impl Timeline {
    /// An empty one, of what is after `from_unix_ms`.
    pub fn new(from_unix_ms: u64) -> Self {
        let present = (State::NotObserved, false, String::new());
        Self { from_unix_ms, intervals: Vec::new(), last: None, present }
    }

    /// Takes the next entry.
    pub fn take(&mut self, mark: Mark, entry: Entry) {
        if let Some(last) = &self.last {
            let restarted = entry == Entry::Begins || last.boot != mark.boot;
            let present = if restarted { (State::NotObserved, false, String::new()) } else { self.present.clone() };
            self.add(last.clone(), &mark, present);
        }
        match entry {
            Entry::Begins => self.present = (State::NotObserved, false, String::new()),
            Entry::Beat => {}
            Entry::Stands { state, planned, cause } => self.present = (state, planned, cause),
        }
        self.last = Some(mark);
    }

    /// The intervals up to `now`, until which the observer looked.
    pub fn until(mut self, now: Mark) -> Vec<Interval> {
        self.take(now, Entry::Beat);
        self.intervals
    }

    /// The intervals up to the last entry.
    pub fn intervals(self) -> Vec<Interval> {
        self.intervals
    }

    fn add(&mut self, from: Mark, to: &Mark, (state, planned, cause): (State, bool, String)) {
        let mut lasted = from.until(to);
        let mut at_unix_ms = from.at_unix_ms;
        if to.at_unix_ms <= self.from_unix_ms || lasted.is_zero() {
            return;
        }
        if at_unix_ms < self.from_unix_ms {
            lasted = lasted.saturating_sub(Duration::from_millis(self.from_unix_ms - at_unix_ms));
            at_unix_ms = self.from_unix_ms;
        }
        match self.intervals.last_mut() {
            Some(known) if (known.state, known.planned, &known.cause) == (state, planned, &cause) => {
                known.lasted += lasted
            }
            _another => self.intervals.push(Interval { state, lasted, at_unix_ms, planned, cause }),
        }
    }
}
