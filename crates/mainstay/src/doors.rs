//! Which listeners are open: those on an address that is held by listening only while this node holds it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use mainstay_gateway::spec::Spec;
use mainstay_gateway::{Gateway, StartError};

use crate::config::Config;
use crate::config::address::Mode;

/// What is configured, and what of it is open. Changes of either are made one at a time.
#[derive(Debug)]
pub struct Doors(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// The whole of it.
    spec: Spec,
    /// Addresses whose listeners open and close.
    bound: BTreeSet<IpAddr>,
    held: BTreeSet<IpAddr>,
}

impl Doors {
    /// For what is served from the start, when nothing is held.
    pub fn new(config: &Config) -> Self {
        Self(Mutex::new(Inner { spec: config.spec.clone(), bound: bound(config), held: BTreeSet::new() }))
    }

    /// What is served of a configuration as long as nothing is held.
    pub fn closed(config: &Config) -> Spec {
        open(&config.spec, &bound(config), &BTreeSet::new())
    }

    /// Serves another configuration.
    ///
    /// # Errors
    /// As [`Gateway::apply`]; what is served stays as it is.
    pub fn apply(&self, gateway: &Gateway, spec: Spec, config: &Config) -> Result<(), StartError> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = bound(config);
        gateway.apply(open(&spec, &bound, &inner.held))?;
        (inner.spec, inner.bound) = (spec, bound);
        Ok(())
    }

    /// Opens the listeners on what is held, and closes the others.
    ///
    /// # Errors
    /// Why it could not be done.
    pub fn hold(&self, gateway: &Gateway, held: &BTreeSet<IpAddr>) -> Result<(), String> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.held.clone_from(held);
        gateway.apply(open(&inner.spec, &inner.bound, held)).map_err(|error| error.to_string())
    }
}

fn bound(config: &Config) -> BTreeSet<IpAddr> {
    config.addresses.iter().filter(|address| address.mode == Mode::Bind).map(|address| address.address.ip).collect()
}

/// What is served of `spec`. Routes may name listeners that are closed.
fn open(spec: &Spec, bound: &BTreeSet<IpAddr>, held: &BTreeSet<IpAddr>) -> Spec {
    let mut spec = spec.clone();
    let is_open = |ip: IpAddr| !bound.contains(&ip) || held.contains(&ip);
    spec.listeners.retain(|listener| is_open(listener.bind.ip()));
    spec
}
