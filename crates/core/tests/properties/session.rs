use std::collections::HashMap;
use std::sync::Arc;

use mainstay_core::session::{BUCKETS, Key, Merged, Session, Stamp, Table};
use proptest::prelude::*;

const T0: u64 = 1_700_000_000_000;

fn key(id: u8) -> Key {
    Key { scope: 1, id: u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) }
}

fn sessions() -> impl Strategy<Value = Session> {
    let endpoint = prop_oneof![Just("a"), Just("b"), Just("c")];
    (0u64..4, 0u64..3, endpoint, 1u32..4, 0u64..4, 0u64..6).prop_map(
        |(millis, node, endpoint, ttl, created, accessed)| Session {
            bound: Stamp { millis: T0 + millis, node },
            endpoint: endpoint.into(),
            ttl: ttl * 100,
            created: T0 + created,
            accessed: T0 / 1000 + accessed,
        },
    )
}

fn merged(first: &Session, second: &Session) -> Session {
    let mut result = first.clone();
    result.merge(second);
    result
}

fn digests(table: &Table) -> [u64; BUCKETS] {
    let mut digests = [0; BUCKETS];
    table.digest(T0, &mut digests);
    digests
}

/// What one node does on its own.
#[derive(Clone, Debug)]
enum Act {
    Bind {
        node: usize,
        id: u8,
        endpoint: &'static str,
    },
    Touch {
        node: usize,
        id: u8,
    },
    /// Tells another node of a session that it knows.
    Tell {
        from: usize,
        to: usize,
        id: u8,
    },
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let endpoint = prop_oneof![Just("a"), Just("b"), Just("c")];
    let act = prop_oneof![
        3 => (0usize..3, 0u8..6, endpoint).prop_map(|(node, id, endpoint)| Act::Bind { node, id, endpoint }),
        3 => (0usize..3, 0u8..6).prop_map(|(node, id)| Act::Touch { node, id }),
        2 => (0usize..3, 0usize..3, 0u8..6).prop_map(|(from, to, id)| Act::Tell { from, to, id }),
    ];
    prop::collection::vec((0u64..3000, act), 0..60)
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn merging_has_no_order_and_no_repetition(a in sessions(), b in sessions(), c in sessions()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a.clone());
        let both = merged(&a, &b);
        prop_assert!(both.accessed >= a.accessed && both.bound >= a.bound && both.created <= a.created);
    }

    #[test]
    fn nodes_that_have_told_each_other_everything_hold_the_same(
        acts in acts(),
        skews in prop::array::uniform3(0u64..120_000),
        order in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut tables = [Table::new(100), Table::new(100), Table::new(100)];
        let mut now = T0;
        for (later, act) in acts {
            now += later;
            match act {
                Act::Bind { node, id, endpoint } => {
                    let endpoint: Arc<str> = endpoint.into();
                    let before = tables[node].find(now + skews[node], key(id)).cloned();
                    let bound = tables[node].bind(now + skews[node], node as u64, key(id), &endpoint, 86_400);
                    prop_assert!(before.is_none_or(|before| bound.bound > before.bound), "a move counts after what it moves");
                }
                Act::Touch { node, id } => {
                    tables[node].touch(now + skews[node], key(id));
                }
                Act::Tell { from, to, id } => {
                    let known = tables[from].find(now + skews[from], key(id)).cloned();
                    if let Some(known) = known {
                        let said = tables[to].merge(now + skews[to], key(id), &known);
                        prop_assert!(matches!(said, Merged::News | Merged::Known));
                        prop_assert_eq!(tables[to].merge(now + skews[to], key(id), &known), Merged::Known);
                    }
                }
            }
            tables.iter().for_each(Table::check_invariants);
        }
        // Twice around, each pair in whatever order: everybody has then heard of everything.
        let pairs = [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)];
        for _round in 0..2 {
            for turn in &order {
                let (from, to) = pairs[*turn];
                let (mine, theirs) = (digests(&tables[from]), digests(&tables[to]));
                let mut differ = [false; BUCKETS];
                differ.iter_mut().enumerate().for_each(|(bucket, it)| *it = mine[bucket] != theirs[bucket]);
                let told: Vec<(Key, Session)> =
                    tables[from].within(T0, &differ).map(|(key, session)| (key, session.clone())).collect();
                for (key, session) in told {
                    tables[to].merge(now + 120_000, key, &session);
                }
            }
        }
        let contents = |table: &Table| -> HashMap<Key, (Stamp, Arc<str>)> {
            let all = [true; BUCKETS];
            table.within(T0, &all).map(|(key, it)| (key, (it.bound, Arc::clone(&it.endpoint)))).collect()
        };
        prop_assert_eq!(contents(&tables[0]), contents(&tables[1]));
        prop_assert_eq!(contents(&tables[1]), contents(&tables[2]));
        prop_assert_eq!(digests(&tables[0]), digests(&tables[2]));
    }

    #[test]
    fn a_table_stays_within_its_bound_and_keeps_what_ends_last(
        max in 1usize..8,
        told in prop::collection::vec((0u8..30, sessions()), 0..60),
    ) {
        let mut table = Table::new(max);
        // By key, everything that was told of it.
        let mut all: HashMap<Key, Session> = HashMap::new();
        for (id, session) in &told {
            // One ending for each key, so that nothing comes back that had to go.
            let session = match all.get(&key(*id)) {
                Some(known) => Session { created: session.created, ..known.clone() },
                None => session.clone(),
            };
            table.merge(T0, key(*id), &session);
            all.entry(key(*id)).or_insert(session);
            table.check_invariants();
        }
        let mut expected: Vec<(u64, Key)> = all.iter().map(|(key, session)| (session.ends(), *key)).collect();
        expected.sort_unstable();
        let expected = expected.split_off(expected.len().saturating_sub(max));
        let every = [true; BUCKETS];
        let mut kept: Vec<(u64, Key)> = table.within(T0, &every).map(|(key, session)| (session.ends(), key)).collect();
        kept.sort_unstable();
        prop_assert_eq!(kept, expected);
        let len = table.len();
        prop_assert_eq!(table.sweep(T0 + 1_000_000, usize::MAX), len);
        table.check_invariants();
    }
}
