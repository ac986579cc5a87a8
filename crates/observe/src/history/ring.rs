//! One series at one step: what each step counted, packed, for as long as it is kept.

use std::collections::VecDeque;

use super::counts::{BUCKET_COUNT, Counts, FIELDS};

/// Steps in a sealed chunk, at most.
const CHUNK_STEPS: u64 = 256;
/// The field of requests is stored as its difference to the sum of the buckets, which is nearly always zero.
const REQUESTS: usize = 0;

/// How long a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A second.
    Second,
    /// Sixty of them.
    Minute,
    /// Six hundred of them.
    TenMinutes,
}

impl Step {
    /// All of them, the finest first.
    pub const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::TenMinutes];

    /// Its seconds.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::TenMinutes => 600,
        }
    }
}

/// Steps that follow each other.
#[derive(Debug)]
struct Chunk {
    first: u64,
    /// One past the last step.
    end: u64,
    bytes: Box<[u8]>,
    sum: Counts,
}

/// The packed steps of a series, and the one that is still open. Steps are numbered from 1970 in units of their length.
#[derive(Debug)]
pub(super) struct Ring {
    seconds: u64,
    keep: u64,
    chunks: VecDeque<Chunk>,
    writing: Writing,
    open: Option<(u64, Counts)>,
}

#[derive(Debug, Default)]
struct Writing {
    first: u64,
    end: u64,
    bytes: Vec<u8>,
    /// Idle steps at the end that are not written yet.
    idle: u64,
    sum: Counts,
}

impl Ring {
    /// A ring of steps of `step`, of which `keep` are kept.
    pub(super) fn new(step: Step, keep: u64) -> Self {
        let (chunks, writing) = (VecDeque::new(), Writing::default());
        Self { seconds: step.seconds(), keep, chunks, writing, open: None }
    }

    /// Adds what was counted in `step`; returns the step before it if that is over now. A step in the past (the clock went
    /// back) is added to the open one.
    pub(super) fn push(&mut self, step: u64, counts: &Counts) -> Option<(u64, Counts)> {
        match &mut self.open {
            Some((at, open)) if step <= *at => {
                open.add(counts);
                open.seconds = open.seconds.min(self.seconds);
                None
            }
            open => {
                let closed = open.replace((step, Counts { seconds: counts.seconds.min(self.seconds), ..*counts }));
                if let Some((at, counts)) = &closed {
                    self.write(*at, counts);
                    self.forget(step.saturating_sub(self.keep));
                }
                closed
            }
        }
    }

    /// The step that is open.
    pub(super) fn open(&self) -> Option<(u64, Counts)> {
        self.open
    }

    /// Seconds of a step.
    pub(super) const fn seconds(&self) -> u64 {
        self.seconds
    }

    /// The last step of which anything is kept.
    pub(super) fn last(&self) -> Option<u64> {
        self.open.map(|(at, _counts)| at)
    }

    /// The first step of which anything is kept.
    pub(super) fn first(&self) -> Option<u64> {
        let written = (self.writing.end > self.writing.first).then_some(self.writing.first);
        self.chunks.front().map(|chunk| chunk.first).or(written).or(self.open.map(|(at, _)| at))
    }

    /// The sum of the steps from `from` until before `to`.
    pub(super) fn sum(&self, from: u64, to: u64) -> Counts {
        let mut sum = Counts::default();
        for chunk in &self.chunks {
            if from <= chunk.first && chunk.end <= to {
                sum.add(&chunk.sum);
            } else if chunk.first < to && from < chunk.end {
                each(chunk.first, self.seconds, &chunk.bytes, from, to, |_at, counts| sum.add(counts));
            }
        }
        self.each_recent(from, to, |_at, counts| sum.add(counts));
        sum
    }

    /// Gives every known step from `from` until before `to` to `take`, oldest first.
    pub(super) fn each(&self, from: u64, to: u64, mut take: impl FnMut(u64, &Counts)) {
        for chunk in self.chunks.iter().filter(|chunk| chunk.first < to && from < chunk.end) {
            each(chunk.first, self.seconds, &chunk.bytes, from, to, &mut take);
        }
        self.each_recent(from, to, take);
    }

    fn each_recent(&self, from: u64, to: u64, mut take: impl FnMut(u64, &Counts)) {
        let writing = &self.writing;
        each(writing.first, self.seconds, &writing.bytes, from, to, &mut take);
        let idle = Counts { seconds: self.seconds, ..Counts::default() };
        for at in writing.end.saturating_sub(writing.idle).max(from)..writing.end.min(to) {
            take(at, &idle);
        }
        if let Some((at, counts)) = self.open.filter(|(at, _)| (from..to).contains(at)) {
            take(at, &counts);
        }
    }

    /// Bytes of memory, about.
    pub(super) fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().map(|chunk| chunk.bytes.len() + size_of::<Chunk>()).sum::<usize>();
        chunks + self.writing.bytes.capacity() + size_of::<Self>()
    }

    /// Drops the oldest chunk, unless there is none but the one that is written.
    pub(super) fn shed(&mut self) -> bool {
        self.chunks.pop_front().is_some()
    }

    /// Drops what lies in the future of `step`: the clock was wrong when it was counted.
    pub(super) fn rewind(&mut self, step: u64) {
        let mut kept = Self { open: None, chunks: VecDeque::new(), writing: Writing::default(), ..*self };
        self.each(0, step.saturating_add(1), |at, counts| {
            kept.push(at, counts);
        });
        *self = kept;
    }

    fn write(&mut self, step: u64, counts: &Counts) {
        let begun = self.writing.end > self.writing.first;
        if begun && (step < self.writing.end || step - self.writing.first >= CHUNK_STEPS) {
            self.seal();
        }
        let writing = &mut self.writing;
        if writing.end == writing.first {
            (writing.first, writing.end) = (step, step);
        }
        if step > writing.end {
            writing.settle();
            run(&mut writing.bytes, step - writing.end, true);
        }
        writing.end = step + 1;
        writing.sum.add(counts);
        if counts.seconds == self.seconds && counts.fields().iter().all(|field| *field == 0) {
            writing.idle += 1;
        } else {
            writing.settle();
            encode(&mut writing.bytes, self.seconds, counts);
        }
    }

    fn seal(&mut self) {
        let mut writing = std::mem::take(&mut self.writing);
        writing.settle();
        let Writing { first, end, bytes, sum, .. } = writing;
        self.chunks.push_back(Chunk { first, end, bytes: bytes.into_boxed_slice(), sum });
    }

    fn forget(&mut self, before: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.end <= before) {
            self.chunks.pop_front();
        }
    }
}

impl Writing {
    fn settle(&mut self) {
        if self.idle > 0 {
            run(&mut self.bytes, self.idle, false);
            self.idle = 0;
        }
    }
}

/// Appends `count` steps that are idle, or of which nothing is known.
fn run(bytes: &mut Vec<u8>, count: u64, unknown: bool) {
    varint(bytes, 0);
    varint(bytes, count << 1 | u64::from(unknown));
}

/// Appends a step. One that is idle and whole is written by [`run`] instead.
pub(super) fn encode(bytes: &mut Vec<u8>, seconds: u64, counts: &Counts) {
    let mut fields = counts.fields();
    let timed = counts.timed();
    // Modulo 2^64 both ways, so that every difference comes back as it was.
    fields[REQUESTS] = zigzag(fields[REQUESTS].wrapping_sub(timed));
    let missing = seconds.saturating_sub(counts.seconds);
    let mut mask = u64::from(missing > 0);
    for (at, field) in fields.iter().enumerate() {
        mask |= u64::from(*field > 0) << (at + 1);
    }
    if mask == 0 {
        run(bytes, 1, false);
        return;
    }
    varint(bytes, mask);
    for number in std::iter::once(missing).chain(fields).filter(|number| *number > 0) {
        varint(bytes, number);
    }
}

/// What was encoded next.
pub(super) enum Decoded {
    /// One step.
    Counts(Counts),
    /// Idle steps.
    Idle(u64),
    /// Steps of which nothing is known.
    Unknown(u64),
}

/// Reads what [`encode`] or [`run`] wrote; `None` at the end, or at what neither writes.
pub(super) fn decode(bytes: &mut &[u8], seconds: u64) -> Option<Decoded> {
    let mask = unvarint(bytes)?;
    if mask == 0 {
        let run = unvarint(bytes)?;
        return Some(if run & 1 == 1 { Decoded::Unknown(run >> 1) } else { Decoded::Idle(run >> 1) });
    }
    let missing = if mask & 1 == 1 { unvarint(bytes)? } else { 0 };
    let mut fields = [0; FIELDS];
    for (at, field) in fields.iter_mut().enumerate() {
        if mask >> (at + 1) & 1 == 1 {
            *field = unvarint(bytes)?;
        }
    }
    let timed = fields[FIELDS - BUCKET_COUNT..].iter().fold(0_u64, |sum, count| sum.wrapping_add(*count));
    fields[REQUESTS] = unzigzag(fields[REQUESTS]).wrapping_add(timed);
    Some(Decoded::Counts(Counts::of_fields(seconds.saturating_sub(missing), fields)))
}

fn each(first: u64, seconds: u64, bytes: &[u8], from: u64, to: u64, mut take: impl FnMut(u64, &Counts)) {
    let mut rest = bytes;
    let mut at = first;
    while at < to {
        match decode(&mut rest, seconds) {
            None => return,
            Some(Decoded::Unknown(count)) => at = at.saturating_add(count),
            Some(Decoded::Idle(count)) => {
                let idle = Counts { seconds, ..Counts::default() };
                (at.max(from)..at.saturating_add(count).min(to)).for_each(|at| take(at, &idle));
                at = at.saturating_add(count);
            }
            Some(Decoded::Counts(counts)) => {
                if at >= from {
                    take(at, &counts);
                }
                at += 1;
            }
        }
    }
}

const fn zigzag(number: u64) -> u64 {
    let signed = number as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

const fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Appends a number in base 128, low digits first.
pub(super) fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads what [`varint`] wrote.
pub(super) fn unvarint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
