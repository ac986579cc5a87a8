//! Inhibition: an alert that explains others keeps them from being told.

use std::collections::{BTreeMap, HashMap};

use super::book::Instance;
use super::labels::{Fingerprint, Labels};

/// While an alert of one of the names `by` fires, those with one of the names `of` and the same labels `alike` are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhibition {
    /// Alerts that explain.
    pub by: &'static [&'static str],
    /// Alerts that are explained.
    pub of: &'static [&'static str],
    /// Labels in which they agree; none of them is empty.
    pub alike: &'static [&'static str],
}

/// What explains what among the built-in alerts.
pub const fn standard() -> &'static [Inhibition] {
    const AT_ENDPOINTS: &[&str] = &["EndpointDown", "EndpointEjected", "BreakerOpen"];
    const OF_A_SERVICE: &[&str] =
        &["EndpointDown", "EndpointEjected", "BreakerOpen", "ServiceDegraded", "ErrorRateHigh", "ResponseTimeHigh"];
    &[
        Inhibition { by: &["ZoneLost"], of: AT_ENDPOINTS, alike: &["service", "zone"] },
        Inhibition { by: &["ServiceDown"], of: OF_A_SERVICE, alike: &["service"] },
        Inhibition { by: &["QuorumLost"], of: &["NodeAway"], alike: &[] },
        Inhibition { by: &["NodeAway"], of: &["CpuHigh", "MemoryHigh", "ConnectionsHigh"], alike: &["node"] },
    ]
}

/// Which of the alerts follow from which others. A graver alert of the same name about the same thing explains the lesser.
pub(super) fn inhibited(
    rules: &[Inhibition],
    instances: &BTreeMap<Fingerprint, Instance>,
) -> BTreeMap<Fingerprint, Fingerprint> {
    let mut found = BTreeMap::new();
    let firing = || instances.iter().filter(|(_id, instance)| instance.is_firing());
    for rule in rules {
        let agreeing = |instance: &Instance| -> Option<Vec<String>> {
            let values = rule.alike.iter().map(|name| instance.labels.get(name).to_owned());
            let values: Vec<String> = values.collect();
            values.iter().all(|value| !value.is_empty()).then_some(values)
        };
        let sources: HashMap<Vec<String>, Fingerprint> = firing()
            .filter(|(_id, instance)| rule.by.contains(&instance.name()))
            .filter_map(|(id, instance)| Some((agreeing(instance)?, *id)))
            .collect();
        if sources.is_empty() {
            continue;
        }
        for (id, instance) in firing().filter(|(_id, instance)| rule.of.contains(&instance.name())) {
            if let Some(source) = agreeing(instance).and_then(|values| sources.get(&values)) {
                found.entry(*id).or_insert(*source);
            }
        }
    }
    let mut gravest: HashMap<Labels, (super::Severity, Fingerprint)> = HashMap::new();
    for (id, instance) in firing() {
        let best = gravest.entry(instance.labels.without("severity")).or_insert((instance.severity, *id));
        if instance.severity < best.0 {
            *best = (instance.severity, *id);
        }
    }
    for (id, instance) in firing() {
        if let Some((severity, source)) = gravest.get(&instance.labels.without("severity"))
            && *severity < instance.severity
        {
            found.entry(*id).or_insert(*source);
        }
    }
    found
}
