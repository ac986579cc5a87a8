//! Which endpoints of a service a tenant may use, so that what one tenant breaks stays with few others.
//!
//! A partition is a fixed bulkhead that whole tenants share. Shuffle sharding gives each tenant a set of its own, so that
//! two tenants seldom have the same one: of 8 endpoints there are 28 pairs. Neither keeps anything of a tenant: the set
//! follows from the tenant and the endpoints, so that every node, and the same node tomorrow, comes to the same.

mod codebook;
mod partition;

use crate::random::mix;

/// Endpoints in one shard, at most: larger ones isolate nobody.
pub const SIZE_MAX: usize = 64;
/// Partitions of one service, at most.
pub const PARTITIONS_MAX: usize = 256;
/// Tenants whose shards are remembered by one [`Shards`]; others are worked out again.
const REMEMBERED: usize = 1024;

/// How endpoints are dealt out to tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// So many groups of nearly the same size, each for its share of the tenants.
    Partition(usize),
    /// A set of its own for each tenant.
    Shuffle {
        /// Endpoints in a set; at least 1.
        size: usize,
        /// Endpoints that two different sets may share. Without a bound any two sets may differ in one endpoint only; with
        /// one there are fewer sets, so that more tenants have the same.
        max_overlap: Option<usize>,
    },
}

/// An endpoint, by what decides about its shards. Its index in the list given to [`Shards::new`] is what shards consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// A stable hash of the endpoint's name.
    pub identity: u64,
    /// A stable hash of its zone; the same for all if there are none.
    pub zone: u64,
}

/// The shards of one service.
#[derive(Clone, Debug)]
pub struct Shards {
    members: Vec<Ranked>,
    kind: Kind,
    /// What was worked out last, by slots of the tenants' hashes.
    known: Vec<Known>,
    drawing: Drawing,
}

#[derive(Clone, Debug)]
enum Kind {
    Partitions(Vec<Vec<usize>>),
    Shuffle(usize),
    Codebook(Vec<codebook::Word>),
}

/// A member with its zone's number.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    identity: u64,
    zone: usize,
}

#[derive(Clone, Debug)]
struct Known {
    tenant: u64,
    shard: Vec<usize>,
}

/// Room for drawing one shard, used again for the next.
#[derive(Clone, Debug, Default)]
struct Drawing {
    /// By zone: how many are drawn, and how many there are.
    zones: Vec<(usize, usize)>,
    scores: Vec<u64>,
    drawn: Vec<usize>,
}

impl Shards {
    /// The shards over `members`, whose order decides about nothing but the indexes.
    pub fn new(policy: Policy, members: &[Member]) -> Self {
        let mut zones: Vec<u64> = members.iter().map(|member| member.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        let zone = |member: &Member| zones.iter().position(|zone| *zone == member.zone).unwrap_or(0);
        let members: Vec<Ranked> =
            members.iter().map(|member| Ranked { identity: member.identity, zone: zone(member) }).collect();
        let mut drawing = Drawing { zones: vec![(0, 0); zones.len()], ..Drawing::default() };
        for member in &members {
            drawing.zones[member.zone].1 += 1;
        }
        let kind = match policy {
            Policy::Partition(count) => Kind::Partitions(partition::deal(&members, &zones, count)),
            Policy::Shuffle { size, max_overlap: Some(most) } if most + 1 < size && size < members.len() => {
                Kind::Codebook(codebook::write(&members, size, most, &mut drawing))
            }
            // Different sets of a size always differ in one.
            Policy::Shuffle { size, max_overlap: _ } => Kind::Shuffle(size.clamp(1, SIZE_MAX)),
        };
        Self { members, kind, known: Vec::new(), drawing }
    }

    /// The endpoints that `tenant` (a stable hash of its name) may use, by index. Empty only if there are no endpoints, or
    /// fewer than partitions.
    pub fn of(&mut self, tenant: u64) -> &[usize] {
        if let Kind::Partitions(partitions) = &self.kind {
            return partitions.get(place(tenant, partitions.len())).map_or(&[], Vec::as_slice);
        }
        if self.known.is_empty() {
            self.known = vec![Known { tenant: 0, shard: Vec::new() }; REMEMBERED];
        }
        let slot = tenant as usize % REMEMBERED;
        let known = &mut self.known[slot];
        // An empty shard is one that was never worked out.
        if known.tenant != tenant || known.shard.is_empty() {
            known.tenant = tenant;
            known.shard.clear();
            match &self.kind {
                Kind::Partitions(_) => {}
                Kind::Shuffle(size) => {
                    self.drawing.draw(&self.members, tenant, *size);
                    known.shard.extend_from_slice(&self.drawing.drawn);
                }
                Kind::Codebook(words) => {
                    known.shard.extend_from_slice(codebook::of(words, tenant));
                }
            }
        }
        &self.known[slot].shard
    }

    /// The tenant's partition, counted from 0, and how many there are; `None` if each tenant has a set of its own.
    pub fn partition(&self, tenant: u64) -> Option<(usize, usize)> {
        match &self.kind {
            Kind::Partitions(partitions) => Some((place(tenant, partitions.len()), partitions.len())),
            Kind::Shuffle(_) | Kind::Codebook(_) => None,
        }
    }

    /// How many different sets there are, where that is known.
    pub fn sets(&self) -> Option<usize> {
        match &self.kind {
            Kind::Partitions(partitions) => Some(partitions.len()),
            Kind::Codebook(words) => Some(words.len()),
            Kind::Shuffle(_) => None,
        }
    }
}

impl Drawing {
    /// Draws the `size` members that score highest for `tenant` (rendezvous hashing; Thaler and Ravishankar 1998), one zone
    /// after another: a zone gives its next one only when every zone that can has given as many.
    ///
    /// A member that is not drawn could be missing without changing what is, so that a change of one member moves only the
    /// tenants that have it before or after.
    fn draw(&mut self, members: &[Ranked], tenant: u64, size: usize) {
        self.drawn.clear();
        self.scores.clear();
        self.scores.extend(members.iter().map(|member| mix(tenant ^ mix(member.identity))));
        for zone in &mut self.zones {
            zone.0 = 0;
        }
        for _draw in 0..size.min(members.len()) {
            let open = self.zones.iter().filter(|(drawn, all)| drawn < all);
            let Some(fewest) = open.map(|(drawn, _all)| *drawn).min() else { return };
            let may = |index: &usize| self.zones[members[*index].zone].0 == fewest && !self.drawn.contains(index);
            let best =
                (0..members.len()).filter(may).max_by_key(|index| (self.scores[*index], members[*index].identity));
            let Some(best) = best else { return };
            self.zones[members[best].zone].0 += 1;
            self.drawn.push(best);
        }
    }
}

/// One of `count` places, each for the same share of the tenants.
fn place(tenant: u64, count: usize) -> usize {
    ((u128::from(mix(tenant)) * count as u128) >> 64) as usize
}

#[cfg(test)]
mod tests;
