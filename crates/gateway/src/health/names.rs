//! Where endpoints are that are configured by name.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::health::State;
use mainstay_core::random::{self, Rng};
use mainstay_core::resolve::{Change, Policy, Schedule};
use mainstay_runtime::names::{Answer, LookupError, Resolver, Settings};

use super::member::{Member, Why};
use crate::spec::{self, Address};

/// How names of endpoints are resolved, and how often.
#[derive(Clone)]
pub(crate) struct Names {
    /// What it is made from.
    pub(crate) settings: spec::Resolver,
    pub(crate) policy: Policy,
    pub(super) resolve: Resolve,
}

/// Looks up a host; behind a pointer, so that tests can stand in for DNS.
pub(super) type Resolve = Arc<dyn Fn(String) -> Resolving + Send + Sync>;

pub(super) type Resolving = Pin<Box<dyn Future<Output = Result<Answer<IpAddr>, LookupError>>>>;

impl Names {
    /// As `settings` say. Nobody is asked yet.
    pub(crate) fn new(settings: &spec::Resolver) -> Self {
        let resolver = Arc::new(resolver(settings));
        let resolve: Resolve = Arc::new(move |host| {
            let resolver = Arc::clone(&resolver);
            Box::pin(async move { resolver.addresses(&host).await })
        });
        Self { settings: settings.clone(), policy: policy(settings), resolve }
    }
}

/// The resolver that `settings` describe.
pub(crate) fn resolver(settings: &spec::Resolver) -> Resolver {
    Resolver::new(Settings { servers: settings.servers.clone(), timeout: settings.timeout })
}

/// How long answers hold by `settings`.
pub(crate) fn policy(settings: &spec::Resolver) -> Policy {
    Policy { min_ttl: settings.min_ttl, max_ttl: settings.max_ttl, ..Policy::default() }
}

impl Member {
    fn names(&self) -> Rc<Names> {
        Rc::clone(&self.surroundings.names.borrow())
    }

    /// Waits until it is known where the endpoint is, and answers after how long to ask again. While its name does not
    /// resolve, it is down.
    pub(super) async fn first_address(&self) -> Duration {
        let mut schedule = Schedule::default();
        if !self.endpoint.addresses().is_empty() {
            return self.names().policy.min_ttl;
        }
        loop {
            let wait = match self.resolve().await {
                Ok(answer) => {
                    self.take_answer(&answer.records);
                    return schedule.answered(&self.names().policy, answer.ttl);
                }
                Err(error) => {
                    self.change(State::Down, Some(format!("name does not resolve: {error}")));
                    self.gate.take();
                    schedule.failed(&self.names().policy, &mut self.rng())
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Waits until the name resolves to other addresses than the present one, and answers after how long to ask again. An
    /// address is kept while look-ups fail: a name server that is gone must not take well endpoints with it.
    pub(super) async fn moved(&self, mut wait: Duration) -> Duration {
        if !matches!(self.endpoint.address, Address::Name { .. }) {
            return std::future::pending().await;
        }
        let mut schedule = Schedule::default();
        loop {
            tokio::time::sleep(wait).await;
            match self.resolve().await {
                Ok(answer) => {
                    wait = schedule.answered(&self.names().policy, answer.ttl);
                    if self.why.borrow().name.is_some() {
                        let (service, endpoint) = (&self.plan().service.spec.name, &self.endpoint.name);
                        tracing::info!(service, endpoint, "endpoint's name resolves again");
                        self.explain(|why| why.name = None);
                    }
                    if self.take_answer(&answer.records) {
                        return wait;
                    }
                }
                Err(error) => {
                    self.keep(&error);
                    wait = schedule.failed(&self.names().policy, &mut self.rng());
                }
            }
        }
    }

    /// The address in use has failed a check while the endpoint is not up: if its name has another one, that is in use now.
    pub(super) fn try_next(&self) {
        let mut location = self.location.borrow_mut();
        if let Some(to) = location.try_next().copied() {
            tracing::debug!(endpoint = self.endpoint.name, %to, "the endpoint's next address is tried");
            self.endpoint.locate(location.all());
        }
    }

    /// Whether the endpoint has moved.
    fn take_answer(&self, addresses: &[SocketAddr]) -> bool {
        let mut location = self.location.borrow_mut();
        match location.answered(addresses) {
            Change::Nothing => return false,
            Change::Others => {
                self.endpoint.locate(location.all());
                return false;
            }
            Change::Moved { from, to } => {
                self.endpoint.locate(location.all());
                drop(location);
                self.settle_at(from, to);
            }
        }
        true
    }

    fn keep(&self, error: &LookupError) {
        let kept = self.endpoint.located().map_or_else(String::new, |address| address.to_string());
        if self.why.borrow().name.is_none() {
            let (service, endpoint) = (&self.plan().service.spec.name, &self.endpoint.name);
            tracing::warn!(service, endpoint, reason = %error, kept, "name does not resolve any more");
        }
        self.explain(|why| why.name = Some(format!("name does not resolve: {error} (last address kept: {kept})")));
    }

    async fn resolve(&self) -> Result<Answer<SocketAddr>, LookupError> {
        match &self.endpoint.address {
            Address::Name { host, port } => {
                let Answer { records, ttl } = (self.names().resolve)(host.clone()).await?;
                let records = records.into_iter().map(|address| SocketAddr::new(address, *port)).collect();
                Ok(Answer { records, ttl })
            }
            Address::Socket(_) | Address::Member { .. } | Address::Unix(_) => {
                Err(LookupError::Failed("not a name".to_owned()))
            }
        }
    }

    /// The endpoint is at `address` now; nothing is known of it there.
    fn settle_at(&self, from: Option<SocketAddr>, to: SocketAddr) {
        let plan = self.plan();
        let (service, endpoint) = (&plan.service.spec.name, &self.endpoint.name);
        match from {
            Some(from) => tracing::info!(service, endpoint, %from, %to, "endpoint has moved"),
            None => tracing::debug!(service, endpoint, %to, "endpoint's name is resolved"),
        }
        self.endpoint.failures_in_a_row.store(0, Ordering::Relaxed);
        if self.endpoint.ejected.load(Ordering::Acquire) {
            // Whoever failed is not there any more.
            self.set_ejected(None, None);
        }
        self.explain(|why| *why = Why::default());
        self.change(State::Unknown, None);
        self.raise_epoch();
    }

    fn rng(&self) -> Rng {
        Rng::seeded(random::hash(self.endpoint.name.as_bytes()) ^ self.surroundings.clock.now().as_nanos())
    }
}
