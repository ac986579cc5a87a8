//! Which endpoints of a service may be chosen, from what is known of each.

use crate::health;

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What active checks say.
    pub health: health::State,
    /// Taken out because it failed real requests.
    pub ejected: bool,
    /// To get no new requests, by the configuration's or an operator's wish.
    pub draining: bool,
    /// Lower is served first; higher ones are spares.
    pub priority: u16,
}

/// Which endpoints get traffic: those that are up; if none is, those of which nothing is known yet; in both cases only those
/// of the lowest priority that has any. If there is none of these either, all that are not draining if the service
/// `fails_open`, and otherwise none.
pub fn eligible(endpoints: &[Known], fails_open: bool) -> Vec<bool> {
    for wanted in [health::State::Up, health::State::Unknown] {
        let takes = |known: &Known| !known.draining && !known.ejected && known.health == wanted;
        let first = endpoints.iter().filter(|known| takes(known)).map(|known| known.priority).min();
        if let Some(first) = first {
            return endpoints.iter().map(|known| takes(known) && known.priority == first).collect();
        }
    }
    endpoints.iter().map(|known| fails_open && !known.draining).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::State::{Down, Unknown, Up};

    const fn known(health: health::State, ejected: bool, draining: bool) -> Known {
        Known { health, ejected, draining, priority: 0 }
    }

    #[test]
    fn spares_are_served_only_while_nobody_of_a_lower_priority_is_eligible() {
        let at = |priority: u16, health: health::State| Known { priority, ..known(health, false, false) };
        for (endpoints, expected) in [
            ([at(0, Up), at(1, Up), at(2, Up)], [true, false, false]),
            ([at(0, Down), at(1, Up), at(1, Up)], [false, true, true]),
            ([at(0, Unknown), at(1, Up), at(2, Up)], [false, true, false]),
            ([at(7, Unknown), at(3, Unknown), at(3, Down)], [false, true, false]),
            ([at(0, Down), at(1, Down), at(2, Down)], [false, false, false]),
        ] {
            assert_eq!(eligible(&endpoints, false), expected, "{endpoints:?}");
        }
        assert_eq!(eligible(&[at(0, Down), at(1, Down)], true), [true, true]);
    }

    #[test]
    fn the_best_tier_that_has_somebody_is_served() {
        let (up, unknown, down) = (known(Up, false, false), known(Unknown, false, false), known(Down, false, false));
        let (ejected, draining) = (known(Up, true, false), known(Up, false, true));
        for (endpoints, closed, open) in [
            ([up, unknown, down], [true, false, false], [true, false, false]),
            ([ejected, unknown, down], [false, true, false], [false, true, false]),
            ([draining, up, ejected], [false, true, false], [false, true, false]),
            ([ejected, draining, down], [false, false, false], [true, false, true]),
        ] {
            assert_eq!(eligible(&endpoints, false), closed, "{endpoints:?}");
            assert_eq!(eligible(&endpoints, true), open, "{endpoints:?}");
        }
        assert!(eligible(&[], true).is_empty());
    }
}
