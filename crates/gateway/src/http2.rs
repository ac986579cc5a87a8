//! HTTP/2 on either side: a task drives each connection, and each request on it is served like one of HTTP/1.1.
//!
//! The engine ([`mainstay_http2`]) has no I/O. [`link`] couples it to a socket; [`stream`] is one stream of it as something to
//! read from and write to; [`text`] and [`head`] translate heads both ways.

pub(crate) mod connect;
pub(crate) mod head;
pub(crate) mod link;
pub(crate) mod request;
pub(crate) mod serve;
pub(crate) mod stream;
pub(crate) mod text;
