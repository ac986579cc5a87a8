//! From lines to what they say of each subject.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use mainstay_core::ledger::{Day, Entry, Failover, Interval, Mark, State, Timeline};
use mainstay_core::transition::{Aspect, Record, Subject, Word};

use super::chain::{self, Line, Links, Stamp};

/// A take-over so long after the first sign of a loss is not because of it, in nanoseconds.
const FAILOVER_NS_MAX: u64 = 60_000_000_000;

/// What is found in lines, taken one after the other.
#[derive(Debug)]
pub(super) struct Scan {
    from_unix_ms: u64,
    timelines: BTreeMap<Subject, Timeline>,
    last: Option<Mark>,
    /// By day, of what is forgotten.
    pub(super) days: Vec<(Subject, Day)>,
    pub(super) failovers: Vec<Failover>,
    /// When another node or the cluster was first missed.
    missed: Option<Mark>,
    pub(super) left_out: u64,
}

impl Scan {
    /// Of what is after `from_unix_ms`.
    pub(super) fn new(from_unix_ms: u64) -> Self {
        Self {
            from_unix_ms,
            timelines: BTreeMap::new(),
            last: None,
            days: Vec::new(),
            failovers: Vec::new(),
            missed: None,
            left_out: 0,
        }
    }

    /// Of a ledger's files.
    ///
    /// # Errors
    /// If one cannot be read. Lines that are damaged are left out: `verify` finds them.
    pub(super) fn of(folder: &Path, from_unix_ms: u64, mut each: impl FnMut(&Line)) -> io::Result<Self> {
        let mut scan = Self::new(from_unix_ms);
        for path in chain::files(folder)? {
            let read = chain::lines(&path, |_number, bytes, is_ended| {
                if let Some(line) = Links::read(bytes).filter(|_| is_ended).and_then(|links| links.line()) {
                    each(&line);
                    scan.take(line);
                }
            });
            match read {
                // It was forgotten just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(scan)
    }

    pub(super) fn take(&mut self, line: Line) {
        match line {
            Line::Opened { stamp, .. } => {
                self.missed = None;
                self.for_all(stamp.into(), &Entry::Begins);
            }
            Line::Closed { stamp } | Line::Beat { stamp } => self.for_all(stamp.into(), &Entry::Beat),
            Line::Anchor { stamp, stood } => {
                for known in stood {
                    let entry = Entry::Stands { state: known.state, planned: known.planned, cause: known.cause };
                    self.timeline(known.subject).take(stamp.clone().into(), entry);
                }
                self.last = Some(stamp.into());
            }
            Line::Saw { boot, record } => self.saw(boot, &record),
            Line::Day { subject, day } => self.days.push((subject, day)),
            Line::LeftOut { count } => self.left_out += count,
            Line::Forgotten { .. } => {}
        }
    }

    fn saw(&mut self, boot: String, record: &Record) {
        let mark = Mark { boot, boottime_ns: record.boottime_ns, at_unix_ms: record.at_unix_ms };
        self.note_failover(&mark, record);
        if let Some(state) = state(record) {
            let transition = &record.transition;
            let (planned, cause) = (transition.planned, transition.cause.to_string());
            let entry = Entry::Stands { state, planned, cause };
            self.timeline(transition.subject.clone()).take(mark.clone(), entry);
        }
        self.last = Some(mark);
    }

    fn note_failover(&mut self, mark: &Mark, record: &Record) {
        let (change, subject) = (record.transition.change, &record.transition.subject);
        match (change.aspect, change.to) {
            (Aspect::Membership, Word::Away) => self.missed = Some(mark.clone()),
            (Aspect::Holder, Word::Held) if !record.transition.planned => {
                let since = self.missed.as_ref().filter(|since| since.boot == mark.boot);
                let took = since.map(|since| mark.boottime_ns.saturating_sub(since.boottime_ns));
                if let Some(took) = took.filter(|took| *took <= FAILOVER_NS_MAX)
                    && mark.at_unix_ms >= self.from_unix_ms
                {
                    self.failovers.push(Failover {
                        what: subject.to_string(),
                        at_unix_ms: mark.at_unix_ms,
                        recovery_seconds: took as f64 / 1e9,
                        lost_seconds: None,
                        planned: false,
                        phases: Vec::new(),
                        lost: None,
                    });
                }
            }
            _nothing_of_the_kind => {}
        }
    }

    /// A subject that was not heard of before was not observed until now.
    fn timeline(&mut self, subject: Subject) -> &mut Timeline {
        let (from, last) = (self.from_unix_ms, self.last.clone());
        self.timelines.entry(subject).or_insert_with(|| {
            let mut timeline = Timeline::new(from);
            if let Some(last) = last {
                timeline.take(last, Entry::Begins);
            }
            timeline
        })
    }

    fn for_all(&mut self, mark: Mark, entry: &Entry) {
        for timeline in self.timelines.values_mut() {
            timeline.take(mark.clone(), entry.clone());
        }
        self.last = Some(mark);
    }

    /// What is known of each subject up to the last line.
    pub(super) fn intervals(self) -> Vec<(Subject, Vec<Interval>)> {
        let last = self.last;
        let until = |timeline: Timeline| match last.clone() {
            Some(last) => timeline.until(last),
            None => timeline.intervals(),
        };
        self.timelines.into_iter().map(|(subject, timeline)| (subject, until(timeline))).collect()
    }
}

impl From<Stamp> for Mark {
    fn from(stamp: Stamp) -> Self {
        Self { boot: stamp.boot, boottime_ns: stamp.boottime_ns, at_unix_ms: stamp.at_unix_ms }
    }
}

/// How the subject of a record stands from it on, if that is kept account of.
pub(super) fn state(record: &Record) -> Option<State> {
    let change = record.transition.change;
    if !matches!(change.aspect, Aspect::Standing | Aspect::Probe) {
        return None;
    }
    Some(match change.to {
        Word::Up => State::Up,
        Word::Degraded => State::Partial,
        Word::Down => State::Down,
        _not_known => State::NotObserved,
    })
}
