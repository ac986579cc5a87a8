//! Endpoints that an operator drains.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Gateway;
use crate::state::{Endpoint, Service};

/// Why an endpoint could not be drained.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DrainError {
    /// No such service; the known ones are named.
    #[error("no service `{0}`; there are: {1}")]
    NoService(String, String),
    /// No such endpoint; the known ones are named.
    #[error("service `{0}` has no endpoint `{1}`; it has: {2}")]
    NoEndpoint(String, String, String),
}

impl Gateway {
    /// Stops (or, with `drain` false, resumes) sending new requests to an endpoint. Survives reloads that keep it.
    ///
    /// # Errors
    /// If there is no such service or endpoint.
    pub fn drain(&self, service: &str, endpoint: &str, drain: bool) -> Result<(), DrainError> {
        let (found, target) = self.look_up(service, endpoint)?;
        if target.drained.swap(drain, Ordering::AcqRel) != drain {
            *target.changed_at.lock().unwrap_or_else(PoisonError::into_inner) = std::time::SystemTime::now();
        }
        found.epoch.fetch_add(1, Ordering::Release);
        tracing::info!(service, endpoint, drain, "endpoint drain changed");
        Ok(())
    }

    /// The endpoint of that name.
    ///
    /// # Errors
    /// If there is no such service or endpoint.
    pub fn find(&self, service: &str, endpoint: &str) -> Result<Arc<Endpoint>, DrainError> {
        self.look_up(service, endpoint).map(|(_service, endpoint)| endpoint)
    }

    fn look_up(&self, service: &str, endpoint: &str) -> Result<(Arc<Service>, Arc<Endpoint>), DrainError> {
        let state = self.state();
        let Some(found) = state.services.iter().find(|it| it.spec.name == service) else {
            let known: Vec<&str> = state.services.iter().map(|it| it.spec.name.as_str()).collect();
            return Err(DrainError::NoService(service.to_owned(), known.join(", ")));
        };
        let Some(target) = found.endpoints.iter().find(|it| it.name == endpoint) else {
            let known: Vec<&str> = found.endpoints.iter().map(|it| it.name.as_str()).collect();
            return Err(DrainError::NoEndpoint(service.to_owned(), endpoint.to_owned(), known.join(", ")));
        };
        Ok((Arc::clone(found), Arc::clone(target)))
    }
}
