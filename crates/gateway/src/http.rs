//! HTTP exchanges: a connection's requests one after another, each with its attempts at endpoints.

pub(crate) mod attempt;
mod attempts;
pub(crate) mod attendant;
pub(crate) mod caching;
pub(crate) mod cells;
mod challenge;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod grpc;
mod hedge;
pub(crate) mod identity;
pub(crate) mod isolation;
pub(crate) mod quarantine;
pub(crate) mod ready;
pub(crate) mod record;
pub(crate) mod respond;
pub(crate) mod retrying;
mod routing;
pub(crate) mod sending;
pub(crate) mod sticky;
pub(crate) mod tunnel;
pub(crate) mod unattended;
