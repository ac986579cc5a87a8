//! HTTP/1 on the wire (RFC 9112): heads parsed and checked, bodies framed, heads written anew. No I/O happens here.

pub(crate) mod body;
pub(crate) mod field;
mod ops;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod websocket;
pub(crate) mod write;
