//! The two tables of a direction: the static one (RFC 7541 Appendix A), and the dynamic one (2.3.2).

use std::collections::VecDeque;

/// What an entry counts for beyond its name and value (RFC 7541 4.1), in a table as in a list's size.
pub const FIELD_OVERHEAD: usize = 32;

/// Below this many dead bytes, moving the living ones is not worth it.
const COMPACT_BYTES_MIN: usize = 512;

/// The static table; index 1 of the RFC is the first element.
pub(super) static STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where the name starts, counted from the first byte ever stored; the value follows the name.
    start: usize,
    name: usize,
    value: usize,
}

/// The dynamic table. Names and values lie one after another in one buffer, oldest first; evicted bytes at its front
/// are removed when they outweigh the living, so an insertion costs a copy of the field and seldom anything else.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    bytes: Vec<u8>,
    /// How many bytes were removed from the front of `bytes` so far.
    removed: usize,
    size: usize,
    max: usize,
}

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: Vec::new(), removed: 0, size: 0, max }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Changes the largest size, evicting what no longer fits.
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.evict_to(max);
        self.compact();
    }

    /// The name and value of the entry that was inserted `age` insertions ago.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entry(age)?;
        let from = entry.start - self.removed;
        let split = from + entry.name;
        Some((self.bytes.get(from..split)?, self.bytes.get(split..split + entry.value)?))
    }

    #[inline]
    fn entry(&self, age: usize) -> Option<Entry> {
        let last = self.entries.len().checked_sub(1)?;
        self.entries.get(last.checked_sub(age)?).copied()
    }

    /// Inserts a field, evicting older ones as needed. One that is larger than the whole table empties it and is not
    /// stored (RFC 7541 4.4); the answer says whether it was.
    #[inline]
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) -> bool {
        if !self.make_room(name.len() + value.len() + FIELD_OVERHEAD) {
            return false;
        }
        let start = self.removed + self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.push(start, name.len(), value);
        true
    }

    /// Inserts a field whose name is that of the entry of `age`, which the insertion itself may evict.
    pub(super) fn insert_named_as(&mut self, age: usize, value: &[u8]) -> bool {
        let Some(named) = self.entry(age) else { return false };
        if !self.make_room(named.name + value.len() + FIELD_OVERHEAD) {
            return false;
        }
        // Eviction leaves the bytes where they are until `compact`, so the name can still be read.
        let start = self.removed + self.bytes.len();
        let from = named.start - self.removed;
        self.bytes.extend_from_within(from..from + named.name);
        self.push(start, named.name, value);
        true
    }

    fn push(&mut self, start: usize, name: usize, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.entries.push_back(Entry { start, name, value: value.len() });
        self.compact();
    }

    fn make_room(&mut self, needed: usize) -> bool {
        let Some(left) = self.max.checked_sub(needed) else {
            self.evict_to(0);
            return false;
        };
        self.evict_to(left);
        self.size += needed;
        true
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let Some(entry) = self.entries.pop_front() else { break };
            self.size -= entry.name + entry.value + FIELD_OVERHEAD;
        }
    }

    fn compact(&mut self) {
        let dead = match self.entries.front() {
            Some(oldest) => oldest.start - self.removed,
            None => self.bytes.len(),
        };
        if dead < COMPACT_BYTES_MIN || dead * 2 < self.bytes.len() {
            return;
        }
        self.bytes.copy_within(dead.., 0);
        self.bytes.truncate(self.bytes.len() - dead);
        self.removed += dead;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_order() {
        let mut table = Table::new(110);
        assert!(table.insert(b":authority", b"www.example.com"));
        assert_eq!(table.size(), 57);
        assert!(table.insert(b"cache-control", b"no-cache"));
        assert_eq!((table.size(), table.len()), (110, 2));
        assert_eq!(table.get(0), Some((&b"cache-control"[..], &b"no-cache"[..])));
        assert_eq!(table.get(1), Some((&b":authority"[..], &b"www.example.com"[..])));
        assert_eq!(table.get(2), None);
        assert!(table.insert(b"a", b""));
        assert_eq!((table.size(), table.len()), (86, 2), "the oldest made room");
        assert!(!table.insert(&[b'x'; 79], b""), "one byte too large for the whole table");
        assert_eq!((table.size(), table.len()), (0, 0));
        assert!(table.insert(&[b'x'; 78], b""));
    }

    #[test]
    fn a_name_is_copied_from_the_entry_that_makes_room() {
        let mut table = Table::new(100);
        table.insert(b"the-name", b"a value of some length");
        assert!(table.insert_named_as(0, b"another value, longer than the first"));
        assert_eq!(table.get(0), Some((&b"the-name"[..], &b"another value, longer than the first"[..])));
        assert_eq!(table.len(), 1);
        assert!(!table.insert_named_as(1, b""), "there is no such entry");
    }

    #[test]
    fn the_buffer_stays_small() {
        let mut table = Table::new(4096);
        for nth in 0..100_000_usize {
            let value = vec![b'v'; nth * 7 % 300];
            table.insert(b"name", &value);
            assert_eq!(table.get(0), Some((&b"name"[..], &value[..])));
            assert!(table.bytes.len() <= 2 * 4096 + COMPACT_BYTES_MIN, "{}", table.bytes.len());
        }
        let sizes: usize = (0..table.len()).filter_map(|age| table.get(age)).map(|(n, v)| n.len() + v.len() + 32).sum();
        assert_eq!(table.size(), sizes);
        table.set_max(0);
        assert_eq!((table.size(), table.len(), table.bytes.len()), (0, 0, 0));
    }
}
