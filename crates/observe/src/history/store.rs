//! All series of a node, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use super::counts::{Counts, Reading};
use super::disk::{Batch, Closed};
use super::ring::{Ring, Step};
use super::series::{Kind, Series};

/// Series that are kept for 35 days, at most.
pub const WHOLE_MAX: usize = 512;
/// Series of endpoints, at most.
pub const ENDPOINTS_MAX: usize = 4_096;
/// Bytes of memory, at most; above that the oldest steps go.
pub const MEMORY_MAX: usize = 128 * 1024 * 1024;
/// Points in one answer, at most; above that steps are made longer.
const POINTS_MAX: u64 = 2_000;
/// Points in one answer whose step is not asked for.
const POINTS_WANTED: u64 = 300;
/// Steps that a person can read off a scale, in seconds.
const ROUND_STEPS: [u64; 14] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 21_600, 86_400];
/// A clock that goes back further has been wrong before; less than this it is waited for.
const REWIND_SECONDS: u64 = 600;
/// Time between two samples that is believed; for the rest of it nothing was seen.
const ELAPSED_MAX: u64 = 60;
/// Samples between two looks at how much is kept.
const SAMPLES_PER_LOOK: u64 = 64;

/// What happened in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its beginning, in seconds since 1970.
    pub at: u64,
    /// What happened in it.
    pub counts: Counts,
}

/// What happened step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Seconds of a step.
    pub step: u64,
    /// The steps of which something is known, oldest first.
    pub points: Vec<Point>,
}

/// Events that were added to a series since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// All of them.
    pub events: u64,
    /// Those that were bad.
    pub bad: u64,
}

#[derive(Debug)]
struct Entry {
    last: Reading,
    pending: Counts,
    /// What was added since the start of the process.
    added: Added,
    fed_at: Option<u64>,
    /// Steps from disk were put before what was counted since, maybe into the same step.
    is_merged: bool,
    rings: [Ring; 3],
}

impl Entry {
    fn new(kind: Kind) -> Self {
        let keep: [u64; 3] = if kind == Kind::Endpoint { [600, 1_440, 1_008] } else { [3_600, 4_320, 5_040] };
        let rings = std::array::from_fn(|at| Ring::new(Step::ALL[at], keep[at]));
        Self {
            last: Reading::default(),
            pending: Counts::default(),
            added: Added::default(),
            fed_at: None,
            is_merged: false,
            rings,
        }
    }
}

/// All series.
#[derive(Debug, Default)]
pub(super) struct Store {
    kinds: [HashMap<Arc<str>, Entry>; Kind::ALL.len()],
    now: u64,
    samples: u64,
    closed: Vec<Closed>,
    dropped: u64,
    bytes: usize,
}

impl Store {
    /// A sample begins.
    pub(super) fn begin(&mut self, now: u64) {
        if now.saturating_add(REWIND_SECONDS) < self.now {
            tracing::warn!(seconds = self.now - now, "the clock went back; what was noted of that time is dropped");
            for entry in self.kinds.iter_mut().flat_map(HashMap::values_mut) {
                entry.fed_at = entry.fed_at.map(|at| at.min(now));
                for (ring, step) in entry.rings.iter_mut().zip(Step::ALL) {
                    ring.rewind(now / step.seconds());
                }
            }
            self.now = now;
        }
        self.now = self.now.max(now);
        self.samples += 1;
    }

    /// Takes a series' reading.
    pub(super) fn record(&mut self, kind: Kind, name: &str, reading: &Reading) {
        let now = self.now;
        if !self.kinds[kind as usize].contains_key(name) && !self.insert(kind, name) {
            return;
        }
        let Some((name, entry)) = entry_of(&mut self.kinds, kind, name) else { return };
        let elapsed = entry.fed_at.map_or(1, |at| now.saturating_sub(at).min(ELAPSED_MAX));
        let mut added = reading.since(&entry.last, elapsed);
        added.add(&std::mem::take(&mut entry.pending));
        entry.last = *reading;
        entry.fed_at = Some(now);
        let closed = &mut self.closed;
        for (ring, step) in entry.rings.iter_mut().zip(Step::ALL) {
            let mut added = added;
            if step == Step::Second {
                // The seconds between two samples are not told apart: the last one gets what was counted, once.
                added.seconds = added.seconds.min(1);
                added.active_seconds = reading.active.saturating_mul(added.seconds);
                added.memory_kib_seconds = reading.memory_kib.saturating_mul(added.seconds);
            }
            let over = ring.push(now / step.seconds(), &added);
            if let (Some((at, counts)), true) = (over, step != Step::Second) {
                closed.push(Closed { kind, name: name.clone(), step, at, counts });
            }
        }
    }

    /// Adds events to what the next reading brings. A series without counters is read as it is.
    pub(super) fn add(&mut self, series: &Series, counts: &Counts) {
        if !self.kinds[series.kind as usize].contains_key(&series.name) && !self.insert(series.kind, &series.name) {
            return;
        }
        if let Some((_name, entry)) = entry_of(&mut self.kinds, series.kind, &series.name) {
            entry.pending.add(&Counts { seconds: 0, ..*counts });
            entry.added.events = entry.added.events.saturating_add(counts.requests);
            entry.added.bad = entry.added.bad.saturating_add(counts.errors);
        }
    }

    /// The sample is complete; what is over since the last one.
    pub(super) fn end(&mut self) -> Batch {
        // What has no counters that somebody would read is taken when there is something.
        for kind in [Kind::Probe, Kind::Database] {
            let added = self.kinds[kind as usize].iter().filter(|(_, entry)| entry.pending != Counts::default());
            let added: Vec<Arc<str>> = added.map(|(name, _entry)| name.clone()).collect();
            for name in added {
                self.record(kind, &name, &Reading::default());
            }
        }
        if self.samples % SAMPLES_PER_LOOK == 1 {
            self.look();
        }
        std::mem::take(&mut self.closed)
    }

    /// The steps that have begun, as far as they have come.
    pub(super) fn begun(&self) -> Batch {
        let mut begun = Vec::new();
        for (kind, entries) in Kind::ALL.into_iter().zip(&self.kinds) {
            for (name, entry) in entries {
                let open = entry.rings.iter().zip(Step::ALL).filter(|(_ring, step)| *step != Step::Second);
                begun.extend(open.filter_map(|(ring, step)| {
                    let (at, counts) = ring.open()?;
                    Some(Closed { kind, name: name.clone(), step, at, counts })
                }));
            }
        }
        begun
    }

    /// Takes what was read from disk, of which nothing is older than what came before.
    pub(super) fn load(&mut self, closed: Closed) {
        let Closed { kind, name, step, at, counts } = closed;
        if !self.kinds[kind as usize].contains_key(&name) && !self.insert(kind, &name) {
            return;
        }
        let end = at.saturating_add(1).saturating_mul(step.seconds());
        if let Some((_name, entry)) = entry_of(&mut self.kinds, kind, &name) {
            entry.rings[step as usize].push(at, &counts);
            self.now = self.now.max(end);
        }
    }

    /// Puts what another store has, which was read from disk, before what this one has counted since.
    pub(super) fn merge(&mut self, loaded: Self) {
        let kinds = Kind::ALL.into_iter().zip(loaded.kinds);
        for (kind, name, mut entry) in kinds.flat_map(|(kind, of)| of.into_iter().map(move |(n, e)| (kind, n, e))) {
            if !self.kinds[kind as usize].contains_key(&name) && !self.insert(kind, &name) {
                continue;
            }
            let Some((_name, own)) = entry_of(&mut self.kinds, kind, &name) else { continue };
            own.is_merged = true;
            for (ring, earlier) in own.rings.iter_mut().zip(&mut entry.rings).skip(1) {
                std::mem::swap(ring, earlier);
                let since = ring.open().map_or(0, |(at, _)| at);
                earlier.each(since, u64::MAX, |at, counts| {
                    ring.push(at, counts);
                });
            }
        }
        self.look();
    }

    /// The sum of what happened in the `span` seconds before `now`.
    pub(super) fn window(&self, series: &Series, span: u64, now: u64) -> Counts {
        let mut sum = Counts::default();
        let Some(entry) = self.kinds[series.kind as usize].get(&series.name) else { return sum };
        for (ring, from, to) in layers(entry, now.saturating_add(1).saturating_sub(span), now.saturating_add(1)) {
            sum.add(&ring.sum(from, to));
        }
        sum
    }

    /// What happened in `from..to`, step by step.
    pub(super) fn range(&self, series: &Series, from: u64, to: u64, step: u64) -> Option<Range> {
        let entry = self.kinds[series.kind as usize].get(&series.name)?;
        let span = to.saturating_sub(from).max(1);
        let least = span.div_ceil(if step == 0 { POINTS_WANTED } else { POINTS_MAX });
        let round = ROUND_STEPS.into_iter().find(|round| *round >= least).unwrap_or(least);
        let step = if step >= least { step } else { round };
        let mut points: Vec<Point> = Vec::new();
        for (ring, first, end) in layers(entry, from, to) {
            let seconds = ring.seconds();
            ring.each(first, end, |at, counts| {
                let at = at * seconds / step * step;
                match points.last_mut() {
                    Some(last) if last.at == at => last.counts.add(counts),
                    Some(_) | None => points.push(Point { at, counts: *counts }),
                }
            });
        }
        Some(Range { step, points })
    }

    /// The series that are kept.
    pub(super) fn names(&self) -> Vec<Series> {
        let kinds = Kind::ALL.into_iter().zip(&self.kinds);
        let mut names: Vec<Series> =
            kinds.flat_map(|(kind, of)| of.keys().map(move |name| Series { kind, name: name.clone() })).collect();
        names.sort();
        names
    }

    /// What was added to the series of a kind, by name.
    pub(super) fn added(&self, kind: Kind) -> Vec<(Arc<str>, Added)> {
        let of = self.kinds[kind as usize].iter().filter(|(_name, entry)| entry.added.events > 0);
        let mut added: Vec<_> = of.map(|(name, entry)| (name.clone(), entry.added)).collect();
        added.sort_by(|(a, _), (b, _)| a.cmp(b));
        added
    }

    /// Series kept and dropped, and bytes of memory.
    pub(super) fn facts(&self) -> (u64, u64, u64) {
        (self.kinds.iter().map(|of| of.len() as u64).sum(), self.dropped, self.bytes as u64)
    }

    fn insert(&mut self, kind: Kind, name: &str) -> bool {
        let is_full = |kinds: &[HashMap<Arc<str>, Entry>]| match kind {
            Kind::Endpoint => kinds[kind as usize].len() >= ENDPOINTS_MAX,
            _whole => kinds.iter().map(HashMap::len).sum::<usize>() - kinds[Kind::Endpoint as usize].len() >= WHOLE_MAX,
        };
        if is_full(&self.kinds) {
            // One that is gone from the configuration, or from discovery, makes room.
            let gone =
                self.kinds[kind as usize].iter().filter(|(_, entry)| entry.fed_at.is_none_or(|at| at + 60 < self.now));
            let oldest = gone.min_by_key(|(_, entry)| entry.fed_at).map(|(name, _)| name.clone());
            match oldest {
                Some(oldest) => self.kinds[kind as usize].remove(&oldest),
                None => {
                    self.dropped += 1;
                    return false;
                }
            };
        }
        self.kinds[kind as usize].insert(name.into(), Entry::new(kind));
        true
    }

    /// Sees to it that no more is kept than may be.
    fn look(&mut self) {
        for of in &mut self.kinds {
            let now = self.now;
            of.retain(|_name, entry| {
                let first =
                    entry.rings.iter().zip(Step::ALL).filter_map(|(ring, step)| Some(ring.last()? * step.seconds()));
                first.max().is_none_or(|last| last + 35 * 86_400 > now)
            });
        }
        self.weigh();
        while self.bytes > MEMORY_MAX {
            let (endpoints, whole) = (Kind::Endpoint as usize, |at: &usize| *at != Kind::Endpoint as usize);
            let mut shed = self.shed(endpoints);
            if !shed {
                // Each of them: not only the first that has something.
                for at in (0..self.kinds.len()).filter(whole) {
                    shed |= self.shed(at);
                }
            }
            self.weigh();
            if !shed {
                return;
            }
        }
    }

    fn shed(&mut self, kind: usize) -> bool {
        let mut shed = false;
        for ring in self.kinds[kind].values_mut().flat_map(|entry| &mut entry.rings) {
            shed |= ring.shed();
        }
        shed
    }

    fn weigh(&mut self) {
        let entries = self.kinds.iter().flat_map(|of| of.iter());
        self.bytes = entries
            .map(|(name, entry)| size_of::<Entry>() + name.len() + entry.rings.iter().map(Ring::bytes).sum::<usize>())
            .sum();
    }
}

fn entry_of<'s>(
    kinds: &'s mut [HashMap<Arc<str>, Entry>; Kind::ALL.len()],
    kind: Kind,
    name: &str,
) -> Option<(Arc<str>, &'s mut Entry)> {
    let of = &mut kinds[kind as usize];
    let name = of.get_key_value(name)?.0.clone();
    let entry = of.get_mut(&name)?;
    Some((name, entry))
}

/// Which ring answers for which of its steps in `from..to` (seconds), the oldest first: each for what the finer ones do not
/// reach back to.
fn layers(entry: &Entry, from: u64, to: u64) -> Vec<(&Ring, u64, u64)> {
    let mut layers = Vec::new();
    let mut end = to;
    for (at, ring) in entry.rings.iter().enumerate() {
        let seconds = ring.seconds();
        let Some(first) = ring.first().map(|first| first * seconds) else { continue };
        // The next coarser ring takes over at a border of its steps, if it reaches further back at all.
        let coarser = entry.rings.get(at + 1).and_then(|ring| Some((ring.seconds(), ring.first()? * ring.seconds())));
        let begin = match coarser {
            Some((step, oldest)) if first > from && (entry.is_merged || oldest < first / step * step) => {
                first.next_multiple_of(step).max(from)
            }
            Some(_) | None => from,
        };
        if begin < end {
            layers.push((ring, begin / seconds, end.div_ceil(seconds)));
            end = begin;
        }
        if end <= from {
            break;
        }
    }
    layers.reverse();
    layers
}
