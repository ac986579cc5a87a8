//! HTTP/2 (RFC 9113) without I/O: bytes come in, events and bytes go out, and whoever owns the socket moves them.

pub mod hpack;
