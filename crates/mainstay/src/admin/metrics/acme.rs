//! The families about certificates that authorities issue.

use std::fmt;

use mainstay_observe::acme::desk::View;
use prometheus_client::registry::Unit;

use super::Families;

impl Families<'_, '_> {
    pub(super) fn acme(&mut self, views: &[View]) -> fmt::Result {
        let label = |view: &'_ View| view.settings.name.clone();
        let names: Vec<String> = views.iter().map(label).collect();
        let rows = || names.iter().zip(views).map(|(name, view)| ([("certificate", name.as_str())], view));
        let missing = rows().map(|(labels, view)| (labels, f64::from(u8::from(view.certificate.is_none()))));
        let help = "1 while no certificate was issued and clients see a stand-in.";
        self.gauge(("mainstay_acme_missing", help), None, missing)?;
        let failures = rows().map(|(labels, view)| (labels, f64::from(view.failures)));
        let help = "Orders of a certificate that have failed since one succeeded.";
        self.gauge(("mainstay_acme_failures", help), None, failures)?;
        let last = rows().filter_map(|(labels, view)| Some((labels, view.last.as_ref()?.at as f64 / 1000.0)));
        let help = "When a certificate was last ordered, in time since 1970.";
        self.gauge(("mainstay_acme_last_order", help), Some(&Unit::Seconds), last)?;
        let orders = names.iter().zip(views).flat_map(|(name, view)| {
            [("issued", view.counts.0), ("failed", view.counts.1)]
                .map(|(outcome, count)| ([("certificate", name.as_str()), ("outcome", outcome)], count))
        });
        self.counter(("mainstay_acme_orders", "Orders of certificates by this process."), orders)
    }
}
