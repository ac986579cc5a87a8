//! Choosing an endpoint among those that a tenant may use.

use std::cell::RefCell;

use mainstay_core::balance::Wanted;
use mainstay_core::random::{self, Rng};
use mainstay_core::shard::{Member, Shards};
use mainstay_core::time::Moment;

use super::table::Service;
use crate::explain::trace::Drawn;
use crate::explain::view::Standing;
use crate::spec::{self, WhenEmpty};

/// The shards of a service that has any.
pub(crate) fn of(service: &spec::Service) -> Option<Shards> {
    let sharding = service.shard?;
    let members: Vec<Member> = service
        .endpoints
        .iter()
        .map(|endpoint| Member {
            identity: random::hash(endpoint.address.to_string().as_bytes()),
            zone: random::hash(endpoint.zone.as_deref().unwrap_or_default().as_bytes()),
        })
        .collect();
    Some(Shards::new(sharding.policy, &members))
}

impl Service {
    /// The tenant's endpoints, by index; `None` if the service has no shards.
    pub(crate) fn shard(&self, tenant: u64, into: &mut Vec<usize>) -> bool {
        let Some(shards) = &self.shards else { return false };
        into.clear();
        into.extend_from_slice(shards.borrow_mut().of(tenant));
        true
    }

    /// The tenant's partition, counted from 0, and how many there are.
    pub(crate) fn partition(&self, tenant: u64) -> Option<(usize, usize)> {
        self.shards.as_ref()?.borrow().partition(tenant)
    }

    /// As [`Service::pick`]; if only some endpoints may be chosen and none of them is eligible, those that no check has a
    /// verdict of yet are, and with `fail-open` all that are not draining. Nobody else is, unless the service says so.
    pub(crate) fn pick_for(
        &self,
        when_empty: WhenEmpty,
        wanted: &Wanted<'_>,
        now: Moment,
        rng: &mut Rng,
        drawn: &RefCell<Drawn>,
    ) -> Option<usize> {
        let picked = self.pick_or(when_empty, wanted, now, rng, drawn);
        let Some(shard) = wanted.within.filter(|_shard| picked.is_none()) else { return picked };
        self.pick_in_need(when_empty, shard, wanted.excluded, rng).or_else(|| {
            let spills = self.state.spec.shard.is_some_and(|sharding| sharding.spill);
            if !spills {
                return None;
            }
            self.pick_or(when_empty, &Wanted { within: None, ..*wanted }, now, rng, drawn)
        })
    }

    fn pick_in_need(&self, when_empty: WhenEmpty, shard: &[usize], excluded: &[usize], rng: &mut Rng) -> Option<usize> {
        let view = self.view();
        let fails_open = when_empty == WhenEmpty::FailOpen;
        let stands = |tier: Tier, index: usize| {
            view.endpoints().get(index).is_some_and(|seen| match tier {
                Tier::Eligible => seen.eligible,
                Tier::Unproven => {
                    matches!(
                        seen.standing,
                        Standing::Up | Standing::Degraded | Standing::Spare | Standing::OtherZone | Standing::Unknown
                    )
                }
                Tier::Any => fails_open && seen.standing != Standing::Draining,
            })
        };
        let tiers = [Tier::Eligible, Tier::Unproven, Tier::Any];
        let best = tiers.into_iter().find(|tier| shard.iter().any(|index| stands(*tier, *index)))?;
        let candidates = || shard.iter().copied().filter(|index| stands(best, *index) && !excluded.contains(index));
        candidates().nth(rng.below(candidates().count()))
    }
}

/// How well an endpoint of a shard stands. Who is eligible, but tried already, is no reason to go further down.
#[derive(Clone, Copy)]
enum Tier {
    Eligible,
    Unproven,
    Any,
}
