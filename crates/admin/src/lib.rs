//! Who may do what at a node, what was done, and how the interface for it is described.

pub mod audit;
pub mod caller;
pub mod dashboard;
pub mod directory;
pub mod endpoint;
pub mod freshness;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod oidc;
pub mod openapi;
pub mod password;
pub mod precondition;
pub mod problem;
pub mod ration;
pub mod role;
pub mod secret;
pub mod session;
pub mod throttle;
