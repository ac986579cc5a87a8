use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::assign::{Address, Node, Observation, Plan, Policy, plan};
use proptest::prelude::*;

const NODES: usize = 5;

fn ip(last: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, last as u8])
}

fn name(node: usize) -> String {
    format!("lb{node}")
}

fn policies() -> impl Strategy<Value = Policy> {
    let prefer = prop::sample::subsequence((0..NODES).map(name).collect::<Vec<_>>(), 0..=3).prop_shuffle();
    let preempt = prop::option::of((0u64..100).prop_map(Duration::from_secs));
    prop::collection::vec((prefer, preempt), 0..8).prop_map(|addresses| Policy {
        addresses: addresses
            .into_iter()
            .enumerate()
            .map(|(index, (prefer, preempt))| Address { ip: ip(index), prefer, preempt })
            .collect(),
    })
}

fn observations() -> impl Strategy<Value = Observation> {
    let node =
        (prop::bool::weighted(0.7), prop::bool::weighted(0.8), prop::bool::weighted(0.2), any::<u8>(), 0u64..200);
    let moves = prop::collection::btree_map((0usize..8).prop_map(ip), (0..=NODES).prop_map(name), 0..2);
    let starting = prop::bool::weighted(0.1);
    let gone = prop::collection::btree_set((0..NODES).prop_map(name), 0..2);
    (prop::collection::vec(node, NODES), moves, starting, gone).prop_map(|(nodes, moves, starting, gone)| {
        let node = |(index, (there, ready, spare, unable, ready_for)): (usize, (bool, bool, bool, u8, u64))| {
            // Few of them lack an interface.
            let able = (0..8).filter(|bit| unable % 3 != 0 || unable & 1 << bit != 0).map(ip).collect();
            let ready_for = Duration::from_secs(ready_for);
            there.then(|| Node { name: name(index), ready, spare, able, ready_for })
        };
        let nodes: Vec<Node> = nodes.into_iter().enumerate().filter_map(node).collect();
        let gone = gone.into_iter().filter(|name| nodes.iter().all(|node| node.name != *name)).collect();
        Observation { nodes, moves, starting, gone }
    })
}

fn fit<'a>(observation: &'a Observation, name: &str, ip: IpAddr) -> Option<&'a Node> {
    observation.nodes.iter().find(|node| node.name == name && node.ready && node.able.contains(&ip))
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn every_address_has_a_fit_owner_and_none_moves_without_cause(
        policy in policies(), rounds in prop::collection::vec(observations(), 1..8)
    ) {
        let mut before = Plan::default();
        for seen in rounds {
            let next = plan(&policy, &seen, &before);
            prop_assert_eq!(next.number, before.number + u64::from(next.owners != before.owners));
            prop_assert!(next.owners.keys().all(|ip| policy.addresses.iter().any(|address| address.ip == *ip)));
            for address in &policy.addresses {
                let (ip, owner, had) = (address.ip, next.owner(address.ip), before.owner(address.ip));
                let someone = seen.nodes.iter().any(|node| fit(&seen, &node.name, ip).is_some());
                let is_gone = had.is_some_and(|had| seen.gone.contains(had));
                if someone && (!seen.starting || is_gone) {
                    prop_assert!(owner.is_some_and(|owner| fit(&seen, owner, ip).is_some()), "{ip}: {owner:?}");
                }
                let moved = had.is_some() && owner != had;
                let lost = had.is_some_and(|had| fit(&seen, had, ip).is_none());
                let asked = seen.moves.get(&ip).is_some_and(|target| owner == Some(target));
                let place = |name: Option<&str>| {
                    address.prefer.iter().position(|of| Some(of.as_str()) == name).unwrap_or(NODES)
                };
                let better = place(owner) < place(had)
                    && owner.and_then(|owner| fit(&seen, owner, ip)).is_some_and(|node| {
                        address.preempt.is_some_and(|delay| node.ready_for >= delay)
                    });
                prop_assert!(!moved || lost || asked || better, "{ip}: {had:?} -> {owner:?}");
            }
            // What was asked for is asked for once. After that nothing is left to do.
            let again = Observation { moves: BTreeMap::new(), ..seen };
            prop_assert_eq!(&plan(&policy, &again, &next), &next);
            before = next;
        }
    }

    #[test]
    fn without_wishes_addresses_are_spread_evenly_and_spares_stay_idle(addresses in 0usize..20, spares in 0usize..3) {
        let policy = Policy {
            addresses: (0..addresses).map(|index| Address { ip: ip(index), prefer: vec![], preempt: None }).collect(),
        };
        let able: std::collections::BTreeSet<IpAddr> = (0..addresses).map(ip).collect();
        let node = |index| Node {
            name: name(index),
            ready: true,
            spare: index < spares,
            able: able.clone(),
            ready_for: Duration::ZERO,
        };
        let seen = Observation { nodes: (0..NODES).map(node).collect(), ..Observation::default() };
        let load = |plan: &Plan, index: usize| plan.owners.values().filter(|owner| owner.node == name(index)).count();
        let first = plan(&policy, &seen, &Plan::default());
        let loads: Vec<usize> = (spares..NODES).map(|index| load(&first, index)).collect();
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
        prop_assert!((0..spares).all(|index| load(&first, index) == 0));
        // An active node goes: with a spare, that has all that it had if everybody else is busy; nobody else's moves.
        let mut fewer = seen;
        fewer.nodes.pop();
        let second = plan(&policy, &fewer, &first);
        if spares > 0 && addresses >= NODES {
            let taken: Vec<usize> = (0..spares).map(|index| load(&second, index)).filter(|load| *load > 0).collect();
            prop_assert_eq!(taken, vec![load(&first, NODES - 1)]);
        }
    }

    #[test]
    fn a_spare_gets_an_address_only_if_one_was_lost_or_nobody_else_can_have_it(
        mut policy in policies(), rounds in prop::collection::vec(observations(), 1..8)
    ) {
        policy.addresses.iter_mut().for_each(|address| address.prefer.clear());
        let mut before = Plan::default();
        for mut seen in rounds {
            seen.moves.clear();
            let next = plan(&policy, &seen, &before);
            for (ip, owner) in &next.owners {
                let new = before.owner(*ip) != Some(&owner.node);
                let spare = fit(&seen, &owner.node, *ip).is_some_and(|node| node.spare);
                let lost = before.owner(*ip).is_some_and(|had| fit(&seen, had, *ip).is_none());
                let active = seen.nodes.iter().any(|node| !node.spare && fit(&seen, &node.name, *ip).is_some());
                prop_assert!(!(new && spare) || lost || !active, "{ip} goes to {}", owner.node);
            }
            before = next;
        }
    }
}
