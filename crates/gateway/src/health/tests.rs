//! The driver over real sockets.

mod active;
mod bench;
mod journal;
mod names;
mod passive;
mod tls;
