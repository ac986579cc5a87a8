//! `[[cell]]`, and routes that lead to cells.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::cell::NAME_BYTES_MAX;
use mainstay_gateway::spec::{Cell, Cells};

use super::problem::Fault;
use super::reader::{Place, Reader, Section};
use super::relations::Parts;
use super::{isolation, words};

/// Each account takes about a hundred bytes.
const CAPACITY_MAX: u64 = 10_000_000;
/// Services of one cell, at most.
const SERVICES_MAX: usize = 100;

/// A cell, and where it stands.
pub(super) struct Read {
    pub(super) cell: Cell,
    pub(super) place: Place,
    pub(super) name: Place,
    /// Where it names its services.
    services: Vec<(String, Place)>,
}

/// What a route says of cells: their names, and where they stand.
pub(super) struct Wanted {
    names: Vec<(String, Place)>,
    place: Place,
    cells: Cells,
}

pub(super) fn read(section: &Section<'_>) -> Read {
    let name = super::read_name(section);
    section.required("capacity", "write how many accounts the cell was tested with: capacity = 1000");
    let capacity = section.integer("capacity", 1, 1..=CAPACITY_MAX).value;
    let mut services = BTreeMap::new();
    let mut places = Vec::new();
    if let Some(item) = section.required("services", "write services = { shop = \"shop-1\" }") {
        for (part, span, item) in Section::free_entries(&item, SERVICES_MAX) {
            let place = Place { path: item.place.path.clone(), span };
            if let Err(fault) = words::name(part) {
                item.reader.error(&place, fault);
            }
            let Some(service) = item.text() else { continue };
            places.push((service.to_owned(), item.place.clone()));
            services.insert(part.to_owned(), service.to_owned());
        }
    }
    let pinned = section.item("pinned").map(|item| item.list()).unwrap_or_default();
    let pinned: Vec<String> = pinned.iter().filter_map(|item| item.parsed(account)).collect();
    let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
    if pinned.len() > capacity {
        let message = format!("{} accounts are pinned to a cell that takes {capacity}", pinned.len());
        section.reader.error(&section.place, Fault::new(message).hint("raise `capacity`"));
    }
    let closed = section.flag("closed", false).value;
    Read {
        cell: Cell { name: name.value, capacity, services, pinned, closed },
        place: section.place.clone(),
        name: name.place,
        services: places,
    }
}

fn account(text: &str) -> Result<String, Fault> {
    if !(1..=NAME_BYTES_MAX).contains(&text.len()) || text.chars().any(char::is_control) {
        return Err(Fault::new(format!("an account's name has 1 to {NAME_BYTES_MAX} bytes and no control characters")));
    }
    Ok(text.to_owned())
}

/// The cells that a route leads to.
pub(super) fn of_route(section: &Section<'_>) -> Option<Wanted> {
    let account = section.item("account");
    let Some(item) = section.item("cells") else {
        if let Some(account) = account {
            account.error(Fault::new("`account` has no effect without `cells`"));
        }
        return None;
    };
    let names: Vec<(String, Place)> =
        item.list().iter().filter_map(|it| Some((it.text()?.to_owned(), it.place.clone()))).collect();
    if item.is_list() && item.list().is_empty() {
        item.error(Fault::new("the list is empty").hint("name the [[cell]]s that the route leads to"));
    }
    for key in ["mirror", "fallback", "cache"].iter().filter_map(|key| section.item(key)) {
        key.error(Fault::new("mirrors, fallbacks and caches of routes that lead to cells are not there yet"));
    }
    let account = section.required("account", "write account = { header = \"x-account\" }")?;
    let account = isolation::tenant(&account)?;
    Some(Wanted { names, place: item.place, cells: Cells { account, choices: Vec::new() } })
}

/// Resolves the cells of routes: each has a service for the part that the route names. All routes name the same cells, since
/// an account is in one cell for all of them.
pub(super) fn resolve(reader: &Reader<'_>, parts: &mut Parts<'_>, cells: &[Read]) {
    let known = |name: &str| cells.iter().find(|read| read.cell.name == name);
    let mut first: Option<(BTreeSet<String>, String)> = None;
    for read in parts.routes.iter_mut() {
        let Some(mut wanted) = read.cells.take() else { continue };
        let part = read.route.service.clone();
        for (name, place) in &wanted.names {
            let Some(cell) = known(name) else {
                reader.error_if_whole(place, Fault::new(format!("there is no cell `{name}`")).hint("add a [[cell]]"));
                continue;
            };
            match cell.cell.services.get(&part) {
                Some(service) => wanted.cells.choices.push((name.clone(), service.clone())),
                None => {
                    let fault = Fault::new(format!("cell `{name}` has no service for `{part}`"));
                    reader.error_if_whole(
                        place,
                        fault.hint(format!("write services = {{ {part} = \"...\" }} in the cell")),
                    );
                }
            }
        }
        let names: BTreeSet<String> = wanted.names.iter().map(|(name, _place)| name.clone()).collect();
        match &first {
            Some((others, route)) if *others != names => {
                let fault = Fault::new(format!(
                    "route `{route}` leads to other cells, but an account is in one for all routes"
                ));
                reader.error(&wanted.place, fault.hint("name the same cells in every route"));
            }
            Some(_) => {}
            None => {
                for idle in cells.iter().filter(|read| !names.contains(&read.cell.name)) {
                    let fault = Fault::new(format!(
                        "no route leads to cell `{}`, but accounts would be placed there",
                        idle.cell.name
                    ));
                    reader.error_if_whole(&idle.place, fault.hint("name it in `cells` of every route, or remove it"));
                }
                first = Some((names, read.route.name.clone()));
            }
        }
        if let Some((_cell, service)) = wanted.cells.choices.first() {
            read.route.service.clone_from(service);
            read.service = None;
            read.route.cells = Some(wanted.cells);
        }
    }
    if first.is_none()
        && let Some(idle) = cells.first()
    {
        reader.warn(&idle.place, Fault::new("no route leads to any cell").hint("write cells = [...] in a route"));
    }
}

/// What cells name must exist. The services that they use, for the warning about others.
pub(super) fn check(reader: &Reader<'_>, parts: &Parts<'_>, cells: &[Read], keeps: bool) -> Vec<String> {
    let mut pinned = BTreeMap::new();
    for read in cells {
        for (service, place) in &read.services {
            if !parts.services.iter().any(|known| known.service.name == *service) {
                reader.error_if_whole(place, Fault::new(format!("there is no service `{service}`")));
            }
        }
        for account in &read.cell.pinned {
            if let Some(other) = pinned.insert(account.as_str(), read.cell.name.as_str()) {
                let message = format!("account `{account}` is pinned to cell `{other}` too");
                reader.error(&read.place, Fault::new(message));
            }
        }
    }
    if let Some(read) = cells.first().filter(|_read| !keeps) {
        let fault = Fault::new("without `data_dir` under [node] accounts are placed anew after each restart");
        reader.warn(&read.place, fault.hint("write data_dir = \"/var/lib/mainstay\" under [node]"));
    }
    cells.iter().flat_map(|read| read.cell.services.values().cloned()).collect()
}
