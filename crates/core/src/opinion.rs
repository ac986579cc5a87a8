//! What nodes make of each other's verdicts on endpoints.
//!
//! Each node checks endpoints over a path of its own, and a path can fail as well as an endpoint. So a node that sees an
//! endpoint fail says so, and the endpoint is down for everybody only once as many of the live nodes say the same as the policy
//! asks for; until then it is down for those alone that cannot reach it. A node that sees everything down while others do
//! not is cut off: its opinion is set aside, by the others and by itself.
//!
//! The merged verdict has hysteresis: it changes when enough nodes say the other thing, and stays while neither side is strong
//! enough. With fewer live nodes than the policy needs nothing is merged anew: what was agreed last is frozen.

use std::collections::BTreeMap;

/// What one node says of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It can be used.
    Up,
    /// It cannot: its checks fail, or it was ejected.
    Down,
}

/// How many nodes it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quorum {
    /// More than half of the live ones.
    #[default]
    Majority,
    /// So many, however many are alive.
    AtLeast(usize),
}

impl Quorum {
    /// How many of `live` nodes it takes: at least one.
    pub fn of(self, live: usize) -> usize {
        match self {
            Self::Majority => live / 2 + 1,
            Self::AtLeast(count) => count.max(1),
        }
    }
}

/// What the live nodes say: for each node what it thinks of each endpoint that it knows. Endpoints are named by a number that
/// is the same on all nodes.
pub type Opinions = BTreeMap<u64, BTreeMap<u64, Verdict>>;

/// What was made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The endpoints on which there is agreement, now or from before.
    pub verdicts: BTreeMap<u64, Verdict>,
    /// Nodes whose opinion was set aside because they see everything down while others do not.
    pub cut_off: Vec<u64>,
    /// There were too few nodes to agree on anything new.
    pub frozen: bool,
}

/// Merges what nodes say, after `previous`.
pub fn merge(quorum: Quorum, opinions: &Opinions, previous: &Merged) -> Merged {
    let needed = quorum.of(opinions.len());
    if opinions.is_empty() || opinions.len() < needed {
        return Merged { frozen: true, ..previous.clone() };
    }
    let cut_off = cut_off(opinions);
    // The size of the quorum does not shrink with those who are set aside, or two nodes that are cut off would leave one alone
    // to decide for all; but no more can be asked for than there are.
    let heard = || opinions.iter().filter(|(node, _said)| !cut_off.contains(node));
    let needed = needed.min(heard().count());
    let mut counts: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
    for (_node, said) in heard() {
        for (endpoint, verdict) in said {
            let (up, down) = counts.entry(*endpoint).or_default();
            match verdict {
                Verdict::Up => *up += 1,
                Verdict::Down => *down += 1,
            }
        }
    }
    let verdicts = counts.into_iter().filter_map(|(endpoint, (up, down))| {
        // An endpoint that few nodes have, because the others have yet to load the configuration that names it, is judged
        // by those few.
        let needed = needed.min(up + down);
        let verdict = match (up >= needed, down >= needed) {
            (true, false) => Some(Verdict::Up),
            (false, true) => Some(Verdict::Down),
            // Neither side is strong enough, or a quorum that is less than half is there on both.
            (false, false) | (true, true) => previous.verdicts.get(&endpoint).copied(),
        };
        Some((endpoint, verdict?))
    });
    Merged { verdicts: verdicts.collect(), cut_off, frozen: false }
}

/// The nodes that see everything down while others do not: those for whom each endpoint that they share with somebody is down
/// and more than half of those who share any see one of them up.
fn cut_off(opinions: &Opinions) -> Vec<u64> {
    let sees_nothing =
        |said: &BTreeMap<u64, Verdict>| !said.is_empty() && said.values().all(|verdict| *verdict == Verdict::Down);
    let blind = |node: &u64, said: &BTreeMap<u64, Verdict>| {
        let others = || opinions.iter().filter(|(other, _said)| *other != node);
        let shares =
            others().filter(|(_other, theirs)| said.keys().any(|endpoint| theirs.contains_key(endpoint))).count();
        let sees = others()
            .filter(|(_other, theirs)| said.keys().any(|endpoint| theirs.get(endpoint) == Some(&Verdict::Up)))
            .count();
        sees * 2 > shares
    };
    let found = opinions.iter().filter(|(node, said)| sees_nothing(said) && blind(node, said));
    found.map(|(node, _said)| *node).collect()
}

/// What a node does with an endpoint, by its own verdict and the merged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Its own verdict counts, as it would alone.
    Own,
    /// The others agree that it is down: so it is here.
    Down,
    /// This node is cut off and the others agree that it is up: its own verdict does not count.
    SetAside,
}

/// What node `node`, whose own verdict is `own` (`None`: it has none yet), does with an endpoint.
pub fn effect(merged: &Merged, node: u64, endpoint: u64, own: Option<Verdict>) -> Effect {
    match (merged.verdicts.get(&endpoint), own) {
        (Some(Verdict::Down), _) => Effect::Down,
        (Some(Verdict::Up), Some(Verdict::Down)) if merged.cut_off.contains(&node) => Effect::SetAside,
        // Where only this node cannot reach it, nobody else is asked to stay away, but nothing is sent there from here.
        (Some(Verdict::Up) | None, _) => Effect::Own,
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Down, Up};
    use super::*;

    fn opinions(said: &[&[(u64, Verdict)]]) -> Opinions {
        (1..).zip(said).map(|(node, said)| (node, said.iter().copied().collect())).collect()
    }

    fn merged(said: &[&[(u64, Verdict)]], previous: &Merged) -> Merged {
        merge(Quorum::Majority, &opinions(said), previous)
    }

    #[test]
    fn one_bad_path_is_no_outage_and_two_of_three_are() {
        let fresh = Merged::default();
        let one = merged(&[&[(7, Down), (8, Up)], &[(7, Up), (8, Up)], &[(7, Up), (8, Up)]], &fresh);
        assert_eq!((one.verdicts[&7], one.verdicts[&8], one.frozen), (Up, Up, false));
        assert!(one.cut_off.is_empty());
        let two = merged(&[&[(7, Down), (8, Up)], &[(7, Down), (8, Up)], &[(7, Up), (8, Up)]], &one);
        assert_eq!(two.verdicts[&7], Down);
        assert_eq!(effect(&two, 3, 7, Some(Up)), Effect::Down, "although its own check passes");
        assert_eq!(effect(&one, 1, 7, Some(Down)), Effect::Own, "it cannot reach it: it sends nothing there");
        assert_eq!(effect(&one, 2, 7, Some(Up)), Effect::Own);
    }

    #[test]
    fn who_sees_everything_down_alone_is_cut_off() {
        let fresh = Merged::default();
        let cut = merged(&[&[(7, Down), (8, Down)], &[(7, Up), (8, Up)], &[(7, Up), (8, Down)]], &fresh);
        assert_eq!(cut.cut_off, [1]);
        assert_eq!(cut.verdicts.get(&8), None, "one says so and one says the other");
        assert_eq!(effect(&cut, 1, 7, Some(Down)), Effect::SetAside);
        let all = merged(&[&[(7, Down)], &[(7, Down)], &[(7, Down)]], &fresh);
        assert_eq!((all.cut_off.len(), all.verdicts[&7]), (0, Down), "it is the endpoint");
        let most = merged(&[&[(7, Down)], &[(7, Down)], &[(7, Up)]], &fresh);
        assert_eq!(most.verdicts[&7], Down, "one who sees it up alone decides nothing");
        assert!(most.cut_off.is_empty(), "most see nothing: they are right");
    }

    #[test]
    fn two_nodes_that_differ_leave_it_as_it_was() {
        let before = merged(&[&[(7, Down), (8, Up)], &[(7, Down), (8, Up)]], &Merged::default());
        let torn = merged(&[&[(7, Down), (8, Up)], &[(7, Up), (8, Up)]], &before);
        assert_eq!(torn.verdicts[&7], Down);
        let after = merged(&[&[(7, Up), (8, Up)], &[(7, Up), (8, Up)]], &torn);
        assert_eq!(after.verdicts[&7], Up);
        assert_eq!(merged(&[&[(7, Down), (8, Up)], &[(7, Up), (8, Up)]], &after).verdicts[&7], Up);
    }

    #[test]
    fn too_few_nodes_freeze_what_was_agreed() {
        let quorum = Quorum::AtLeast(2);
        let before = merge(quorum, &opinions(&[&[(7, Down)], &[(7, Down)]]), &Merged::default());
        let alone = merge(quorum, &opinions(&[&[(7, Up)]]), &before);
        assert_eq!((alone.frozen, alone.verdicts[&7]), (true, Down));
        let gone = merge(quorum, &Opinions::new(), &alone);
        assert_eq!((gone.frozen, gone.verdicts[&7]), (true, Down));
    }
}
