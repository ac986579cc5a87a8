//! Encoding of header blocks (RFC 7541 6), and what is worth a place in the table.

use super::table::{STATIC, Table};
use super::{DEFAULT_TABLE_BYTES, huffman, integer};

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexing {
    /// It goes into the table, so that the next time it is one byte: for what is repeated.
    Index,
    /// It does not: for what is different each time, and would only push others out.
    Without,
    /// It does not, and no later hop may store it either (RFC 7541 7.1.3): for short secrets.
    Never,
}

/// How a field of this name, in lower case, is best written. Dates are indexed: within a second they are the same. What
/// commonly carries a secret never is: many clients share the table of a connection to an endpoint, and one could try whether
/// a guess of another's makes a block shorter.
pub fn indexing_for(name: &[u8]) -> Indexing {
    match name {
        b"authorization"
        | b"proxy-authorization"
        | b"cookie"
        | b"set-cookie"
        | b"api-key"
        | b"x-api-key"
        | b"x-auth-token"
        | b"x-csrf-token"
        | b"x-xsrf-token"
        | b"x-amz-security-token" => Indexing::Never,
        b":path" | b"age" | b"content-length" | b"content-range" | b"etag" | b"if-modified-since"
        | b"if-none-match" | b"if-range" | b"location" | b"range" | b"referer" | b"retry-after" | b"grpc-timeout"
        | b"grpc-message" | b"traceparent" | b"tracestate" | b"x-request-id" | b"x-correlation-id"
        | b"x-forwarded-for" | b"forwarded" => Indexing::Without,
        _ => Indexing::Index,
    }
}

/// Slots of the index over the table. A table of 4096 bytes holds 128 fields at most; twice as many slots keep two
/// fields seldom in one.
const SLOTS: usize = 256;

/// Values up to this length that stay out of the table are written as they are: Huffman code would save some bytes of them each
/// time, and take longer than the whole rest of their field.
const PLAIN_BYTES: usize = 64;

/// Encodes the header blocks of one direction of a connection.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// The smallest size that the peer asked for since the last block, if that block has to say so.
    smallest: Option<usize>,
    /// The size to use from the next block on.
    wanted: usize,
    /// The number of insertions so far, modulo 2^16.
    inserted: u16,
    /// By hash of name and value, the number of the insertion that stored such a field. A slot may be stale or another
    /// field's: what it points at is compared.
    fields: [u16; SLOTS],
    /// The same by name alone.
    names: [u16; SLOTS],
}

/// Where a name was found.
enum Known {
    /// Name and value, at this index.
    Field(usize),
    /// The name, at this index.
    Name(usize),
    /// Nothing.
    New,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder with the table that every connection starts with.
    pub fn new() -> Self {
        Self {
            table: Table::new(DEFAULT_TABLE_BYTES),
            smallest: None,
            wanted: DEFAULT_TABLE_BYTES,
            inserted: 0,
            fields: [0; SLOTS],
            names: [0; SLOTS],
        }
    }

    /// Takes the peer's SETTINGS_HEADER_TABLE_SIZE. More than [`DEFAULT_TABLE_BYTES`] is not made use of. What changes
    /// is written at the beginning of the next block.
    pub fn set_max_table(&mut self, bytes: usize) {
        let bytes = bytes.min(DEFAULT_TABLE_BYTES);
        if bytes == self.wanted {
            return;
        }
        self.wanted = bytes;
        let smallest = self.smallest.unwrap_or(self.table.max());
        self.smallest = Some(smallest.min(bytes));
    }

    /// Begins a block.
    #[inline]
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(smallest) = self.smallest.take() {
            self.change_size(smallest, out);
        }
    }

    /// Several changes between two blocks are written as the smallest and the last (RFC 7541 4.2).
    fn change_size(&mut self, smallest: usize, out: &mut Vec<u8>) {
        if smallest < self.table.max() && smallest < self.wanted {
            integer::encode(out, 0x20, 5, smallest);
            self.table.set_max(smallest);
        }
        integer::encode(out, 0x20, 5, self.wanted);
        self.table.set_max(self.wanted);
    }

    /// Writes the status of a response.
    #[inline]
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            other => return self.other_status(out, other),
        };
        out.push(0x80 | index);
    }

    fn other_status(&mut self, out: &mut Vec<u8>, status: u16) {
        let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
        self.field(out, b":status", &[digit(100), digit(10), digit(1)], Indexing::Index);
    }

    /// Writes a field. The name is in lower case: HTTP/2 has no other.
    pub fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], indexing: Indexing) {
        let name_hash = hash(name, 0);
        let (pattern, prefix, field_hash) = match indexing {
            Indexing::Index => (0x40, 6, hash(value, name_hash)),
            Indexing::Without => (0x00, 4, 0),
            Indexing::Never => (0x10, 4, 0),
        };
        let index = match self.find(name, value, name_hash, field_hash, indexing) {
            Known::Field(index) => return integer::encode(out, 0x80, 7, index),
            Known::Name(index) => index,
            Known::New => 0,
        };
        integer::encode(out, pattern, prefix, index);
        if index == 0 {
            string(out, name);
        }
        if indexing != Indexing::Index && value.len() <= PLAIN_BYTES {
            plain(out, value);
        } else {
            string(out, value);
        }
        if indexing == Indexing::Index {
            self.insert(name, value, name_hash, field_hash);
        }
    }

    fn insert(&mut self, name: &[u8], value: &[u8], name_hash: u32, field_hash: u32) {
        // One that is too large would empty the table of the peer, and has to empty ours.
        if self.table.insert(name, value) {
            self.fields[slot(field_hash)] = self.inserted;
            self.names[slot(name_hash)] = self.inserted;
            self.inserted = self.inserted.wrapping_add(1);
        }
    }

    #[inline]
    fn find(&self, name: &[u8], value: &[u8], name_hash: u32, field_hash: u32, indexing: Indexing) -> Known {
        if indexing == Indexing::Index
            && let Some(age) = self.age(self.fields[slot(field_hash)])
            && self.table.get(age).is_some_and(|stored| stored == (name, value))
        {
            return Known::Field(STATIC.len() + 1 + age);
        }
        if let Some(index) = static_name(name, name_hash) {
            // A field that must not be stored is not written as an index even if the table has it.
            if indexing != Indexing::Never
                && let Some(exact) = static_field(index, name, value)
            {
                return Known::Field(exact);
            }
            return Known::Name(index);
        }
        match self.age(self.names[slot(name_hash)]) {
            Some(age) if self.table.get(age).is_some_and(|stored| stored.0 == name) => {
                Known::Name(STATIC.len() + 1 + age)
            }
            Some(_) | None => Known::New,
        }
    }

    /// How many insertions ago the one with this number was, if it is still in the table.
    #[inline]
    fn age(&self, insertion: u16) -> Option<usize> {
        let age = usize::from(self.inserted.wrapping_sub(insertion).wrapping_sub(1));
        (age < self.table.len()).then_some(age)
    }
}

#[inline]
fn string(out: &mut Vec<u8>, text: &[u8]) {
    let length = huffman::encoded_len(text);
    if length < text.len() {
        integer::encode(out, 0x80, 7, length);
        huffman::encode(text, length, out);
    } else {
        plain(out, text);
    }
}

#[inline]
fn plain(out: &mut Vec<u8>, text: &[u8]) {
    integer::encode(out, 0x00, 7, text.len());
    out.extend_from_slice(text);
}

const fn slot(hash: u32) -> usize {
    (hash >> 24) as usize
}

/// A quick hash: of the length, and of what stands at the beginning, in the middle and at the end. What shares a slot
/// only loses a place in an index, so nobody gains by making it collide.
#[inline]
const fn hash(text: &[u8], seed: u32) -> u32 {
    const FACTORS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9];
    let length = text.len();
    let (first, middle, last) = if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let middle = match text.split_at((length - 8) / 2).1.first_chunk() {
            Some(middle) => u64::from_le_bytes(*middle),
            None => 0,
        };
        (u64::from_le_bytes(*first), middle, u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        (u32::from_le_bytes(*first) as u64, 0, u32::from_le_bytes(*last) as u64)
    } else if length > 0 {
        (text[0] as u64, text[length / 2] as u64, text[length - 1] as u64)
    } else {
        (0, 0, 0)
    };
    let mixed = (first ^ seed as u64).wrapping_mul(FACTORS[0])
        ^ middle.rotate_left(32).wrapping_mul(FACTORS[1])
        ^ (last ^ length as u64).rotate_left(16).wrapping_mul(FACTORS[2]);
    ((mixed ^ mixed >> 29).wrapping_mul(FACTORS[0]) >> 32) as u32
}

/// The static names by hash: the first index of each, with linear probing; zero is an empty slot.
static STATIC_NAMES: [u8; SLOTS] = {
    let mut slots = [0; SLOTS];
    let mut at = STATIC.len();
    // From the end, so that the first of several entries with one name is the last to be placed.
    while at > 0 {
        let name = STATIC[at - 1].0;
        let mut slot = slot(hash(name, 0));
        while slots[slot] != 0 && !same(STATIC[slots[slot] as usize - 1].0, name) {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = at as u8;
        at -= 1;
    }
    slots
};

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The first index of a static entry of this name.
#[inline]
fn static_name(name: &[u8], name_hash: u32) -> Option<usize> {
    let mut slot = slot(name_hash);
    loop {
        let index = usize::from(STATIC_NAMES[slot]);
        let (stored, _) = STATIC.get(index.checked_sub(1)?)?;
        if *stored == name {
            return Some(index);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The index of the static entry with this name and value, if there is one from `first` on.
#[inline]
fn static_field(first: usize, name: &[u8], value: &[u8]) -> Option<usize> {
    // Every other value in the static table is empty.
    if !(2..=16).contains(&first) {
        return None;
    }
    let rest = STATIC.get(first - 1..)?;
    let nth = rest.iter().take_while(|(stored, _)| *stored == name).position(|(_, stored)| *stored == value)?;
    Some(first + nth)
}
