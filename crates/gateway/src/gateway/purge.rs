//! Forgetting stored responses by an operator's wish.

use super::Gateway;
use crate::http::caching;

/// Why nothing can be purged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// No such route.
    #[error("there is no route `{0}`")]
    NoRoute(String),
    /// It stores nothing.
    #[error("route `{0}` has no cache")]
    NoCache(String),
    /// Nothing is stored at all.
    #[error("no route has a cache")]
    NoCaches,
}

impl Gateway {
    /// Forgets the responses that a route, or every route, has stored of URLs whose path begins with `path`. Answers how many
    /// those were. What is under way is stored all the same.
    ///
    /// # Errors
    /// If there is no such route, or it has no cache.
    pub fn purge(&self, route: Option<&str>, path: &str) -> Result<usize, PurgeError> {
        let state = self.state();
        let is_meant = |name: &str| route.is_none_or(|route| route == name);
        let zones: Vec<u64> = state
            .routes
            .iter()
            .filter(|it| it.spec.cache.is_some() && is_meant(&it.spec.name))
            .map(|it| caching::zone(&it.spec))
            .collect();
        match (&state.cache, route) {
            (Some(store), _) if !zones.is_empty() => Ok(store.purge(&zones, path)),
            (_, Some(route)) if state.routes.iter().any(|it| it.spec.name == route) => {
                Err(PurgeError::NoCache(route.to_owned()))
            }
            (_, Some(route)) => Err(PurgeError::NoRoute(route.to_owned())),
            (_, None) => Err(PurgeError::NoCaches),
        }
    }
}
