//! Which endpoints of a service may be chosen, from what is known of each.

use crate::balance::Share;
use crate::health;

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What active checks say.
    pub health: health::State,
    /// Whether it takes connections, whatever its checks say of it; heeded while the service is guarded.
    pub live: bool,
    /// Taken out because it failed real requests.
    pub ejected: bool,
    /// To get no new requests, by the configuration's or an operator's wish.
    pub draining: bool,
    /// Lower is served first.
    pub priority: u16,
    /// It stands in for an endpoint of its priority that is out.
    pub spare: bool,
    /// How much of its weight it gets.
    pub share: Share,
}

/// Which endpoints may be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eligible {
    /// By endpoint.
    pub which: Vec<bool>,
    /// Nobody is well: those that are listed are all that are not draining, for whoever would rather try than refuse.
    pub last_resort: bool,
}

/// Which endpoints get traffic: those that are up; if none is, those of which nothing is known yet; in both cases only those
/// of the lowest priority that has any, and of its spares as many as are missing of the others. If there is none of these
/// either, all that are not draining, as a last resort.
///
/// While the service is `guarded`, whoever takes connections counts as up, whatever checks and failed requests say.
pub fn eligible(endpoints: &[Known], guarded: bool) -> Eligible {
    for wanted in [health::State::Up, health::State::Unknown] {
        let takes = |known: &Known| match (guarded && wanted == health::State::Up, known.health) {
            _ if known.draining => false,
            (true, health::State::Up) => true,
            (true, health::State::Down) => known.live,
            (true, health::State::Unknown) => false,
            (false, state) => !known.ejected && state == wanted,
        };
        let first = endpoints.iter().filter(|known| takes(known)).map(|known| known.priority).min();
        if let Some(first) = first {
            let mut which: Vec<bool> =
                endpoints.iter().map(|known| takes(known) && known.priority == first && !known.spare).collect();
            let mut places = missing(endpoints, &which, first);
            for (place, known) in which.iter_mut().zip(endpoints) {
                if places > 0 && known.spare && known.priority == first && takes(known) {
                    *place = true;
                    places -= 1;
                }
            }
            return Eligible { which, last_resort: false };
        }
    }
    Eligible { which: endpoints.iter().map(|known| !known.draining).collect(), last_resort: true }
}

/// How many spares of a priority are needed: one for each endpoint that is out, and for each that what is missing of the
/// weights of the others adds up to. Endpoints of which nothing is known yet are no reason to call a spare, unless there is
/// nobody else.
fn missing(endpoints: &[Known], serving: &[bool], priority: u16) -> usize {
    let active = endpoints.iter().zip(serving).filter(|(known, _serves)| known.priority == priority && !known.spare);
    let mut permille = 0u64;
    for (known, serves) in active {
        permille += match (serves, known.health) {
            (true, _) => u64::from(Share::FULL.as_permille() - known.share.as_permille()),
            (false, health::State::Unknown) if !known.draining && !known.ejected => 0,
            (false, _) => u64::from(Share::FULL.as_permille()),
        };
    }
    let places = permille.div_ceil(u64::from(Share::FULL.as_permille())) as usize;
    if serving.contains(&true) { places } else { places.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::State::{Down, Unknown, Up};

    const fn known(health: health::State, ejected: bool, draining: bool) -> Known {
        Known { health, live: false, ejected, draining, priority: 0, spare: false, share: Share::FULL }
    }

    fn which(endpoints: &[Known]) -> Vec<bool> {
        eligible(endpoints, false).which
    }

    #[test]
    fn higher_priorities_are_served_only_while_nobody_of_a_lower_one_is_eligible() {
        let at = |priority: u16, health: health::State| Known { priority, ..known(health, false, false) };
        for (endpoints, expected) in [
            ([at(0, Up), at(1, Up), at(2, Up)], [true, false, false]),
            ([at(0, Down), at(1, Up), at(1, Up)], [false, true, true]),
            ([at(0, Unknown), at(1, Up), at(2, Up)], [false, true, false]),
            ([at(7, Unknown), at(3, Unknown), at(3, Down)], [false, true, false]),
        ] {
            assert_eq!(eligible(&endpoints, false), Eligible { which: expected.to_vec(), last_resort: false });
        }
        let nobody = eligible(&[at(0, Down), at(1, Down)], false);
        assert_eq!(nobody, Eligible { which: vec![true, true], last_resort: true });
    }

    #[test]
    fn the_best_tier_that_has_somebody_is_served() {
        let (up, unknown, down) = (known(Up, false, false), known(Unknown, false, false), known(Down, false, false));
        let (ejected, draining) = (known(Up, true, false), known(Up, false, true));
        for (endpoints, expected, last_resort) in [
            ([up, unknown, down], [true, false, false], false),
            ([ejected, unknown, down], [false, true, false], false),
            ([draining, up, ejected], [false, true, false], false),
            ([ejected, draining, down], [true, false, true], true),
        ] {
            assert_eq!(eligible(&endpoints, false), Eligible { which: expected.to_vec(), last_resort });
        }
        assert!(which(&[]).is_empty());
    }

    #[test]
    fn a_spare_enters_for_each_that_is_out_and_leaves_again() {
        let spare = |health: health::State| Known { spare: true, ..known(health, false, false) };
        let with_share = |permille: u16| Known { share: Share::permille(permille), ..known(Up, false, false) };
        let (up, down, unknown) = (known(Up, false, false), known(Down, false, false), known(Unknown, false, false));
        let (ejected, draining) = (known(Up, true, false), known(Up, false, true));
        for (endpoints, expected) in [
            ([up, up, spare(Up), spare(Up)], [true, true, false, false]),
            ([up, down, spare(Up), spare(Up)], [true, false, true, false]),
            ([down, down, spare(Up), spare(Up)], [false, false, true, true]),
            ([up, ejected, spare(Down), spare(Up)], [true, false, false, true]),
            ([up, draining, spare(Up), spare(Up)], [true, false, true, false]),
            // At the start nothing is known of some, which is no failure.
            ([up, unknown, spare(Up), spare(Up)], [true, false, false, false]),
            ([unknown, unknown, spare(Up), spare(Up)], [false, false, true, false]),
            ([unknown, unknown, spare(Unknown), spare(Unknown)], [true, true, false, false]),
            // While an endpoint recovers, its spare stays.
            ([up, with_share(100), spare(Up), spare(Up)], [true, true, true, false]),
            ([with_share(20), with_share(999), spare(Up), spare(Up)], [true, true, true, false]),
            ([with_share(20), with_share(900), spare(Up), spare(Up)], [true, true, true, true]),
        ] {
            assert_eq!(which(&endpoints), expected, "{endpoints:?}");
        }
    }

    #[test]
    fn under_guard_whoever_takes_connections_is_served() {
        let live = |health: health::State, ejected: bool| Known { live: true, ..known(health, ejected, false) };
        let endpoints = [live(Down, false), live(Up, true), known(Down, false, false), known(Unknown, false, false)];
        assert_eq!(eligible(&endpoints, true).which, [true, true, false, false]);
        assert_eq!(eligible(&endpoints, false).which, [false, false, false, true]);
        let nobody = [known(Down, false, false), known(Down, true, false)];
        assert!(eligible(&nobody, true).last_resort);
    }
}
