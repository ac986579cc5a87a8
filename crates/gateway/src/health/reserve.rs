//! Whether a service could bear the loss of a zone, said when that changes.

use std::collections::BTreeSet;

use crate::state::Service;

/// The zones whose loss the service could not bear.
#[derive(Debug, Default)]
pub(super) struct Reserve(BTreeSet<String>);

impl Reserve {
    /// Looks again, and logs what is new.
    pub(super) fn look(&mut self, service: &Service) {
        let Some(capacity) = &service.spec.capacity else { return self.0.clear() };
        let mut short = BTreeSet::new();
        for loss in service.zone_losses().into_iter().filter(|loss| loss.is_short) {
            if !self.0.contains(&loss.zone) {
                let (service, zone) = (&service.spec.name, &loss.zone);
                let (left_rps, peak_rps) = (loss.left_rps, capacity.peak_rps);
                tracing::warn!(service, zone, left_rps, peak_rps, "without this zone the rest could not bear the peak");
            }
            short.insert(loss.zone);
        }
        for zone in self.0.difference(&short) {
            tracing::info!(service = service.spec.name, zone, "the rest could bear the peak without this zone again");
        }
        self.0 = short;
    }
}
