//! Where the clients of a database group are led: what is known of the servers' roles, what may replace it, to which server
//! a new connection is made, and whether one that is open may go on.
//!
//! A **term** has one primary (see [`crate::database`]), so that what was connected to the primary of an older one has to
//! go: that server is about to stop, and what it still acknowledges may be lost.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::random::Rng;

/// What is known of a group's servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// The plan's term.
    pub term: u64,
    /// The plan's number: it goes up within a term as well.
    pub number: u64,
    /// Who takes writes; `None` while that is being decided.
    pub primary: Option<SocketAddr>,
    /// A primary that stops in order, to make room for another one: it ends its connections by itself once what they are
    /// at is done, and gets no new ones.
    pub leaving: Option<SocketAddr>,
    /// Who follows the primary; without the primary, each once.
    pub replicas: Vec<Replica>,
    /// The node had a lease when it learned this, and has it still.
    pub is_current: bool,
}

/// A server that follows the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Where it listens.
    pub address: SocketAddr,
    /// How far it is behind the primary, in bytes of its log; `None` if that is not known.
    pub lag: Option<u64>,
}

/// What clients of a listener do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// They write, which only the primary lets them.
    Write,
    /// They only read.
    Read {
        /// No server is further behind than this, in bytes of the log.
        lag_max: u64,
        /// Without such a server the primary is asked.
        fallback: bool,
        /// What is connected to a server that is further behind has to go, too.
        cut: bool,
    },
}

/// What a server was when a connection to it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It took writes.
    Primary,
    /// It followed.
    Replica,
}

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// What it was.
    pub role: Role,
    /// In which term.
    pub term: u64,
}

/// What was said belongs to an older plan than what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The term that is known.
    pub term: u64,
    /// The number that is known.
    pub number: u64,
}

impl Roles {
    /// What is known after `next` was said. Without a lease a node learns nothing of the same plan: it only ceases to be
    /// current, and what it knew of the servers stands.
    ///
    /// # Errors
    /// If `next` is older.
    pub fn then(&self, next: Self) -> Result<Self, Outdated> {
        let (known, said) = ((self.term, self.number), (next.term, next.number));
        if said < known {
            return Err(Outdated { term: self.term, number: self.number });
        }
        if said == known && !next.is_current {
            return Ok(Self { is_current: false, ..self.clone() });
        }
        Ok(next)
    }

    /// The server for a new connection, of those not in `excluded`: for writes the primary, for reads the replica that has
    /// the fewest connections as `open` counts them, at random among equals. `None` if there is none.
    pub fn choose(
        &self,
        access: Access,
        excluded: &[SocketAddr],
        open: impl Fn(SocketAddr) -> usize,
        rng: &mut Rng,
    ) -> Option<Target> {
        let target = |address, role| Target { address, role, term: self.term };
        let primary = || {
            let address = self.primary.filter(|address| !excluded.contains(address))?;
            Some(target(address, Role::Primary))
        };
        let Access::Read { lag_max, fallback, .. } = access else { return primary() };
        let near = self.replicas.iter().filter(|it| it.is_within(lag_max) && !excluded.contains(&it.address));
        let mut best: Option<(usize, SocketAddr)> = None;
        let mut equals = 0;
        for replica in near {
            let count = open(replica.address);
            equals = match best {
                Some((least, _address)) if count > least => continue,
                Some((least, _address)) if count == least => equals + 1,
                Some(_) | None => 1,
            };
            // The last of n equals is taken with one chance in n.
            if rng.below(equals) == 0 {
                best = Some((count, replica.address));
            }
        }
        match best {
            Some((_count, address)) => Some(target(address, Role::Replica)),
            None if fallback => primary(),
            None => None,
        }
    }

    /// Whether there is a server for new connections, as far as can be known now: without a lease it cannot.
    pub fn serves(&self, access: Access) -> bool {
        self.is_current
            && match access {
                Access::Write => self.primary.is_some(),
                Access::Read { lag_max, fallback, .. } => {
                    self.replicas.iter().any(|it| it.is_within(lag_max)) || (fallback && self.primary.is_some())
                }
            }
    }

    /// Whether a connection that leads to `target` may go on.
    pub fn keeps(&self, access: Access, target: &Target) -> bool {
        let is = |address: Option<SocketAddr>| address == Some(target.address);
        match access {
            Access::Write => {
                is(self.primary) || is(self.leaving) || (self.term == target.term && self.primary.is_none())
            }
            // A replica that has been promoted since is for writers, unless there is nobody else.
            Access::Read { lag_max, fallback, .. } if is(self.primary) => {
                let is_spared = target.role == Role::Replica && self.replicas.iter().any(|it| it.is_within(lag_max));
                fallback && !is_spared
            }
            Access::Read { lag_max, cut, .. } => {
                let replica = self.replicas.iter().find(|it| it.address == target.address);
                match (replica, target.role) {
                    (Some(replica), _) => !cut || replica.is_within(lag_max),
                    (None, Role::Replica) => !cut,
                    (None, Role::Primary) => is(self.leaving) || self.term == target.term,
                }
            }
        }
    }
}

impl Replica {
    /// Whether it is known to be no further behind than `lag_max` bytes.
    pub fn is_within(&self, lag_max: u64) -> bool {
        self.lag.is_some_and(|lag| lag <= lag_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn roles(term: u64, primary: Option<u16>, replicas: &[(u16, Option<u64>)]) -> Roles {
        let replica = |(port, lag): &(u16, Option<u64>)| Replica { address: at(*port), lag: *lag };
        Roles {
            term,
            number: term,
            primary: primary.map(at),
            replicas: replicas.iter().map(replica).collect(),
            is_current: true,
            ..Roles::default()
        }
    }

    const fn read(fallback: bool, cut: bool) -> Access {
        Access::Read { lag_max: 100, fallback, cut }
    }

    fn chosen(roles: &Roles, access: Access, excluded: &[u16], open: &[(u16, usize)]) -> Option<u16> {
        let excluded: Vec<SocketAddr> = excluded.iter().map(|port| at(*port)).collect();
        let count = |address| open.iter().find(|(port, _)| at(*port) == address).map_or(0, |(_, count)| *count);
        roles.choose(access, &excluded, count, &mut Rng::seeded(1)).map(|target| target.address.port())
    }

    #[test]
    fn writes_go_to_the_primary_and_reads_to_the_least_busy_replica_that_is_near() {
        let known = roles(3, Some(1), &[(2, Some(0)), (3, Some(100)), (4, Some(101)), (5, None)]);
        assert_eq!(chosen(&known, Access::Write, &[], &[]), Some(1));
        assert_eq!(chosen(&known, Access::Write, &[1], &[]), None);
        assert_eq!(chosen(&known, read(false, false), &[], &[(2, 3), (3, 2)]), Some(3));
        assert_eq!(chosen(&known, read(false, false), &[3], &[(2, 3), (3, 2)]), Some(2));
        assert_eq!(chosen(&known, read(false, false), &[2, 3], &[]), None);
        assert_eq!(chosen(&known, read(true, false), &[2, 3], &[]), Some(1));
        assert_eq!(chosen(&roles(3, None, &[]), Access::Write, &[], &[]), None);
    }

    #[test]
    fn there_is_a_server_exactly_if_one_would_be_chosen() {
        let replicas: [&[(u16, Option<u64>)]; 4] =
            [&[], &[(2, None)], &[(2, Some(101))], &[(2, Some(101)), (3, Some(100))]];
        for replicas in replicas {
            for primary in [None, Some(1)] {
                for access in [Access::Write, read(false, false), read(true, true)] {
                    let known = roles(3, primary, replicas);
                    let would = chosen(&known, access, &[], &[]).is_some();
                    assert_eq!(known.serves(access), would, "{access:?} {known:?}");
                    assert!(!Roles { is_current: false, ..known }.serves(access), "who has no lease cannot know");
                }
            }
        }
    }

    #[test]
    fn equals_are_drawn_from_evenly() {
        let known = roles(3, Some(1), &[(2, Some(0)), (3, Some(0)), (4, Some(0)), (5, Some(0))]);
        let mut rng = Rng::seeded(7);
        let mut counts = [0; 6];
        for _draw in 0..4_000 {
            let target = known.choose(read(false, false), &[], |address| usize::from(address == at(3)), &mut rng);
            counts[usize::from(target.expect("there are some").address.port())] += 1;
        }
        assert_eq!((counts[1], counts[3]), (0, 0));
        assert!([2, 4, 5].iter().all(|port| counts[*port] > 1_200), "{counts:?}");
    }

    #[test]
    fn a_writer_leaves_with_the_term_and_stays_while_its_primary_goes_in_order() {
        let writer = Target { address: at(1), role: Role::Primary, term: 3 };
        assert!(roles(3, Some(1), &[]).keeps(Access::Write, &writer));
        assert!(roles(3, None, &[]).keeps(Access::Write, &writer));
        assert!(!roles(4, None, &[]).keeps(Access::Write, &writer));
        assert!(!roles(4, Some(2), &[(1, Some(0))]).keeps(Access::Write, &writer));
        // It was elected once more.
        assert!(roles(4, Some(1), &[]).keeps(Access::Write, &writer));
        let yielding = Roles { leaving: Some(at(1)), ..roles(4, None, &[]) };
        assert!(yielding.keeps(Access::Write, &writer));
        assert_eq!(chosen(&yielding, Access::Write, &[], &[]), None);
    }

    #[test]
    fn a_reader_leaves_a_replica_that_was_promoted_or_by_choice_one_that_lags() {
        let reader = Target { address: at(2), role: Role::Replica, term: 3 };
        let lags = roles(3, Some(1), &[(2, Some(101))]);
        assert!(lags.keeps(read(true, false), &reader) && !lags.keeps(read(true, true), &reader));
        let promoted = roles(4, Some(2), &[(3, Some(0))]);
        assert!(!promoted.keeps(read(false, false), &reader) && !promoted.keeps(read(true, false), &reader));
        let alone = roles(4, Some(2), &[(3, None)]);
        assert!(!alone.keeps(read(false, false), &reader) && alone.keeps(read(true, false), &reader));
        let gone = roles(4, Some(1), &[]);
        assert!(gone.keeps(read(true, false), &reader) && !gone.keeps(read(true, true), &reader));
        // Who fell back on the primary leaves with it.
        let fallen_back = Target { address: at(1), role: Role::Primary, term: 3 };
        assert!(roles(3, Some(1), &[(2, Some(0))]).keeps(read(true, false), &fallen_back));
        assert!(!roles(4, Some(2), &[]).keeps(read(true, false), &fallen_back));
    }

    #[test]
    fn what_is_older_is_refused_and_a_lost_lease_changes_no_role() {
        let known = roles(3, Some(1), &[(2, Some(0))]);
        assert_eq!(known.then(roles(2, Some(9), &[])), Err(Outdated { term: 3, number: 3 }));
        let blind = Roles { is_current: false, ..roles(3, None, &[]) };
        assert_eq!(known.then(blind), Ok(Roles { is_current: false, ..known.clone() }));
        let next = Roles { is_current: false, ..roles(4, Some(2), &[]) };
        assert_eq!(known.then(next.clone()), Ok(next));
    }
}
