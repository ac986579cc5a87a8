//! What a route's responses are stored by.

use mainstay_core::cache::Policy;

/// The cache of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// What it does where origins leave it the choice.
    pub policy: Policy,
    /// Bytes of a body that is stored; larger ones go through.
    pub max_object: u64,
    /// Whether what clients say in `Cache-Control` counts.
    pub obeys_clients: bool,
}
