//! Where what is in the store. Names of groups and nodes have no slash in them, as the configuration sees to.

/// Everything about groups of database servers begins so.
pub const DATABASES: &str = "databases/";

/// Everything about one group begins so.
pub fn group(name: &str) -> String {
    format!("{DATABASES}{name}/")
}

/// What the group is to be.
pub fn plan(name: &str) -> String {
    format!("{DATABASES}{name}/plan")
}

/// What a member says of itself, on its node's lease.
pub fn report(name: &str, node: &str) -> String {
    format!("{DATABASES}{name}/report/{node}")
}

/// What an operator asks of the planner; it goes once it was looked at.
pub fn request(name: &str) -> String {
    format!("{DATABASES}{name}/request")
}

/// While it is there, nothing is changed over without an operator's asking for it.
pub fn paused(name: &str) -> String {
    format!("{DATABASES}{name}/paused")
}

/// A member's data is to be made anew from the primary's; the member takes the key away when that is done.
pub fn reinit(name: &str, node: &str) -> String {
    format!("{DATABASES}{name}/reinit/{node}")
}

/// The last changes of primary.
pub fn history(name: &str) -> String {
    format!("{DATABASES}{name}/history")
}

/// Who led the first client to the new primary of a term.
pub fn routed(name: &str, term: u64) -> String {
    format!("{DATABASES}{name}/routed/{term}")
}

/// What was thrown away when the old primary of the change that began a term came back.
pub fn loss(name: &str, term: u64) -> String {
    format!("{DATABASES}{name}/loss/{term}")
}
