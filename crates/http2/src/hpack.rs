//! HPACK (RFC 7541), the header compression of HTTP/2.
//!
//! Each direction of a connection has a table that both ends must change in step, so an error in one block makes every
//! later block unreadable: the caller answers an [`Error`] by ending the connection with COMPRESSION_ERROR.

mod decode;
mod encode;
mod huffman;
mod integer;
mod table;

pub use decode::{Decoder, Field, Limits, Outcome};
pub use encode::{Encoder, Indexing, indexing_for};
pub use table::FIELD_OVERHEAD;

/// The size of a table until settings say otherwise (SETTINGS_HEADER_TABLE_SIZE, RFC 9113 6.5.2).
pub const DEFAULT_TABLE_BYTES: usize = 4096;

/// Why a header block cannot be decoded. Every one of them is a connection error of type COMPRESSION_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The block ends inside an integer or a string.
    #[error("the header block ends inside a field")]
    Truncated,
    /// An integer is larger than anything that a block can mean.
    #[error("an integer in the header block is too large")]
    Integer,
    /// An index is zero, or beyond the end of both tables.
    #[error("a header field refers to an index that does not exist")]
    Index,
    /// A string is not a Huffman code: EOS in it, or padding that is too long or not of ones.
    #[error("a string in the header block is not valid Huffman code")]
    Huffman,
    /// A change of the table's size exceeds the limit, or comes after a field.
    #[error("the header block changes the table's size where or as it must not")]
    SizeUpdate,
    /// The limit was lowered, and the block does not begin with the change that has to follow.
    #[error("the header block does not acknowledge the lowered table size")]
    SizeUpdateMissing,
}
