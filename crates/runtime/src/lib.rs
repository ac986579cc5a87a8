//! Threads, tasks, clock, sockets, signals, watched files and TLS material: everything that touches the system and is not
//! the protocol itself. This is the one crate that starts threads and tasks, so that each has an owner and a way to end.

pub mod clock;
pub mod defect;
pub mod descriptors;
pub mod journal;
pub mod names;
pub mod signal;
pub mod socket;
pub mod task;
pub mod thread;
pub mod tls;
pub mod user;
pub mod watch;
