//! The lines that requests leave: where they go, and which are left while the gateway runs.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::sampling::Rate;

use super::Gateway;
use crate::spec::Spec;
use crate::state::Route;

/// There is no route of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no route `{0}`")]
pub struct UnknownRoute(pub String);

/// Which requests leave a line, of those that nothing speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// The route that it holds for; `None`: all routes that nothing else was asked for.
    pub route: Option<String>,
    /// One in so many, as configured for the route, or for requests of routes that say nothing else.
    pub configured: Rate,
    /// What somebody has asked for in its place, and for how much longer that holds.
    pub wished: Option<(Rate, Duration)>,
}

impl Gateway {
    /// Access-log lines that were dropped because the log could not keep up or could not be written.
    pub fn access_log_dropped(&self) -> u64 {
        self.log.dropped()
    }

    /// Lines that were left out because there were more in a second than the configuration allows.
    pub fn access_log_limited(&self) -> u64 {
        self.choices.limited()
    }

    /// Reopens the access log's file, after others have put it aside.
    pub fn reopen_access_log(&self) {
        let current = self.current();
        self.log.open(current.spec.node.access_log.clone(), current.spec.telemetry.events.rotate);
    }

    /// Opens the log that `spec` wants, if that is another one.
    pub(super) fn open_access_log(&self, spec: &Spec) {
        let wanted = |spec: &Spec| (spec.node.access_log.clone(), spec.telemetry.events.rotate);
        let (log, rotate) = wanted(spec);
        if wanted(&self.current().spec) != (log.clone(), rotate) {
            self.log.open(log, rotate);
        }
    }

    /// Has `rate` hold for this long in place of what is configured, for a route or for all of them. What was asked for of one
    /// route goes before what was asked for of all.
    ///
    /// # Errors
    /// If there is no such route.
    pub fn wish_sampling(&self, route: Option<&str>, rate: Rate, long: Duration) -> Result<(), UnknownRoute> {
        let until = self.clock.now().after(long);
        match route {
            None => self.choices.wish.set(rate, until),
            Some(name) => self.route_named(name)?.sampling.set(rate, until),
        }
        Ok(())
    }

    /// Goes back to the configured sampling, for one route, or for everything that something was asked for.
    ///
    /// # Errors
    /// If there is no such route.
    pub fn end_wished_sampling(&self, route: Option<&str>) -> Result<(), UnknownRoute> {
        match route {
            Some(name) => self.route_named(name)?.sampling.clear(),
            None => {
                self.choices.wish.clear();
                self.state().routes.iter().for_each(|route| route.sampling.clear());
            }
        }
        Ok(())
    }

    /// Which requests leave a line: for all routes, and then for each route that something was asked for.
    pub fn sampling(&self) -> Vec<Sampling> {
        let current = self.current();
        let (now, configured) = (self.clock.now(), current.spec.telemetry.events.policy.rate);
        let mut all = vec![Sampling { route: None, configured, wished: self.choices.wish.get(now) }];
        all.extend(current.state.routes.iter().filter_map(|route| {
            let wished = Some(route.sampling.get(now)?);
            let configured = route.spec.events.map_or(configured, |policy| policy.rate);
            Some(Sampling { route: Some(route.spec.name.clone()), configured, wished })
        }));
        all
    }

    fn route_named(&self, name: &str) -> Result<Arc<Route>, UnknownRoute> {
        let state = self.state();
        let found = state.routes.iter().find(|route| route.spec.name == name);
        found.cloned().ok_or_else(|| UnknownRoute(name.to_owned()))
    }
}
