//! The lines that requests leave: where they go, and which are left while the gateway runs.

use std::time::Duration;

use mainstay_core::sampling::Rate;

use super::Gateway;
use crate::spec::Spec;

/// Which requests leave a line, of those that nothing speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// One in so many, as configured for requests of routes that say nothing else.
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
        self.wish.limited()
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

    /// Has `rate` hold for this long in place of what is configured, for all routes.
    pub fn wish_sampling(&self, rate: Rate, long: Duration) {
        self.wish.set(rate, self.clock.now().after(long));
    }

    /// Goes back to the configured sampling.
    pub fn end_wished_sampling(&self) {
        self.wish.clear();
    }

    /// Which requests leave a line.
    pub fn sampling(&self) -> Sampling {
        let configured = self.current().spec.telemetry.events.policy.rate;
        Sampling { configured, wished: self.wish.get(self.clock.now()) }
    }
}
