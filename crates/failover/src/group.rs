//! A node's part in its groups of database servers: the member's driver beside each local server, and the planner, which one
//! node at a time is.

pub mod board;
