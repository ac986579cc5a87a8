//! What has to hold between listeners, routes and services.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use mainstay_core::route::{Match, shadowed};
use mainstay_gateway::OBJECT_SHARE;
use mainstay_gateway::spec::Protocol;

use super::problem::{Fault, listed, near};
use super::reader::{Field, Place, Reader, clip};
use super::{cell, isolation, listener, route, service, sticky, units};

/// Everything that was read.
pub(super) struct Parts<'p> {
    pub(super) listeners: &'p [listener::Read],
    pub(super) routes: &'p mut Vec<route::Read>,
    pub(super) services: &'p [service::Read],
    pub(super) cells: &'p [cell::Read],
    /// Whether there is a folder for what outlives the process.
    pub(super) keeps: bool,
    pub(super) admin: &'p Field<Option<SocketAddr>>,
}

/// Checks all relations and fills in the listeners of routes that leave them out.
pub(super) fn check(reader: &Reader<'_>, parts: &mut Parts<'_>) {
    unique(reader, "listener", parts.listeners.iter().map(|read| (read.listener.name.as_str(), &read.name)));
    unique(reader, "route", parts.routes.iter().map(|read| (read.route.name.as_str(), &read.name)));
    unique(reader, "cell", parts.cells.iter().map(|read| (read.cell.name.as_str(), &read.name)));
    cell::resolve(reader, parts, parts.cells);
    unique(reader, "service", parts.services.iter().map(|read| (read.service.name.as_str(), &read.name)));
    check_binds(reader, parts);
    check_services(reader, parts);
    fill_listeners(reader, parts);
    check_idle_listeners(reader, parts);
    check_shadows(reader, parts);
    isolation::check_relations(reader, parts);
    sticky::check_relations(reader, parts);
}

fn unique<'p>(reader: &Reader<'_>, kind: &str, names: impl Iterator<Item = (&'p str, &'p Place)>) {
    let mut known = HashMap::new();
    for (name, place) in names.filter(|(name, _place)| !name.is_empty()) {
        if let Some(line) = known.get(name) {
            let fault = Fault::new(format!("there is another {kind} `{name}`"));
            reader.error(place, fault.hint(format!("the first one is on line {line}")));
        } else {
            known.insert(name, reader.line(place));
        }
    }
}

fn check_binds(reader: &Reader<'_>, parts: &Parts<'_>) {
    let mut known: HashMap<SocketAddr, &listener::Read> = HashMap::new();
    for read in
        parts.listeners.iter().filter(|read| read.bind.is_given && read.bind.is_good && read.bind.value.port() > 0)
    {
        let bind = read.bind.value;
        if let Some(other) = known.get(&bind) {
            let fault = Fault::new(format!("listener `{}` listens on {bind} already", other.listener.name));
            reader.error(&read.bind.place, fault.hint("choose another port, or one listener with several routes"));
            continue;
        }
        known.insert(bind, read);
        let Some(admin) = parts.admin.value.filter(|_address| parts.admin.is_good) else { continue };
        let is_same_ip = bind.ip() == admin.ip() || (bind.ip().is_unspecified() && (bind.is_ipv6() || admin.is_ipv4()));
        if bind.port() == admin.port() && is_same_ip {
            let fault = Fault::new(format!("the admin interface listens on {admin} already"));
            let hint =
                if parts.admin.is_given { "choose another port" } else { "choose another port, or set `node.admin`" };
            reader.error(&read.bind.place, fault.hint(hint));
        }
    }
}

fn check_services(reader: &Reader<'_>, parts: &Parts<'_>) {
    let names: Vec<&str> = parts.services.iter().map(|read| read.service.name.as_str()).collect();
    let known: HashSet<&str> = names.iter().copied().collect();
    let mut used = HashSet::new();
    let mut all_known = true;
    let by_route = parts.routes.iter().map(|read| (read.route.service.as_str(), read.service.as_ref()));
    let by_mirror = parts
        .routes
        .iter()
        .filter_map(|read| read.route.mirror.as_ref().map(|mirror| (mirror.service.as_str(), read.mirror.as_ref())));
    let by_listener = parts.listeners.iter().filter_map(|read| match &read.listener.protocol {
        Protocol::Tcp { service, .. } => Some((service.as_str(), read.service.as_ref())),
        Protocol::Http(_) | Protocol::Database(_) => None,
    });
    let by_fallback = parts.routes.iter().filter_map(|read| {
        let read = read.fallback.as_ref()?;
        Some((read.fallback.service.as_deref()?, read.service.as_ref()))
    });
    for (name, place) in by_route.chain(by_mirror).chain(by_fallback).chain(by_listener) {
        used.insert(name);
        if let Some(place) = place
            && !name.is_empty()
            && !known.contains(name)
        {
            all_known = false;
            reader.error_if_whole(place, no_such("service", name, &names));
        }
    }
    let of_cells = cell::check(reader, parts, parts.cells, parts.keeps);
    used.extend(of_cells.iter().map(String::as_str));
    // With a misspelt reference, what looks unused is probably what was meant.
    for read in parts.services.iter().filter(|_service| all_known) {
        if !read.service.name.is_empty() && !used.contains(read.service.name.as_str()) {
            let fault = Fault::new(format!("no route and no TCP listener uses service `{}`", read.service.name));
            reader.warn(&read.place, fault);
        }
    }
}

fn no_such(kind: &str, name: &str, names: &[&str]) -> Fault {
    let fault = Fault::new(format!("there is no {kind} `{}`", clip(name)));
    let names = names.iter().copied().filter(|name| !name.is_empty());
    match near(name, names.clone()) {
        Some(meant) => fault.hint(format!("did you mean `{meant}`?")),
        None => match listed(names) {
            known if known.is_empty() => fault.hint(format!("add a [[{kind}]] with this name")),
            known => fault.hint(format!("there are: {known}")),
        },
    }
}

fn fill_listeners(reader: &Reader<'_>, parts: &mut Parts<'_>) {
    let names: Vec<&str> = parts.listeners.iter().map(|read| read.listener.name.as_str()).collect();
    let serving: Vec<&listener::Read> = parts.listeners.iter().filter(|read| read.takes_routes()).collect();
    for read in parts.routes.iter_mut() {
        if !read.names_listeners {
            read.route.listeners = serving.iter().map(|read| read.listener.name.clone()).collect();
            if serving.is_empty() {
                let fault = Fault::new("there is no HTTP listener that this route could serve");
                reader.error_if_whole(
                    &read.place,
                    fault.hint("add a [[listener]]; one with `redirect_https` or over TCP takes no routes"),
                );
            }
            continue;
        }
        for (name, place) in &read.listeners {
            match parts.listeners.iter().find(|read| read.listener.name == *name) {
                None => reader.error_if_whole(place, no_such("listener", name, &names)),
                Some(listener) if listener.takes_routes() => {}
                Some(listener) => {
                    let why = match listener.listener.protocol {
                        Protocol::Tcp { .. } => "it speaks TCP and sends everything to one service",
                        Protocol::Http(_) => "it redirects every request to https",
                        Protocol::Database(_) => "it leads to the servers of a database group",
                    };
                    reader.error(place, Fault::new(format!("listener `{name}` takes no routes: {why}")));
                }
            }
        }
    }
}

/// An object has to fit into the part of the memory that one lock covers.
pub(super) fn check_objects(reader: &Reader<'_>, routes: &[route::Read], memory: u64) {
    let most = memory / OBJECT_SHARE;
    for read in routes.iter().filter_map(|read| read.cache.as_ref()).filter(|read| read.cache.max_object > most) {
        let fault = Fault::new(format!(
            "an object of {} does not fit into a cache of {}",
            units::show_size(read.cache.max_object),
            units::show_size(memory)
        ));
        let hint = format!("it may take a {OBJECT_SHARE}th of `node.cache.memory`, {} here", units::show_size(most));
        reader.error(&read.max_object, fault.hint(hint));
    }
}

fn check_idle_listeners(reader: &Reader<'_>, parts: &Parts<'_>) {
    let is_known = |name: &str| parts.listeners.iter().any(|read| read.listener.name == name);
    if !parts.routes.iter().flat_map(|read| &read.route.listeners).all(|name| is_known(name)) {
        return;
    }
    let served: HashSet<&str> =
        parts.routes.iter().flat_map(|read| &read.route.listeners).map(String::as_str).collect();
    for read in
        parts.listeners.iter().filter(|read| read.takes_routes() && !served.contains(read.listener.name.as_str()))
    {
        let fault = Fault::new("no route serves this listener: every request is answered 404");
        reader.warn(&read.place, fault.hint("add a [[route]] that names a service"));
    }
}

/// Each listener has a table of its own, so a route may be shadowed on one listener and not on another; that is an
/// error all the same, since the route can be told not to serve the listener.
fn check_shadows(reader: &Reader<'_>, parts: &Parts<'_>) {
    let mut found: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    for listener in parts.listeners.iter().filter(|read| read.takes_routes()) {
        let name = listener.listener.name.as_str();
        let serving: Vec<usize> = (0..parts.routes.len())
            .filter(|index| parts.routes[*index].route.listeners.iter().any(|listener| listener == name))
            .collect();
        let matches: Vec<Match> = serving.iter().map(|index| parts.routes[*index].route.matches.clone()).collect();
        for (hidden, by) in shadowed(&matches) {
            if let (Some(hidden), Some(by)) = (serving.get(hidden), serving.get(by)) {
                found.entry((*hidden, *by)).or_default().push(name);
            }
        }
    }
    for ((hidden, by), listeners) in found {
        let (Some(hidden), Some(by)) = (parts.routes.get(hidden), parts.routes.get(by)) else { continue };
        let message = format!(
            "route `{}` can never be taken: route `{}` (line {}) takes all its requests on listener {}",
            hidden.route.name,
            by.route.name,
            reader.line(&by.place),
            listed(listeners)
        );
        reader.error(&hidden.matches, Fault::new(message).hint("remove one of them, or let them differ"));
    }
}
