//! PostgreSQL's protocol without I/O, as far as leading clients to servers needs it: how a connection begins (`startup`),
//! where its messages end (`messages`), what a client waits for (`dialogue`), and errors that clients understand (`error`).
//! The protocol is chapter 55 of PostgreSQL's documentation ("Frontend/Backend Protocol"), version 3.

pub(crate) mod dialogue;
pub(crate) mod error;
pub(crate) mod messages;
pub(crate) mod startup;

#[cfg(test)]
mod tests;
