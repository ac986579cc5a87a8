//! The PROXY protocol: a header in front of everything else on a connection, by which a proxy that does not speak the
//! application's protocol says whom it forwards for. Both versions, read (`receive`) and written (`write`). Reading and
//! writing of bytes is here without I/O.

mod crc32c;
pub(crate) mod receive;
mod v1;
mod v2;
pub(crate) mod write;

use std::net::SocketAddr;

/// The longest header that is read, and thereby the most that is held for a connection that has said nothing yet.
pub(crate) const MAX_BYTES: usize = 4096;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The connection is forwarded for a client.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
    /// The proxy speaks for itself (its own checks), or for somebody who has no IP address.
    Local,
}

/// How far a header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    Partial,
    /// It is there, and this many bytes long.
    Complete(Header, usize),
}

/// Why bytes are no header. None of them ever becomes one by further bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("this is no PROXY header")]
    NotOne,
    #[error("the line of version 1 is not as it must be")]
    Line,
    #[error("the line of version 1 has no end within {} bytes", v1::MAX_BYTES)]
    EndlessLine,
    #[error("the version is not 2")]
    Version,
    #[error("the command is neither LOCAL nor PROXY")]
    Command,
    #[error("the address family or the transport is not one that arrives over TCP")]
    Family,
    #[error("the length is too small for the addresses")]
    Short,
    #[error("the header is longer than {MAX_BYTES} bytes")]
    Long,
    #[error("an extension (TLV) does not fit into the header")]
    Extension,
    #[error("the checksum is wrong")]
    Checksum,
}

/// Reads a header at the front of `bytes`, of either version.
///
/// # Errors
/// As soon as no further bytes could make a header of them.
pub(crate) fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    match bytes.first() {
        None => Ok(Progress::Partial),
        Some(b'P') => v1::parse(bytes),
        Some(_) => v2::parse(bytes),
    }
}

#[cfg(test)]
mod tests;
