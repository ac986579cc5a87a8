//! Who may do what at a node, what was done, and how the interface for it is described.

pub mod dashboard;
pub mod endpoint;
pub mod openapi;
pub mod problem;
pub mod role;
