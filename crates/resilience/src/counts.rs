//! What a layer has done, to be read at any time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of what a layer did, by event. Shared by all services that the layer made.
///
/// With the feature `metrics` each event also counts in `mainstay_resilience_events_total{layer,name,event}` of the recorder
/// that is installed when the layer is made.
pub struct Counts {
    events: &'static [&'static str],
    counts: Box<[AtomicU64]>,
    #[cfg(feature = "metrics")]
    exported: Box<[metrics::Counter]>,
}

impl Counts {
    pub(crate) fn new(layer: &'static str, name: &str, events: &'static [&'static str]) -> Self {
        #[cfg(not(feature = "metrics"))]
        let _only_for_metrics = (layer, name);
        Self {
            events,
            counts: events.iter().map(|_event| AtomicU64::new(0)).collect(),
            #[cfg(feature = "metrics")]
            exported: events
                .iter()
                .map(|event| {
                    let labels =
                        [("layer", layer.to_owned()), ("name", name.to_owned()), ("event", (*event).to_owned())];
                    metrics::counter!("mainstay_resilience_events_total", &labels)
                })
                .collect(),
        }
    }

    /// Counts the event with this number; one that the layer does not have is a slip that costs a count.
    pub(crate) fn add(&self, event: usize) {
        if let Some(count) = self.counts.get(event) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        #[cfg(feature = "metrics")]
        if let Some(counter) = self.exported.get(event) {
            counter.increment(1);
        }
    }

    /// How often an event came; 0 for one that the layer does not have.
    pub fn get(&self, event: &str) -> u64 {
        self.iter().find(|(name, _count)| *name == event).map_or(0, |(_name, count)| count)
    }

    /// All events with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.events.iter().zip(&self.counts).map(|(event, count)| (*event, count.load(Ordering::Relaxed)))
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
