//! Conformance cases for a reverse proxy, and a runner that holds Mainstay and its peers against them.
//!
//! A case is a script for Debian's `varnishtest` with a client and a server that speak exactly the bytes that the script
//! says. It knows nothing of the proxy between them but addresses, so that every proxy is asked the same.

pub mod case;
pub mod proxy;
pub mod run;
pub mod table;

pub use case::Case;
pub use proxy::Kind;
pub use run::{Outcome, run};
