//! Which node holds which floating address. One over two nodes is active-passive, as many as nodes is active-active, with a
//! spare node it is N+1: shapes of the same assignment.
//!
//! An address moves only with a cause: its node is gone or unfit, an operator asks, or a node that it prefers has been well
//! for as long as the policy says. Everything else stays where it is, even if it were spread better elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random;

/// One address, and who should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Nodes that it goes to before others, the first one first.
    pub prefer: Vec<String>,
    /// How long a preferred node has to be well before it takes the address from another that is well too; `None`: never.
    pub preempt: Option<Duration>,
}

/// What is to be assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The addresses, each once.
    pub addresses: Vec<Address>,
}

/// A node that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// It can serve.
    pub ready: bool,
    /// It gets addresses only in place of a node that is gone.
    pub spare: bool,
    /// The addresses that it can hold: it knows them, and their interface is up.
    pub able: BTreeSet<IpAddr>,
    /// How long it has been there and ready.
    pub ready_for: Duration,
}

impl Node {
    fn is_fit(&self, ip: IpAddr) -> bool {
        self.ready && self.able.contains(&ip)
    }
}

/// What is known now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// The nodes that are there, each once.
    pub nodes: Vec<Node>,
    /// Moves that operators ask for: the address, and the node that it shall go to.
    pub moves: BTreeMap<IpAddr, String>,
    /// Nodes may still be starting: an address without a node waits for the one that had it, or that it prefers most.
    pub starting: bool,
    /// Nodes that were seen to be there and then to be gone. They are not starting: nobody waits for them.
    pub gone: BTreeSet<String>,
}

/// Who shall have an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The node.
    pub node: String,
    /// An operator put it there, so that no preferred node takes it back.
    #[serde(default)]
    pub placed: bool,
}

/// Who shall have which address. The greater number is the later plan; whoever carries it out refuses an older one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its number; 0 is that of the empty plan.
    pub number: u64,
    /// The owners. An address that nobody can hold is not there.
    pub owners: BTreeMap<IpAddr, Owner>,
}

impl Plan {
    /// The node that shall have the address.
    pub fn owner(&self, ip: IpAddr) -> Option<&str> {
        self.owners.get(&ip).map(|owner| owner.node.as_str())
    }
}

/// Plans. The answer is the previous plan itself if nothing changes.
pub fn plan(policy: &Policy, observation: &Observation, previous: &Plan) -> Plan {
    let mut round = Round { observation, previous, owners: BTreeMap::new(), stands_in: BTreeMap::new() };
    let mut homeless = Vec::new();
    for address in &policy.addresses {
        match round.stays(address) {
            Some(owner) => {
                round.owners.insert(address.ip, owner);
            }
            None => homeless.push(address),
        }
    }
    for address in homeless {
        if let Some(owner) = round.home(address) {
            round.owners.insert(address.ip, owner);
        }
    }
    let changed = round.owners != previous.owners;
    Plan { number: previous.number + u64::from(changed), owners: round.owners }
}

struct Round<'a> {
    observation: &'a Observation,
    previous: &'a Plan,
    owners: BTreeMap<IpAddr, Owner>,
    /// Which spare takes the addresses of which node.
    stands_in: BTreeMap<&'a str, &'a str>,
}

/// In what order nodes are asked to take an address; the least one does.
type Rank = (usize, Class, usize, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// It has nothing to do.
    Idle,
    /// A spare whose turn has come: the node that had the address is gone, and it stands in for that one.
    StandIn,
    /// It has addresses.
    Active,
    /// A spare whose turn has not come.
    Spare,
}

impl<'a> Round<'a> {
    fn node(&self, name: &str) -> Option<&'a Node> {
        self.observation.nodes.iter().find(|node| node.name == name)
    }

    fn is_fit(&self, name: &str, ip: IpAddr) -> bool {
        self.node(name).is_some_and(|node| node.is_fit(ip))
    }

    /// The owner, if it is clear without looking at the other addresses.
    fn stays(&self, address: &Address) -> Option<Owner> {
        let ip = address.ip;
        if let Some(target) = self.observation.moves.get(&ip).filter(|target| self.is_fit(target, ip)) {
            return Some(Owner { node: target.clone(), placed: true });
        }
        let owner = self.previous.owners.get(&ip).filter(|owner| self.is_fit(&owner.node, ip))?;
        let better = self.taken_back(address, owner).map(|name| Owner { node: name.to_owned(), placed: false });
        Some(better.unwrap_or_else(|| owner.clone()))
    }

    /// The node that takes the address from one that is well.
    fn taken_back<'b>(&self, address: &'b Address, owner: &Owner) -> Option<&'b str> {
        let well_for = address.preempt.filter(|_| !owner.placed)?;
        let better = address.prefer.iter().take_while(|name| **name != owner.node);
        let is_well =
            |name: &str| self.node(name).is_some_and(|node| node.is_fit(address.ip) && node.ready_for >= well_for);
        better.map(String::as_str).find(|name| is_well(name))
    }

    /// A node for an address whose own is gone or unfit, or that had none.
    fn home(&mut self, address: &Address) -> Option<Owner> {
        let ip = address.ip;
        let before = self.previous.owners.get(&ip);
        let is_gone = before.is_some_and(|owner| self.observation.gone.contains(&owner.node));
        if self.observation.starting && !is_gone {
            let awaited = address.prefer.first().filter(|name| self.is_fit(name, ip));
            return awaited.map(|name| Owner { node: name.clone(), placed: false }).or_else(|| before.cloned());
        }
        let lost = before.map(|owner| owner.node.as_str());
        let fit = self.observation.nodes.iter().filter(|node| node.is_fit(ip));
        let Some(chosen) = fit.min_by_key(|node| self.rank(address, lost, node)) else {
            // Nobody is better than one that is there, however unfit.
            return before.filter(|owner| self.node(&owner.node).is_some()).cloned();
        };
        if let (true, Some(lost)) = (chosen.spare, lost) {
            self.stands_in.insert(&chosen.name, lost);
        }
        Some(Owner { node: chosen.name.clone(), placed: false })
    }

    fn rank(&self, address: &Address, lost: Option<&str>, node: &Node) -> Rank {
        let preferred = address.prefer.iter().position(|name| *name == node.name).unwrap_or(address.prefer.len());
        let load = self.owners.values().filter(|owner| owner.node == node.name).count();
        let stands_in =
            lost.is_some() && self.stands_in.get(node.name.as_str()).map_or(load == 0, |of| Some(*of) == lost);
        let class = match (node.spare, load) {
            (false, 0) => Class::Idle,
            (false, _) => Class::Active,
            (true, _) if stands_in => Class::StandIn,
            (true, _) => Class::Spare,
        };
        // A spare takes all that one node had; among equals it is the same for all planners, and differs by address.
        let load = if class == Class::StandIn { usize::from(load == 0) } else { load };
        let draw = random::hash(format!("{} {}", address.ip, node.name).as_bytes());
        (preferred, class, load, draw)
    }
}

#[cfg(test)]
mod tests;
