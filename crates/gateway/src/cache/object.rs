//! One stored response.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainstay_core::cache::{self, Freshness, Sharing, Validators, selecting};
use mainstay_core::time::Moment;

use crate::http1::field::Name;
use crate::http1::response;
use crate::http1::write;

/// A stored response. Nothing in it changes but the time until which its origin is left alone.
#[derive(Debug)]
pub(crate) struct Object {
    /// Stands for its route and the service that it leads to: what one route has stored is not for another.
    pub(crate) zone: u64,
    pub(crate) status: u16,
    /// Its fields as lines, without those of a connection, `Age` and `Content-Length`.
    pub(crate) fields: Vec<u8>,
    pub(crate) body: Arc<[u8]>,
    pub(crate) freshness: Freshness,
    pub(crate) sharing: Sharing,
    /// The fields of requests that it depends on, and what its own request said in them.
    pub(crate) names: Vec<Box<[u8]>>,
    pub(crate) selected: Vec<u8>,
    etag: Option<Range<usize>>,
    modified: Option<Range<usize>>,
    date: Option<Range<usize>>,
    /// Until when a failed validation is not repeated, in nanoseconds of the process's clock.
    held_until: AtomicU64,
}

/// What an object is made of, besides its fields and body.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) zone: u64,
    pub(crate) status: u16,
    pub(crate) freshness: Freshness,
    pub(crate) sharing: Sharing,
    pub(crate) names: Vec<Box<[u8]>>,
    pub(crate) selected: Vec<u8>,
}

impl Object {
    pub(crate) fn new(about: About, fields: Vec<u8>, body: Arc<[u8]>) -> Self {
        let find = |wanted: &str| {
            let mut at = 0;
            for line in fields.split_inclusive(|byte| *byte == b'\n') {
                let start = at;
                at += line.len();
                let (name, value) = parts(line);
                if name.eq_ignore_ascii_case(wanted.as_bytes()) {
                    let from = start + line.len().min(name.len() + 2);
                    return Some(from..from + value.len());
                }
            }
            None
        };
        let About { zone, status, freshness, sharing, names, selected } = about;
        Self {
            etag: find("etag"),
            modified: find("last-modified"),
            date: find("date"),
            held_until: AtomicU64::new(0),
            zone,
            status,
            fields,
            body,
            freshness,
            sharing,
            names,
            selected,
        }
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> u64 {
        let names: usize = self.names.iter().map(|name| name.len() + 16).sum();
        (self.fields.len() + self.body.len() + names + self.selected.len()) as u64
    }

    /// Whether a request with these fields selects it.
    pub(crate) fn is_selected<'a>(
        &self,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        scratch: &mut Vec<u8>,
    ) -> bool {
        if self.names.is_empty() {
            return true;
        }
        scratch.clear();
        selecting(&self.names, fields, scratch);
        *scratch == self.selected
    }

    fn at(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        range.and_then(|range| self.fields.get(range.clone()))
    }

    /// Its entity tag, if it has one.
    pub(crate) fn etag(&self) -> Option<&[u8]> {
        self.at(self.etag.as_ref())
    }

    /// Its `Last-Modified`, if it has one.
    pub(crate) fn modified(&self) -> Option<&[u8]> {
        self.at(self.modified.as_ref())
    }

    /// What a client's conditions are held against.
    pub(crate) fn validators(&self) -> Validators<'_> {
        Validators { etag: self.etag(), modified: self.modified().or_else(|| self.at(self.date.as_ref())) }
    }

    /// Whether its origin can be asked if it is still good.
    pub(crate) fn can_be_validated(&self) -> bool {
        self.etag.is_some() || self.modified.is_some()
    }

    /// Leaves the origin alone until then: it could not be asked.
    pub(crate) fn hold(&self, until: Moment) {
        self.held_until.store(until.as_nanos(), Ordering::Relaxed);
    }

    /// Whether the origin is left alone.
    pub(crate) fn is_held(&self, now: Moment) -> bool {
        now.as_nanos() < self.held_until.load(Ordering::Relaxed)
    }
}

/// Name and value of a line.
fn parts(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    (&line[..colon], line.get(colon + 1..).unwrap_or_default().trim_ascii())
}

/// Names and values of lines.
pub(crate) fn pairs(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    lines.split_inclusive(|byte| *byte == b'\n').map(parts)
}

/// The fields of a response that are stored with it, as lines; `date` is when it came, if it does not say when it was made.
pub(crate) fn lines(head: &response::Head, bytes: &[u8], date: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for field in &head.fields {
        let name = field.name.get(bytes);
        let of_the_connection = matches!(
            field.known,
            Name::TransferEncoding
                | Name::Connection
                | Name::Te
                | Name::Upgrade
                | Name::HopByHop
                | Name::RequestId
                | Name::OwnError
        );
        if !of_the_connection && cache::keeps(name) && !write::is_nominated(&head.nominated, bytes, field) {
            write::field(&mut lines, name, field.value.get(bytes));
        }
    }
    if head.find(Name::Date).is_none() {
        write::field(&mut lines, b"date", date);
    }
    lines
}

/// The fields of a stored response after a 304 with the fields `fresh` (RFC 9111, section 3.2).
pub(crate) fn updated(stored: &[u8], fresh: &[u8]) -> Vec<u8> {
    let replaced =
        |name: &[u8]| cache::renewed(name) && pairs(fresh).any(|(new, _value)| new.eq_ignore_ascii_case(name));
    let mut lines = Vec::with_capacity(stored.len());
    for line in stored.split_inclusive(|byte| *byte == b'\n') {
        if !replaced(parts(line).0) {
            lines.extend_from_slice(line);
        }
    }
    for line in fresh.split_inclusive(|byte| *byte == b'\n') {
        if cache::renewed(parts(line).0) {
            lines.extend_from_slice(line);
        }
    }
    lines
}
