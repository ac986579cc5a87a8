//! Who is at the other end of a client's connection.

use std::net::SocketAddr;
use std::rc::Rc;

/// The client, as the socket knows it or as a PROXY header names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The client's address.
    pub(crate) address: SocketAddr,
    /// Where it connected to, if a PROXY header says so or an endpoint wants to know. Behind a pointer, since few
    /// connections need it and idle ones are many.
    pub(crate) destination: Option<Rc<SocketAddr>>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { address, destination: None }
    }
}
