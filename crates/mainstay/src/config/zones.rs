//! `node.zone`, `service.zones` and `service.capacity`: parts of a site that fail as one.

use mainstay_gateway::spec::{Capacity, Service, Zones};

use super::keys;
use super::problem::Fault;
use super::reader::{Place, Reader, Section};

/// With fewer eligible endpoints zones are not heeded, unless the configuration says otherwise.
const MIN_ENDPOINTS: u64 = 4;
const RPS_MOST: u64 = 100_000_000;

/// The preference of the own zone. The zone itself is filled in by [`settle`].
pub(super) fn read(service: &Section<'_>) -> Option<Zones> {
    let wanted = |min_endpoints: u64| {
        Some(Zones { own: String::new(), min_endpoints: usize::try_from(min_endpoints).unwrap_or(usize::MAX) })
    };
    let Some(item) = service.item("zones") else { return wanted(MIN_ENDPOINTS) };
    if item.word() == Some("off") {
        return None;
    }
    if !item.is_table() {
        item.wrong_type("a table or \"off\"", "write zones = { min_endpoints = 6 } or zones = \"off\"");
        return None;
    }
    let section = item.section(&keys::ZONES)?;
    wanted(section.integer("min_endpoints", MIN_ENDPOINTS, 2..=100_000).value)
}

/// What the service must bear.
pub(super) fn read_capacity(service: &Section<'_>) -> Option<Capacity> {
    let section = service.item("capacity")?.section(&keys::CAPACITY)?;
    let peak = section.required("peak_rps", "write the most requests a second that the service has to bear");
    let endpoint_rps = section.field("endpoint_rps", None, |item| item.integer(&(1..=RPS_MOST)).map(rps).map(Some));
    let peak_rps = rps(peak?.integer(&(1..=RPS_MOST))?);
    Some(Capacity { peak_rps, endpoint_rps: endpoint_rps.value })
}

/// What one endpoint can serve.
pub(super) fn read_rps(endpoint: &Section<'_>) -> Option<u32> {
    endpoint.field("rps", None, |item| item.integer(&(1..=RPS_MOST)).map(rps).map(Some)).value
}

fn rps(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Fills in the node's zone, and warns of what zones cannot do.
pub(super) fn settle(reader: &Reader<'_>, own: Option<&str>, service: &mut Service, place: &Place) {
    let has_zones = service.endpoints.iter().any(|endpoint| endpoint.zone.is_some());
    service.zones = match (service.zones.take(), own) {
        (Some(zones), Some(own)) if has_zones => Some(Zones { own: own.to_owned(), ..zones }),
        _no_zones => None,
    };
    let Some(capacity) = &service.capacity else { return };
    if capacity.endpoint_rps.is_none() && service.endpoints.iter().any(|endpoint| endpoint.rps.is_none()) {
        let fault = Fault::new("what an endpoint can serve is not known of all of them");
        reader.error(place, fault.hint("set `endpoint_rps` in `capacity`, or `rps` at each endpoint"));
        return;
    }
    let serving = service.endpoints.iter().filter(|endpoint| !endpoint.drain);
    let all: u64 = serving.clone().map(|endpoint| u64::from(endpoint.rps.or(capacity.endpoint_rps).unwrap_or(0))).sum();
    let peak = capacity.peak_rps;
    if all < u64::from(peak) {
        reader.warn(place, Fault::new(format!("all endpoints together serve {all} requests a second of {peak}")));
        return;
    }
    for loss in capacity.losses(serving).into_iter().filter(|loss| loss.is_short) {
        let fault = Fault::new(format!(
            "without zone `{}` the rest serves {} requests a second of {peak}",
            loss.zone, loss.left_rps
        ));
        reader.warn(place, fault.hint("add endpoints in other zones, or spares"));
    }
}
