//! Decoding of header blocks (RFC 7541 3 and 6).

use super::table::{FIELD_OVERHEAD, STATIC, Table};
use super::{DEFAULT_TABLE_BYTES, Error, huffman, integer};

/// What a block may decode to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The size of the decoded list at most, counted as SETTINGS_MAX_HEADER_LIST_SIZE does: names, values and
    /// [`FIELD_OVERHEAD`] for each field.
    pub list_bytes: usize,
}

/// How a block that could be decoded ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every field was handed over.
    Complete,
    /// The list was larger than the limit. The fields from the one that exceeded it on were not handed over; the table
    /// is in step all the same, so the connection can go on.
    TooLarge,
}

/// One decoded field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, as it was sent: upper case in it is for the caller to refuse.
    pub name: &'a [u8],
    /// The value, any bytes.
    pub value: &'a [u8],
    /// Whether the sender asked that no hop store it in a table ([`super::Indexing::Never`]).
    pub never_indexed: bool,
}

/// Decodes the header blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// The largest size that the sender may choose.
    limit: usize,
    /// The smallest limit since the last block, if it is below the table's size: the next block must get under it.
    owed: Option<usize>,
    /// Decoded strings of the field at hand.
    scratch: Vec<u8>,
}

/// Where the bytes of a string are.
#[derive(Clone, Copy)]
enum Text<'a> {
    Block(&'a [u8]),
    Scratch(usize, usize),
}

impl<'a> Text<'a> {
    fn get(self, scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Block(bytes) => bytes,
            Self::Scratch(from, to) => scratch.get(from..to).unwrap_or_default(),
        }
    }
}

/// Where the name of a literal comes from.
#[derive(Clone, Copy)]
enum Name<'a> {
    Static(&'static [u8]),
    Dynamic(usize),
    New(Text<'a>),
}

/// The size of the list so far, and where the fields go.
struct List<F> {
    left: usize,
    outcome: Outcome,
    field: F,
}

impl<F: FnMut(Field<'_>)> List<F> {
    #[inline]
    fn add(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        let size = name.len() + value.len() + FIELD_OVERHEAD;
        match self.left.checked_sub(size) {
            Some(left) => {
                self.left = left;
                (self.field)(Field { name, value, never_indexed });
            }
            None => {
                // Nothing smaller that follows may slip in: the list would have a hole.
                self.left = 0;
                self.outcome = Outcome::TooLarge;
            }
        }
    }
}

impl Decoder {
    /// A decoder whose sender may use a table of up to `max_table_bytes`. The size that it starts with is the
    /// protocol's, [`DEFAULT_TABLE_BYTES`], or less.
    ///
    /// A connection whose settings announce another size starts with the protocol's and calls
    /// [`Self::set_max_table`] when the settings are acknowledged.
    pub fn new(max_table_bytes: usize) -> Self {
        let table = Table::new(max_table_bytes.min(DEFAULT_TABLE_BYTES));
        Self { table, limit: max_table_bytes, owed: None, scratch: Vec::new() }
    }

    /// Changes the limit, from the block that follows the acknowledgement of our settings on. If it is below the size
    /// in use, that block must begin with a change of size.
    pub fn set_max_table(&mut self, max_table_bytes: usize) {
        self.limit = max_table_bytes;
        if max_table_bytes < self.table.max() {
            self.owed = Some(self.owed.map_or(max_table_bytes, |owed| owed.min(max_table_bytes)));
        }
    }

    /// Decodes one complete header block and hands over its fields in order.
    pub fn decode(
        &mut self,
        block: &[u8],
        limits: Limits,
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<Outcome, Error> {
        self.decode_fields(block, limits, |decoded| field(decoded.name, decoded.value))
    }

    /// Like [`Self::decode`], with what else is known of each field.
    pub fn decode_fields(
        &mut self,
        block: &[u8],
        limits: Limits,
        field: impl FnMut(Field<'_>),
    ) -> Result<Outcome, Error> {
        let mut at = self.size_updates(block)?;
        let mut list = List { left: limits.list_bytes, outcome: Outcome::Complete, field };
        while let Some(&first) = block.get(at) {
            at += 1;
            if first & 0x80 != 0 {
                let index = integer::decode(first, 7, block, &mut at)?;
                let (name, value) = self.indexed(index)?;
                list.add(name, value, false);
            } else if first & 0x40 != 0 {
                self.literal(first, 6, block, &mut at, &mut list)?;
            } else if first & 0x20 != 0 {
                return Err(Error::SizeUpdate);
            } else {
                self.literal(first, 4, block, &mut at, &mut list)?;
            }
        }
        Ok(list.outcome)
    }

    /// Reads the changes of size, which only a block's beginning may have (RFC 7541 4.2).
    fn size_updates(&mut self, block: &[u8]) -> Result<usize, Error> {
        let mut at = 0;
        while let Some(&first) = block.get(at)
            && first & 0xe0 == 0x20
        {
            at += 1;
            let size = integer::decode(first, 5, block, &mut at)?;
            if size > self.limit {
                return Err(Error::SizeUpdate);
            }
            if self.owed.is_some_and(|owed| size <= owed) {
                self.owed = None;
            }
            self.table.set_max(size);
        }
        if self.owed.is_some() { Err(Error::SizeUpdateMissing) } else { Ok(at) }
    }

    #[inline]
    fn indexed(&self, index: usize) -> Result<(&[u8], &[u8]), Error> {
        let index = index.checked_sub(1).ok_or(Error::Index)?;
        if let Some(&(name, value)) = STATIC.get(index) {
            return Ok((name, value));
        }
        self.table.get(index - STATIC.len()).ok_or(Error::Index)
    }

    fn literal<F: FnMut(Field<'_>)>(
        &mut self,
        first: u8,
        prefix: u32,
        block: &[u8],
        at: &mut usize,
        list: &mut List<F>,
    ) -> Result<(), Error> {
        self.scratch.clear();
        let name = match integer::decode(first, prefix, block, at)? {
            0 => Name::New(self.string(block, at)?),
            index => match STATIC.get(index - 1) {
                Some(&(name, _)) => Name::Static(name),
                None => Name::Dynamic(index - 1 - STATIC.len()),
            },
        };
        let value = self.string(block, at)?;
        let value = value.get(&self.scratch);
        let text = match name {
            Name::Static(name) => name,
            Name::Dynamic(age) => self.table.get(age).ok_or(Error::Index)?.0,
            Name::New(text) => text.get(&self.scratch),
        };
        list.add(text, value, prefix == 4 && first & 0x10 != 0);
        if prefix == 6 {
            match name {
                Name::Static(name) => self.table.insert(name, value),
                Name::Dynamic(age) => self.table.insert_named_as(age, value),
                Name::New(text) => self.table.insert(text.get(&self.scratch), value),
            };
        }
        Ok(())
    }

    /// Reads a string: where it is in the block, or, from Huffman code, in the scratch buffer.
    #[inline]
    fn string<'a>(&mut self, block: &'a [u8], at: &mut usize) -> Result<Text<'a>, Error> {
        let first = *block.get(*at).ok_or(Error::Truncated)?;
        *at += 1;
        let length = integer::decode(first, 7, block, at)?;
        let end = at.checked_add(length).ok_or(Error::Truncated)?;
        let bytes = block.get(*at..end).ok_or(Error::Truncated)?;
        *at = end;
        if first & 0x80 == 0 {
            return Ok(Text::Block(bytes));
        }
        let from = self.scratch.len();
        huffman::decode(bytes, &mut self.scratch)?;
        Ok(Text::Scratch(from, self.scratch.len()))
    }
}
