//! `[route] mirror`: a share of the requests goes to another service as well.

use std::time::Duration;

use mainstay_gateway::spec::Mirror;

use super::keys;
use super::problem::Fault;
use super::reader::{Item, Place};

const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
const MAX_IN_FLIGHT: u64 = 64;
/// Each copy in flight holds the buffers of an exchange.
const MAX_IN_FLIGHT_MAX: u64 = 10_000;

/// A mirror, and where its service is named.
pub(super) fn read(item: &Item<'_>, own_service: &str) -> Option<(Mirror, Place)> {
    let section = item.section(&keys::MIRROR)?;
    let service = section.required("service", "name the [[service]] that gets the copies");
    let share = section.field("share", 1.0, |item| item.share(&(0.0..=1.0)));
    let timeout = section.duration("timeout", TIMEOUT, Duration::from_millis(1)..=TIMEOUT_MAX);
    let most = section.integer("max_in_flight", MAX_IN_FLIGHT, 1..=MAX_IN_FLIGHT_MAX);
    let service = service?;
    let name = service.text()?;
    if name == own_service {
        let fault = Fault::new(format!("the route leads to service `{name}` already: its requests would be doubled"));
        service.error(fault.hint("mirror to another service"));
        return None;
    }
    let mirror = Mirror {
        service: name.to_owned(),
        share: share.value,
        timeout: timeout.value,
        max_in_flight: u32::try_from(most.value).unwrap_or(u32::MAX),
    };
    Some((mirror, service.place))
}
