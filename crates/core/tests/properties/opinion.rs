use std::collections::BTreeMap;

use mainstay_core::opinion::{Effect, Merged, Opinions, Quorum, Verdict, effect, merge};
use proptest::prelude::*;

fn verdicts() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Up), Just(Verdict::Down)]
}

fn opinions() -> impl Strategy<Value = Opinions> {
    let said = prop::collection::btree_map(0u64..6, verdicts(), 0..7);
    prop::collection::btree_map(0u64..7, said, 0..7)
}

fn quorums() -> impl Strategy<Value = Quorum> {
    prop_oneof![3 => Just(Quorum::Majority), 1 => (1usize..5).prop_map(Quorum::AtLeast)]
}

fn count(opinions: &Opinions, endpoint: u64, verdict: Verdict) -> usize {
    opinions.values().filter(|said| said.get(&endpoint) == Some(&verdict)).count()
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn a_verdict_changes_only_if_enough_nodes_say_so(
        quorum in quorums(),
        before in opinions(),
        now in opinions(),
    ) {
        let previous = merge(quorum, &before, &Merged::default());
        let merged = merge(quorum, &now, &previous);
        if now.is_empty() || now.len() < quorum.of(now.len()) {
            prop_assert!(merged.frozen);
            prop_assert_eq!(&merged.verdicts, &previous.verdicts);
        }
        for (endpoint, verdict) in &merged.verdicts {
            if previous.verdicts.get(endpoint) == Some(verdict) {
                continue;
            }
            let heard: Opinions =
                now.iter().filter(|(node, _said)| !merged.cut_off.contains(node)).map(|(n, s)| (*n, s.clone())).collect();
            let knows = heard.values().filter(|said| said.contains_key(endpoint)).count();
            let needed = quorum.of(now.len()).min(heard.len()).min(knows);
            prop_assert!(count(&heard, *endpoint, *verdict) >= needed.max(1));
        }
    }

    #[test]
    fn one_node_that_says_something_else_changes_nothing(
        nodes in 3u64..8,
        agreed in prop::collection::btree_map(0u64..6, verdicts(), 1..7),
        odd in prop::collection::btree_map(0u64..6, verdicts(), 1..7),
        which in 0u64..8,
    ) {
        let which = which % nodes;
        let all: Opinions = (0..nodes).map(|node| (node, agreed.clone())).collect();
        let before = merge(Quorum::Majority, &all, &Merged::default());
        prop_assert_eq!(&before.verdicts, &agreed);
        let mut torn = all.clone();
        let theirs: BTreeMap<u64, Verdict> =
            agreed.iter().map(|(endpoint, verdict)| (*endpoint, odd.get(endpoint).copied().unwrap_or(*verdict))).collect();
        torn.insert(which, theirs.clone());
        let after = merge(Quorum::Majority, &torn, &before);
        prop_assert_eq!(&after.verdicts, &agreed);
        // Whoever sees everything down, while the others do not, knows that it is cut off; nobody else is told so.
        let blind = theirs.values().all(|verdict| *verdict == Verdict::Down);
        let others_see = agreed.values().any(|verdict| *verdict == Verdict::Up);
        let expected = if blind && others_see { vec![which] } else { Vec::new() };
        prop_assert_eq!(&after.cut_off, &expected);
        for endpoint in agreed.keys() {
            let own = theirs.get(endpoint).copied();
            let does = effect(&after, which, *endpoint, own);
            prop_assert_eq!(does == Effect::Down, agreed[endpoint] == Verdict::Down);
            prop_assert!(does != Effect::SetAside || (!expected.is_empty() && own == Some(Verdict::Down)));
        }
    }

    #[test]
    fn merging_the_same_again_changes_nothing(quorum in quorums(), before in opinions(), now in opinions()) {
        let previous = merge(quorum, &before, &Merged::default());
        let merged = merge(quorum, &now, &previous);
        prop_assert_eq!(&merge(quorum, &now, &merged), &merged);
        for node in &merged.cut_off {
            if !merged.frozen {
                prop_assert!(now[node].values().all(|verdict| *verdict == Verdict::Down));
            }
        }
    }
}
