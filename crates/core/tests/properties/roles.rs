use std::net::SocketAddr;

use mainstay_core::random::Rng;
use mainstay_core::roles::{Access, Replica, Role, Roles};
use proptest::prelude::*;

fn address() -> impl Strategy<Value = SocketAddr> {
    (1u16..5).prop_map(|port| ([127, 0, 0, 1], port).into())
}

fn roles() -> impl Strategy<Value = Roles> {
    let replica = (address(), prop::option::of(0u64..200)).prop_map(|(address, lag)| Replica { address, lag });
    let servers = (prop::option::of(address()), prop::option::of(address()), prop::collection::vec(replica, 0..4));
    (0u64..4, 0u64..4, servers, any::<bool>()).prop_map(|(term, more, (primary, leaving, mut replicas), is_current)| {
        replicas.sort_by_key(|it| it.address);
        replicas.dedup_by_key(|it| it.address);
        replicas.retain(|it| Some(it.address) != primary);
        Roles { term, number: term * 4 + more, primary, leaving, replicas, is_current }
    })
}

fn access() -> impl Strategy<Value = Access> {
    let read = (0u64..200, any::<bool>(), any::<bool>()).prop_map(|(lag_max, fallback, cut)| Access::Read {
        lag_max,
        fallback,
        cut,
    });
    prop_oneof![Just(Access::Write), read]
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn who_is_chosen_has_the_role_and_may_stay(
        roles in roles(),
        access in access(),
        excluded in prop::collection::vec(address(), 0..3),
        open in prop::collection::vec(0usize..5, 5),
        seed in any::<u64>(),
    ) {
        let count = |address: SocketAddr| open[usize::from(address.port())];
        let target = roles.choose(access, &excluded, count, &mut Rng::seeded(seed));
        let near = |lag_max: u64| {
            let left = |it: &&Replica| it.is_within(lag_max) && !excluded.contains(&it.address);
            roles.replicas.iter().filter(left).map(|it| count(it.address)).min()
        };
        match target {
            Some(target) => {
                prop_assert!(!excluded.contains(&target.address));
                prop_assert_eq!(target.term, roles.term);
                match (access, target.role) {
                    (Access::Write, role) => prop_assert_eq!((role, Some(target.address)), (Role::Primary, roles.primary)),
                    (Access::Read { lag_max, .. }, Role::Replica) => {
                        let found = roles.replicas.iter().find(|it| it.address == target.address);
                        prop_assert!(found.is_some_and(|it| it.lag.is_some_and(|lag| lag <= lag_max)));
                        prop_assert_eq!(Some(count(target.address)), near(lag_max));
                    }
                    (Access::Read { lag_max, fallback, .. }, Role::Primary) => {
                        prop_assert!(fallback && roles.primary == Some(target.address) && near(lag_max).is_none());
                    }
                }
                prop_assert!(roles.keeps(access, &target), "nobody is led to where it may not stay");
            }
            None => match access {
                Access::Write => prop_assert!(roles.primary.is_none_or(|it| excluded.contains(&it))),
                Access::Read { lag_max, .. } => prop_assert_eq!(near(lag_max), None),
            },
        }
    }

    #[test]
    fn terms_never_go_back_and_no_writer_outlives_its_primary(
        said in prop::collection::vec(roles(), 1..12),
        seed in any::<u64>(),
    ) {
        let mut known = Roles::default();
        let mut rng = Rng::seeded(seed);
        let mut writers = Vec::new();
        for next in said {
            let before = (known.term, known.number);
            match known.then(next.clone()) {
                Ok(after) => known = after,
                Err(outdated) => {
                    prop_assert!((next.term, next.number) < before);
                    prop_assert_eq!((outdated.term, outdated.number), before);
                }
            }
            prop_assert!((known.term, known.number) >= before);
            writers.retain(|writer| known.keeps(Access::Write, writer));
            writers.extend(known.choose(Access::Write, &[], |_address| 0, &mut rng));
            for writer in &writers {
                let is_primary = Some(writer.address) == known.primary || Some(writer.address) == known.leaving;
                prop_assert!(is_primary || (known.primary.is_none() && writer.term == known.term));
            }
        }
    }
}
