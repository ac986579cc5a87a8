//! `service.guard`: what happens when checks fail nearly everywhere at once.

use std::time::Duration;

use mainstay_core::guard::Policy;
use mainstay_gateway::spec::{Guard, HealthCheck, Liveness, Probe};

use super::problem::Fault;
use super::reader::{Item, Section};
use super::{keys, words};

const WINDOW_LEAST: Duration = Duration::from_millis(100);
const WINDOW_MOST: Duration = Duration::from_secs(3_600);

/// The guard, over checks of the given kind.
pub(super) fn read(service: &Section<'_>, health: Option<&HealthCheck>) -> Option<Guard> {
    let item = service.item("guard")?;
    let Some(health) = health else {
        let fault = Fault::new("`guard` has no effect without checks");
        item.error(fault.hint("set `health`, or leave `guard` out"));
        return None;
    };
    if health.probe == Probe::Tcp {
        let fault = Fault::new("`guard` has no effect on a TCP check: an endpoint that fails it takes no connections");
        item.error(fault.hint("name a path that looks deeper: health = { http = \"/health\" }"));
        return None;
    }
    let default = Policy { window: window(health), ..Policy::default() };
    if let Some(flag) = item.as_flag() {
        return flag.then_some(Guard { policy: default, liveness: Liveness::Tcp });
    }
    if !item.is_table() {
        item.wrong_type("true or a table", "write guard = true");
        return None;
    }
    read_table(&item, default)
}

fn read_table(item: &Item<'_>, default: Policy) -> Option<Guard> {
    let section = item.section(&keys::GUARD)?;
    let share = section.field("share", default.share, |item| item.share(&(0.1..=0.99))).value;
    let window = section.duration("window", default.window, WINDOW_LEAST..=WINDOW_MOST).value;
    let path = section.field("liveness", None, |item| item.parsed(words::target).map(Some)).value;
    let liveness = path.map_or(Liveness::Tcp, |path| Liveness::Http { path });
    Some(Guard { policy: Policy { share, window }, liveness })
}

/// Checks of several endpoints find out about one event at different times: twice as long as it takes one of them.
fn window(health: &HealthCheck) -> Duration {
    let policy = &health.policy;
    (policy.interval.saturating_mul(policy.unhealthy).saturating_mul(2)).max(Policy::default().window)
}
