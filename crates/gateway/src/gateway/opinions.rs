//! What this node thinks of endpoints, for others, and what others think, for this one.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use mainstay_core::health;
use mainstay_core::opinion::{Effect, Verdict};
use mainstay_core::random;

use super::Gateway;
use crate::state::Endpoint;

/// The number that an endpoint has on all nodes.
pub fn endpoint_number(service: &str, endpoint: &str) -> u64 {
    random::mix(random::hash(service.as_bytes()) ^ random::hash(endpoint.as_bytes()).rotate_left(1))
}

/// What this node says of an endpoint by its own checks and requests; nothing as long as there is nothing to go by.
fn own(endpoint: &Endpoint) -> Option<Verdict> {
    match (endpoint.health(), endpoint.ejected.load(Ordering::Acquire)) {
        (health::State::Down, _) | (_, true) => Some(Verdict::Down),
        (health::State::Up, false) => Some(Verdict::Up),
        (health::State::Unknown, false) => None,
    }
}

impl Gateway {
    /// What this node says of its endpoints, by their numbers.
    pub fn verdicts(&self) -> HashMap<u64, Verdict> {
        let state = self.state();
        let each = state.services.iter().flat_map(|service| {
            let name = service.spec.name.as_str();
            let of = move |endpoint: &std::sync::Arc<Endpoint>| {
                Some((endpoint_number(name, &endpoint.name), own(endpoint)?))
            };
            service.endpoints.iter().filter_map(of)
        });
        each.collect()
    }

    /// Heeds what came of the opinions of all nodes: `effect` says for each endpoint, by its number and this node's verdict, what
    /// this node does. One thread calls it. Answers how many endpoints it made a difference for.
    pub fn heed(&self, effect: impl Fn(u64, Option<Verdict>) -> Effect) -> usize {
        let mut changed = 0;
        for service in &self.state().services {
            let before = changed;
            for endpoint in &service.endpoints {
                let effect = effect(endpoint_number(&service.spec.name, &endpoint.name), own(endpoint));
                changed += usize::from(endpoint.set_effect(effect) != effect);
            }
            // Once for all of them: workers look at everything anew each time.
            if changed > before {
                service.epoch.fetch_add(1, Ordering::Release);
            }
        }
        changed
    }

    /// Drains the endpoints with these numbers on behalf of all nodes, and no others.
    pub fn drain_for_all(&self, drained: &HashSet<u64>) {
        for service in &self.state().services {
            let mut is_changed = false;
            for endpoint in &service.endpoints {
                let drain = drained.contains(&endpoint_number(&service.spec.name, &endpoint.name));
                if endpoint.drained_for_all.swap(drain, Ordering::AcqRel) != drain {
                    is_changed = true;
                    let (service, endpoint) = (&service.spec.name, &endpoint.name);
                    tracing::info!(service, endpoint, drain, "endpoint drain changed, for all nodes");
                }
            }
            if is_changed {
                service.epoch.fetch_add(1, Ordering::Release);
            }
        }
    }
}
