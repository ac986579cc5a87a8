//! What is seen of a node and its cluster, and what is told of it to people and other systems.

pub mod acme;
pub mod alerts;
pub mod certificates;
pub mod history;
pub mod ledger;
pub mod openslo;
pub mod otlp;
pub mod probes;
pub mod secret;
pub mod slo;
