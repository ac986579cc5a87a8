//! What the end-to-end tests need: processes that are really started and really killed, a backend with switches, raw HTTP
//! on both sides, and a load client that remembers the outcome of every request.
//!
//! Everything blocks and runs on plain threads: a test must not share a runtime's faults with what it tests. Every wait
//! has a deadline and every failure names what was missing.

pub mod address;
pub mod cluster;
pub mod dns;
pub mod gateway;
pub mod grpc;
pub mod h2;
pub mod http;
pub mod http2;
pub mod lab;
pub mod load;
pub mod origin;
pub mod process;
pub mod scripted;
pub mod soak;
pub mod tls;
pub mod tools;
pub mod wire;

pub use address::{free, free_on};
pub use dns::NameServer;
pub use gateway::Mainstay;
pub use origin::Origin;
pub use wire::Wire;

use std::time::{Duration, Instant};

/// Asks until `condition` holds.
///
/// # Panics
/// If it does not hold within `limit`.
pub fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
