//! `tenant` of routes and services, and `shard` of services.

use mainstay_core::shard::{PARTITIONS_MAX, Policy, SIZE_MAX};
use mainstay_gateway::spec::{Missing, Protocol, Service, Sharding, Tenant, TenantKey};

use super::problem::Fault;
use super::reader::{Item, Reader, Section};
use super::relations::Parts;
use super::{keys, listener, words};

/// Segments of a path that are counted, at most.
const SEGMENT_MAX: u64 = 16;

/// How requests name their tenants.
pub(super) fn tenant(item: &Item<'_>) -> Option<Tenant> {
    if !item.is_table() {
        item.wrong_type("a table", "write tenant = { header = \"x-tenant\" }");
        return None;
    }
    let section = item.section(&keys::TENANT)?;
    let key = key(&section);
    let words = [("default", Missing::Default), ("refuse", Missing::Refuse)];
    let missing = section.field("missing", Missing::Default, |item| item.one_of(&words)).value;
    Some(Tenant { key: key?, missing })
}

/// Where a name stands: exactly one of several keys says so.
fn key(section: &Section<'_>) -> Option<TenantKey> {
    let header = section.item("header").map(|item| item.parsed(words::header_name).map(TenantKey::Header));
    // The name of a cookie is a token, as that of a header is, but case counts.
    let cookie = section
        .item("cookie")
        .map(|item| item.parsed(|text| words::header_name(text).map(|_lower| text.to_owned())).map(TenantKey::Cookie));
    let api_key = section.item("api_key").map(|item| item.parsed(words::header_name).map(TenantKey::ApiKey));
    let segment = section.item("segment").map(|item| {
        item.integer(&(1..=SEGMENT_MAX)).and_then(|number| usize::try_from(number).ok()).map(TenantKey::Segment)
    });
    let sni = section.item("sni").map(|item| match item.flag() {
        Some(false) => {
            item.error(Fault::new("`sni = false` says nothing").hint("leave it out"));
            None
        }
        flag => flag.map(|_true| TenantKey::Sni),
    });
    let mut given = [header, cookie, api_key, segment, sni].into_iter().flatten();
    let Some(first) = given.next() else {
        let fault = Fault::new("one of `header`, `cookie`, `api_key`, `segment` and `sni` is needed here");
        section.reader.error_if_whole(&section.place, fault);
        return None;
    };
    if given.next().is_some() {
        let fault = Fault::new("one of `header`, `cookie`, `api_key`, `segment` and `sni`, not several");
        section.reader.error(&section.place, fault);
    }
    first
}

/// Which endpoints a tenant may use.
pub(super) fn shard(item: &Item<'_>) -> Option<Sharding> {
    if !item.is_table() {
        item.wrong_type("a table", "write shard = { shuffle = 2 } or shard = { partitions = 4 }");
        return None;
    }
    let section = item.section(&keys::SHARD)?;
    let number = |key: &str, bounds| section.item(key).map(|item| (item.integer(&bounds), item));
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let shuffle = number("shuffle", 1..=SIZE_MAX as u64);
    let partitions = number("partitions", 2..=PARTITIONS_MAX as u64);
    let overlap = number("max_overlap", 0..=SIZE_MAX as u64);
    let spill = section.flag("spill", false);
    if spill.value {
        let fault = Fault::new("a tenant that has broken all its endpoints goes on to everybody else's");
        section.reader.warn(&spill.place, fault.hint("leave `spill` out, or make shards larger"));
    }
    let policy = match (shuffle, partitions) {
        (Some((size, item)), None) => {
            let size = whole(size?);
            let max_overlap = match overlap {
                Some((most, _item)) => Some(whole(most?)),
                None => None,
            };
            if max_overlap.is_some_and(|most| most >= size) {
                let fault = Fault::new(format!("sets of {size} cannot share more than {}", size.saturating_sub(1)));
                item.error(fault.hint("make `max_overlap` smaller, or leave it out"));
                return None;
            }
            Policy::Shuffle { size, max_overlap }
        }
        (None, Some((count, _item))) => {
            if let Some((_most, item)) = overlap {
                item.error(Fault::new("partitions do not overlap").hint("use `max_overlap` with `shuffle`"));
            }
            Policy::Partition(whole(count?))
        }
        (Some(_), Some((_, item))) => {
            item.error(Fault::new("either `shuffle` or `partitions`, not both"));
            return None;
        }
        (None, None) => {
            let fault = Fault::new("one of `shuffle` and `partitions` is needed here");
            section.reader.error_if_whole(&section.place, fault);
            return None;
        }
    };
    Some(Sharding { policy, spill: spill.value })
}

/// What has to hold between the shards of a service and the rest of it.
pub(super) fn check_service(section: &Section<'_>, service: &Service) {
    let (Some(sharding), Some(item)) = (&service.shard, section.item("shard")) else { return };
    let known = service.endpoints.len();
    let needed = match sharding.policy {
        Policy::Partition(count) => count,
        Policy::Shuffle { size, .. } => size + 1,
    };
    // How many a name brings is not known before it is asked.
    if service.sources.is_empty() && known > 0 && known < needed {
        let message = match sharding.policy {
            Policy::Partition(count) => format!("{known} endpoints leave some of {count} partitions without any"),
            Policy::Shuffle { size, .. } => format!("with {known} endpoints every set of {size} holds all of them"),
        };
        item.error(Fault::new(message).hint("choose a smaller number, or add endpoints"));
    }
    if service.endpoints.windows(2).any(|pair| pair[0].priority != pair[1].priority) {
        let fault = Fault::new("shards and spares by `priority` do not go together: a tenant might get spares only");
        item.error(fault.hint("give all endpoints the same `priority`"));
    }
}

/// What has to hold between services with shards and those who lead to them: each request has a tenant.
pub(super) fn check_relations(reader: &Reader<'_>, parts: &Parts<'_>) {
    for read in parts.services.iter().filter(|read| read.service.shard.is_some()) {
        let name = read.service.name.as_str();
        let nameless = parts
            .routes
            .iter()
            .filter(|route| route.route.service == name)
            .find(|route| read.service.tenant.is_none() && route.route.tenant.is_none());
        if let Some(route) = nameless {
            let fault = Fault::new(format!(
                "service `{name}` has shards, but nothing says how requests of route `{}` name their tenants",
                route.route.name
            ));
            reader.error_if_whole(&read.place, fault.hint("write tenant = { header = \"x-tenant\" } in the service"));
        }
        let is_over_tcp = |read: &&listener::Read| match &read.listener.protocol {
            Protocol::Tcp { service, .. } => service == name,
            Protocol::Http(_) | Protocol::Database(_) => false,
        };
        if let Some(listener) = parts.listeners.iter().find(is_over_tcp) {
            let message = format!("service `{name}` has shards, but connections over TCP have no tenants");
            let fault = Fault::new(message).hint("use another service for the TCP listener");
            reader.error(listener.service.as_ref().unwrap_or(&listener.place), fault);
        }
    }
}
