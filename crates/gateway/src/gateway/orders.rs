//! What an operator wants: endpoints drained, with another weight, ejected, or judged anew; addresses that go elsewhere.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Gateway;
use crate::state::{Endpoint, Service};
use crate::worker::Command;

/// No share of traffic is larger.
const WEIGHT_MAX: u32 = 1_000;

/// There is no such endpoint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownEndpoint {
    /// No such service; the known ones are named.
    #[error("no service `{0}`; there are: {1}")]
    NoService(String, String),
    /// No such endpoint; the known ones are named.
    #[error("service `{0}` has no endpoint `{1}`; it has: {2}")]
    NoEndpoint(String, String, String),
}

impl Gateway {
    /// Another node is about to have these addresses: from now on clients that came to one of them are told to close their
    /// connections with the next response (`Connection: close`, GOAWAY), and others are not. Replaces what was said before.
    pub fn relieve(&self, addresses: &BTreeSet<IpAddr>) {
        let ips: Arc<[IpAddr]> = addresses.iter().copied().collect();
        for worker in &self.workers {
            let _stopped = worker.commands.send(Command::Relieve { ips: Arc::clone(&ips) });
        }
    }

    /// Stops (or, with `drain` false, resumes) sending new requests to an endpoint. Survives reloads that keep it.
    ///
    /// # Errors
    /// If there is no such service or endpoint.
    pub fn drain(&self, service: &str, endpoint: &str, drain: bool) -> Result<(), UnknownEndpoint> {
        let (found, target) = self.look_up(service, endpoint)?;
        if target.drained.swap(drain, Ordering::AcqRel) != drain {
            *target.changed_at.lock().unwrap_or_else(PoisonError::into_inner) = std::time::SystemTime::now();
        }
        found.epoch.fetch_add(1, Ordering::Release);
        tracing::info!(service, endpoint, drain, "endpoint drain changed");
        Ok(())
    }

    /// Gives an endpoint another share of traffic (1 to 1000), or with `None` its configured one. Survives reloads that keep it.
    /// Balancers begin their rounds anew.
    ///
    /// # Errors
    /// If there is no such service or endpoint.
    pub fn weigh(&self, service: &str, endpoint: &str, weight: Option<u32>) -> Result<(), UnknownEndpoint> {
        let (found, target) = self.look_up(service, endpoint)?;
        target.weight_ordered.store(weight.map_or(0, |weight| weight.clamp(1, WEIGHT_MAX)), Ordering::Relaxed);
        found.is_reweighed.store(true, Ordering::Release);
        tracing::info!(service, endpoint, weight = target.weight(), "endpoint weight changed");
        self.serve_again();
        Ok(())
    }

    /// Sends an endpoint nothing for so long, up to a day, whatever its checks say and however few others there are.
    ///
    /// # Errors
    /// If there is no such service or endpoint.
    pub fn eject(&self, service: &str, endpoint: &str, lasts: Duration) -> Result<(), UnknownEndpoint> {
        let (found, target) = self.look_up(service, endpoint)?;
        self.health.order(&found, &target, Some(lasts));
        Ok(())
    }

    /// Forgets what is held against an endpoint: ends its ejection, gives it its whole weight, closes its circuit breaker. What
    /// active checks say of it stands.
    ///
    /// # Errors
    /// If there is no such service or endpoint.
    pub fn reset(&self, service: &str, endpoint: &str) -> Result<(), UnknownEndpoint> {
        let (found, target) = self.look_up(service, endpoint)?;
        self.health.order(&found, &target, None);
        let at = found.endpoints.iter().position(|it| Arc::ptr_eq(it, &target));
        if let Some(breaker) = at.and_then(|at| found.breakers.get(at)) {
            breaker.reset();
        }
        tracing::info!(service, endpoint, "endpoint is judged anew");
        Ok(())
    }

    /// The endpoint of that name.
    ///
    /// # Errors
    /// If there is no such service or endpoint.
    pub fn find(&self, service: &str, endpoint: &str) -> Result<Arc<Endpoint>, UnknownEndpoint> {
        self.look_up(service, endpoint).map(|(_service, endpoint)| endpoint)
    }

    fn look_up(&self, service: &str, endpoint: &str) -> Result<(Arc<Service>, Arc<Endpoint>), UnknownEndpoint> {
        let state = self.state();
        let Some(found) = state.services.iter().find(|it| it.spec.name == service) else {
            let known: Vec<&str> = state.services.iter().map(|it| it.spec.name.as_str()).collect();
            return Err(UnknownEndpoint::NoService(service.to_owned(), known.join(", ")));
        };
        let Some(target) = found.endpoints.iter().find(|it| it.name == endpoint) else {
            let known: Vec<&str> = found.endpoints.iter().map(|it| it.name.as_str()).collect();
            return Err(UnknownEndpoint::NoEndpoint(service.to_owned(), endpoint.to_owned(), known.join(", ")));
        };
        Ok((Arc::clone(found), Arc::clone(target)))
    }
}
