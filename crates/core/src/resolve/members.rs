//! From the records of an answer to the endpoints of a service.

use std::collections::BTreeMap;

/// Endpoints that one answer may make. A zone that holds more is more likely a mistake than a service.
pub const MEMBERS_MAX: usize = 1_000;

/// The largest weight of an endpoint, as in the configuration.
pub const WEIGHT_MAX: u32 = 1_000;

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Lower is served first.
    pub priority: u16,
    /// Share of traffic among those of the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host, in lower case and without a dot at its end; empty for the root, which stands for "no such service".
    pub target: String,
}

/// An endpoint that an answer makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The host.
    pub target: String,
    /// The port.
    pub port: u16,
    /// Lower is served first.
    pub priority: u16,
    /// Share of traffic, from 1 to [`WEIGHT_MAX`].
    pub weight: u32,
}

/// What an answer makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The endpoints, in an order that does not depend on that of the records.
    pub list: Vec<Member>,
    /// How many there were beyond [`MEMBERS_MAX`].
    pub left_out: usize,
}

/// The endpoints of an answer. A host and port that comes twice counts once, in its lowest priority. Weights above
/// [`WEIGHT_MAX`] are scaled down all together; a weight of 0 is the smallest share there is.
pub fn members(records: &[Record]) -> Members {
    let mut found: BTreeMap<(&str, u16), (u16, u16)> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.target.is_empty() && record.port != 0) {
        let entry = found.entry((&record.target, record.port)).or_insert((record.priority, record.weight));
        // Of two records for one place the heavier one of the lower priority counts, whichever came first.
        if (record.priority, std::cmp::Reverse(record.weight)) < (entry.0, std::cmp::Reverse(entry.1)) {
            *entry = (record.priority, record.weight);
        }
    }
    let heaviest = found.values().map(|(_priority, weight)| u32::from(*weight)).max().unwrap_or(0);
    let scaled = |weight: u16| {
        let weight = u32::from(weight);
        let scaled = if heaviest > WEIGHT_MAX { weight * WEIGHT_MAX / heaviest } else { weight };
        scaled.max(1)
    };
    let mut list: Vec<Member> = found
        .into_iter()
        .map(|((target, port), (priority, weight))| Member {
            target: target.to_owned(),
            port,
            priority,
            weight: scaled(weight),
        })
        .collect();
    // Stable, so that within a priority they stay in the order of their names.
    list.sort_by_key(|member| member.priority);
    let left_out = list.len().saturating_sub(MEMBERS_MAX);
    list.truncate(MEMBERS_MAX);
    Members { list, left_out }
}

#[cfg(test)]
mod tests;
