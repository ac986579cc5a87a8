//! The driver over real sockets.

mod active;
mod bench;
mod names;
mod passive;
mod tls;
