//! The records of a worker's last requests, in a ring: the newest is written over the oldest.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::fallback::Form;
use mainstay_core::time::Moment;

use super::trace::Trace;
use crate::admission::Note;
use crate::http::exchange::Exchange;
use crate::http::record::Ending;
use crate::http::sticky::Session;
use crate::mirror::Copied;
use crate::state::State;
use crate::worker::table::{Listener, Route};

/// The state that a worker serves from, shared by the records of its requests. They refer to it and not to the worker's
/// table, which holds connections.
#[derive(Debug)]
pub(crate) struct Scene(pub(crate) Arc<State>);

/// A text of limited length.
#[derive(Clone, Debug)]
pub(crate) struct Text<const N: usize> {
    length: u16,
    pub(crate) is_cut: bool,
    bytes: [u8; N],
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self { length: 0, is_cut: false, bytes: [0; N] }
    }
}

impl<const N: usize> Text<N> {
    fn set(&mut self, text: &[u8]) {
        let length = text.len().min(N);
        self.bytes[..length].copy_from_slice(&text[..length]);
        self.length = length as u16;
        self.is_cut = text.len() > N;
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// One request.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// `None` in a place that was never written.
    pub(crate) scene: Option<Rc<Scene>>,
    /// Places in the scene.
    pub(crate) listener: usize,
    pub(crate) route: Option<usize>,
    pub(crate) started: Moment,
    pub(crate) duration: Duration,
    pub(crate) ending: Ending,
    pub(crate) bytes: (u64, u64),
    pub(crate) trace: Trace,
    pub(crate) copied: Copied,
    pub(crate) fallback: Option<Form>,
    /// What the response cache had.
    pub(crate) cache: Option<&'static str>,
    /// The hash of the tenant's name.
    pub(crate) tenant: Option<u64>,
    pub(crate) session: Session,
    /// The cell of the account, by its place in the route.
    pub(crate) cell: Option<u16>,
    pub(crate) admission: Note,
    /// The id of the trace, as its upper and lower half; 0 if it carried none.
    pub(crate) trace_id: [u64; 2],
    /// Whether a head was read; the three texts about it say something only then.
    pub(crate) has_head: bool,
    pub(crate) method: Text<14>,
    pub(crate) client: Text<46>,
    pub(crate) id: Text<128>,
    pub(crate) host: Text<62>,
    pub(crate) path: Text<126>,
}

/// How a request ended, beyond what the exchange holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) ending: Ending,
    pub(crate) bytes: (u64, u64),
    pub(crate) duration: Duration,
}

/// The last requests of one worker.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    records: Vec<Record>,
    next: usize,
}

impl Ring {
    /// Makes room for `count` records; what is known is forgotten if their number changes.
    pub(crate) fn resize(&mut self, count: usize) {
        if self.records.len() != count {
            self.records = std::iter::repeat_with(Record::default).take(count).collect();
            self.next = 0;
        }
    }

    /// Keeps a request that has ended.
    pub(crate) fn keep(&mut self, listener: &Listener, route: Option<&Route>, exchange: &Exchange, end: End) {
        let count = self.records.len();
        let Some(record) = self.records.get_mut(self.next) else { return };
        self.next = if self.next + 1 == count { 0 } else { self.next + 1 };
        record.scene = Some(Rc::clone(&listener.scene));
        record.listener = listener.number;
        record.route = route.map(|route| route.number);
        record.started = exchange.started;
        record.duration = end.duration;
        record.ending = end.ending;
        record.bytes = end.bytes;
        record.trace.copy(&exchange.trace, &exchange.attempts);
        record.copied = exchange.copied;
        record.fallback = exchange.fallback;
        record.cache = exchange.cache.word;
        record.tenant = exchange.isolation.tenant;
        record.session = exchange.isolation.pin.session;
        record.cell = exchange.isolation.cell.and_then(|cell| u16::try_from(cell).ok());
        record.admission = exchange.admission;
        record.trace_id = [(exchange.context.trace >> 64) as u64, exchange.context.trace as u64];
        record.id.set(&exchange.request_id);
        record.client.set(exchange.client.as_bytes());
        record.has_head = exchange.head.length > 0;
        if record.has_head {
            let bytes = exchange.head_bytes();
            record.method.set(exchange.head.method.get(bytes));
            record.host.set(exchange.head.host.get(bytes));
            record.path.set(exchange.head.path.get(bytes));
        }
    }

    /// The records with this id, or of the trace with this id, the newest first. Ids that trusted proxies choose may occur more
    /// than once.
    pub(crate) fn find<'a>(&'a self, id: &'a [u8]) -> impl Iterator<Item = &'a Record> {
        let trace = trace_of(id);
        let is_meant = move |record: &&Record| record.id.get() == id || trace == Some(record.trace_id);
        self.newest_first().filter(is_meant)
    }

    /// All records, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Record> {
        let (newer, older) = self.records.split_at(self.next);
        newer.iter().rev().chain(older.iter().rev()).filter(|record| record.scene.is_some())
    }
}

/// The id as that of a trace, if it may be one.
fn trace_of(id: &[u8]) -> Option<[u64; 2]> {
    let text = std::str::from_utf8(id).ok().filter(|text| text.len() == 32)?;
    let half = |digits| u64::from_str_radix(digits, 16).ok();
    Some([half(text.get(..16)?)?, half(text.get(16..)?)?]).filter(|id| *id != [0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_says_so() {
        let mut text = Text::<4>::default();
        for (given, kept, is_cut) in [(&b"abcdef"[..], &b"abcd"[..], true), (b"ab", b"ab", false), (b"", b"", false)] {
            text.set(given);
            assert_eq!((text.get(), text.is_cut), (kept, is_cut));
        }
    }

    #[test]
    fn a_record_is_as_small_as_the_documentation_says() {
        assert!(size_of::<Record>() <= 852, "{} bytes", size_of::<Record>());
    }
}
