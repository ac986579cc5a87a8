//! The families about names that endpoints come from.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use mainstay_gateway::state::{Source, State};

use super::Families;

impl Families<'_, '_> {
    pub(super) fn sources(&mut self, state: &State) -> fmt::Result {
        let each = |read: fn(&Source) -> u64| {
            state.services.iter().flat_map(move |service| {
                service.sources.iter().map(move |source| {
                    ([("service", service.spec.name.as_str()), ("source", source.name.as_str())], read(source))
                })
            })
        };
        let found = |source: &Source| source.found.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        let found = each(found).map(|(labels, count)| (labels, count as f64));
        self.gauge(("mainstay_service_source_endpoints", "Endpoints of the name's last good answer."), None, found)?;
        let name = ("mainstay_service_source_answers", "Answers that named endpoints.");
        self.counter(name, each(|source| source.answers.load(Ordering::Relaxed)))?;
        let name = ("mainstay_service_source_failures", "Answers that named none, and look-ups that failed.");
        self.counter(name, each(|source| source.failures.load(Ordering::Relaxed)))
    }
}
