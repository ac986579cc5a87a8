//! Cells: copies of a whole set of services, each with a fixed number of accounts.

use std::collections::BTreeMap;

use super::Tenant;

/// A copy of a set of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Unique name.
    pub name: String,
    /// Accounts that it takes.
    pub capacity: usize,
    /// Its services, by the part that each of them plays.
    pub services: BTreeMap<String, String>,
    /// Accounts that belong here, whatever was placed before.
    pub pinned: Vec<String>,
    /// It takes no account but those that are pinned or moved here.
    pub closed: bool,
}

/// A route that leads to the cell of the request's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cells {
    /// How requests name their accounts.
    pub account: Tenant,
    /// The cells with the service that the route leads to in each, by their names.
    pub choices: Vec<(String, String)>,
}
