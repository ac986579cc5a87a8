//! The endpoints of a service: those that are listed, and the names whose answers say which others there are.

use std::collections::HashSet;

use mainstay_gateway::spec::{Address, Endpoint, Source};

use super::problem::Fault;
use super::reader::{Item, Section};
use super::{keys, words, zones};

/// What a service says of its endpoints.
pub(super) struct Endpoints {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) sources: Vec<Source>,
}

/// How a name of an endpoint is resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resolve {
    /// To one endpoint.
    One,
    /// To an endpoint for each address.
    All,
}

pub(super) fn read(section: &Section<'_>) -> Endpoints {
    let mut endpoints = Vec::new();
    let mut sources = Vec::new();
    let mut known = HashSet::new();
    let mut add = |item: &Item<'_>, resolve: Resolve, make: &dyn Fn(Address) -> Endpoint| {
        let Some(address) = item.parsed(words::endpoint) else { return };
        if !known.insert(address.clone()) {
            item.error(
                Fault::new(format!("endpoint `{address}` is there twice")).hint("give one of them a larger `weight`"),
            );
            return;
        }
        match (resolve, make(address)) {
            (Resolve::One, endpoint) => endpoints.push(endpoint),
            (
                Resolve::All,
                Endpoint { address: Address::Name { host, port }, weight, drain, priority, zone, spare, rps },
            ) => {
                sources.push(Source::Addresses { host, port, weight, drain, priority, zone, spare, rps });
            }
            (Resolve::All, endpoint) => {
                let fault = Fault::new(format!("`{}` is no name that could have several addresses", endpoint.address));
                item.error(fault.hint("leave `resolve` out"));
            }
        }
    };
    let short = section.item("endpoints");
    for item in short.iter().flat_map(Item::list) {
        add(&item, Resolve::One, &Endpoint::new);
    }
    let long = section.item("endpoint");
    // The plain list under the name of the tables: told once, and not that each address is no table.
    let is_short = long.as_ref().is_some_and(|item| item.word().is_some() || item.is_list_of_words());
    if let Some(item) = long.as_ref().filter(|_it| is_short) {
        let fault = Fault::new("addresses alone are written under the key `endpoints`");
        item.error(fault.hint(
            "write endpoints = [\"10.0.1.10:8080\"]; [[service.endpoint]] is for those with settings of their own",
        ));
    }
    let long = if is_short { Vec::new() } else { section.sections("endpoint", &keys::ENDPOINT) };
    for entry in long {
        let address = entry.required("address", "write address = \"10.0.1.10:8080\"");
        let weight = u32::try_from(entry.integer("weight", 1, 1..=1_000).value).unwrap_or(1);
        let priority = entry.integer("priority", 0, 0..=u64::from(u16::MAX)).value;
        let priority = u16::try_from(priority).unwrap_or(0);
        let drain = entry.flag("drain", false).value;
        let zone = entry.field("zone", None, |item| item.parsed(words::name).map(Some)).value;
        let spare = entry.flag("spare", false).value;
        let rps = zones::read_rps(&entry);
        let words = [("one", Resolve::One), ("all", Resolve::All)];
        let resolve = entry.field("resolve", Resolve::One, |item| item.one_of(&words)).value;
        if let Some(item) = address {
            add(&item, resolve, &|address| Endpoint {
                address,
                weight,
                drain,
                priority,
                zone: zone.clone(),
                spare,
                rps,
            });
        }
    }
    let srv = section.item("srv");
    if let Some(name) = srv.as_ref().and_then(|item| item.parsed(words::srv)) {
        sources.push(Source::Srv { name });
    }
    check(section, srv.is_some(), short.as_ref(), &endpoints, &sources);
    Endpoints { endpoints, sources }
}

fn check(section: &Section<'_>, has_srv: bool, short: Option<&Item<'_>>, endpoints: &[Endpoint], sources: &[Source]) {
    let names_none = !has_srv && short.is_none_or(|item| item.is_list() && item.list().is_empty());
    if names_none && section.item("endpoint").is_none_or(|item| item.is_list() && item.list().is_empty()) {
        let fault = Fault::new("a service needs at least one endpoint");
        section.reader.error_if_whole(
            &section.place,
            fault.hint(
                "write endpoints = [\"10.0.1.10:8080\", \"10.0.1.11:8080\"], or srv = \"_http._tcp.app.internal\"",
            ),
        );
    }
    if !endpoints.is_empty() && sources.is_empty() && endpoints.iter().all(|endpoint| endpoint.spare) {
        let fault = Fault::new("every endpoint is a spare: there is nobody that they could stand in for");
        section.reader.error(&section.place, fault.hint("leave `spare` out where traffic should go"));
    }
    let drained = |source: &Source| matches!(source, Source::Addresses { drain: true, .. });
    let is_any = !endpoints.is_empty() || !sources.is_empty();
    if is_any && endpoints.iter().all(|endpoint| endpoint.drain) && sources.iter().all(drained) {
        section.reader.warn(&section.place, Fault::new("every endpoint is drained: requests are answered 503"));
    }
}
