//! The families about the cluster and the addresses that its nodes hold in turn.

use std::fmt;

use super::Families;
use crate::admin::addresses::AddressStatus;
use crate::admin::cluster::ClusterStatus;

/// Every state of a member, by its name.
const STATES: [&str; 4] = ["here", "up", "down", "unknown"];

/// What is said of the cluster.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    /// As this node sees it.
    pub status: ClusterStatus,
    /// The addresses that it may hold.
    pub addresses: Vec<AddressStatus>,
    /// The number of the plan that says which node shall hold which, as far as this node knows.
    pub plan: Option<u64>,
    /// Seconds that this node may still act on its lease; 0 without one.
    pub lease_seconds: f64,
}

impl Families<'_, '_> {
    pub(super) fn cluster(&mut self, facts: Option<&ClusterFacts>) -> fmt::Result {
        let Some(facts) = facts else { return Ok(()) };
        let status = &facts.status;
        let flag = |is: bool| f64::from(u8::from(is));
        let name = ("mainstay_cluster_engine", "1 for what holds the agreement.");
        self.gauge(name, None, [([("engine", status.engine.as_str())], 1.0)])?;
        let name = ("mainstay_cluster_participates", "1 while this node takes part in its cluster.");
        self.gauge::<0>(name, None, [([], flag(status.failure.is_none()))])?;
        let name = ("mainstay_cluster_quorum", "1 while the cluster can decide anything, as this node sees it.");
        self.gauge::<0>(name, None, status.quorum.map(|quorum| ([], flag(quorum))))?;
        // With etcd the nodes keep no log of their own, and know of no members by it.
        if status.engine != "etcd" {
            let leads = status.leader.as_ref() == Some(&status.node);
            self.gauge::<0>(("mainstay_cluster_leader", "1 while this node leads."), None, [([], flag(leads))])?;
            let name = ("mainstay_cluster_has_leader", "1 while this node knows who leads.");
            self.gauge::<0>(name, None, [([], flag(status.leader.is_some()))])?;
            let name = ("mainstay_cluster_term", "Which leader it is, counted from the first.");
            self.gauge::<0>(name, None, [([], status.term as f64)])?;
            let name = ("mainstay_cluster_revision", "The number of the last change.");
            self.gauge::<0>(name, None, [([], status.revision as f64)])?;
            let count = |state: &str| status.members.iter().filter(|member| member.state == state).count() as f64;
            let rows = STATES.into_iter().map(|state| ([("state", state)], count(state)));
            self.gauge(("mainstay_cluster_members", "Members by how this node sees them."), None, rows)?;
            let voters = status.members.iter().filter(|it| it.role == "leader" || it.role == "voter").count();
            self.gauge::<0>(("mainstay_cluster_voters", "Members that vote."), None, [([], voters as f64)])?;
        }
        self.addresses(facts)
    }

    fn addresses(&mut self, facts: &ClusterFacts) -> fmt::Result {
        let addresses = &facts.addresses;
        if addresses.is_empty() {
            return Ok(());
        }
        let flag = |is: bool| f64::from(u8::from(is));
        let names: Vec<String> = addresses.iter().map(|address| address.ip.to_string()).collect();
        let each = |read: fn(&AddressStatus) -> bool| {
            names.iter().zip(addresses).map(move |(name, it)| ([("address", name.as_str())], flag(read(it))))
        };
        self.gauge(("mainstay_address_held", "1 while this node holds the address."), None, each(|it| it.here))?;
        let name = ("mainstay_address_has_holder", "1 while some node holds the address, as far as this one knows.");
        self.gauge(name, None, each(|it| it.holder.is_some()))?;
        let name = ("mainstay_address_impossible", "1 while this node cannot hold the address.");
        self.gauge(name, None, each(|it| it.problem.is_some()))?;
        let taken = names.iter().zip(addresses).map(|(name, it)| ([("address", name.as_str())], it.taken));
        self.counter(("mainstay_address_takeovers", "Times that this node took the address."), taken)?;
        let name = ("mainstay_address_plan", "Number of the plan that says which node shall hold which address.");
        self.gauge::<0>(name, None, facts.plan.map(|plan| ([], plan as f64)))?;
        let name = ("mainstay_cluster_lease_left", "How long this node may still act on its lease; 0 without one.");
        self.gauge::<0>(name, Some(&prometheus_client::registry::Unit::Seconds), [([], facts.lease_seconds)])
    }
}
