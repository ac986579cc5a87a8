//! HTTP/2 without input and output (RFC 9113, RFC 7541, RFC 8441): bytes and the time go in, bytes and streams come out.
//!
//! A [`Connection`] plays either role. Whoever drives it hands it what the socket gave ([`Connection::receive`]), writes what
//! [`Connection::output`] holds, and lets the owners of streams call the rest. The engine is strict: whatever a peer must not
//! do ends the stream or the connection with the code that the RFC asks for.

pub mod connection;
pub mod fields;
mod flood;
mod flow;
pub mod frame;
pub mod hpack;
pub mod settings;
pub mod stream;

pub use connection::{Connection, Event, Role};
pub use fields::{Field, Fields, Span};
pub use frame::{Code, PREFACE};
pub use settings::Settings;
pub use stream::{Closed, Notify, Read, Sent};

/// The peer broke the protocol beyond repair, or floods us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ConnectionError {
    /// What the peer is told.
    pub code: Code,
    /// What it did.
    pub reason: &'static str,
}

pub(crate) const fn broken<T>(code: Code, reason: &'static str) -> Result<T, ConnectionError> {
    Err(ConnectionError { code, reason })
}
