//! Zones: parts of a site that fail as one, between which traffic is slower and costs more.
//!
//! A node prefers endpoints of its own zone. As far as capacity is missing there, the difference goes to the other zones: with
//! a third of the zone's weight out, a third of the traffic.

use crate::balance::Share;

/// An endpoint as far as zones are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether it is in the node's own zone.
    pub own: bool,
    /// Its configured weight.
    pub weight: u32,
    /// Whether its weight counts as what the zone should have: not that of spares.
    pub expected: bool,
    /// How much of its weight it gets; nothing if it is not eligible.
    pub share: Share,
}

/// How much of what it gets anyway each endpoint gets for the sake of its zone: those of the own zone all of it, the others as
/// far as capacity is missing there.
///
/// All get everything if fewer than `min_endpoints` are eligible, since a few endpoints cannot be told apart by zones without
/// overloading one; and if the own zone has nobody.
pub fn shares(places: &[Place], min_endpoints: usize) -> Vec<Share> {
    let eligible = places.iter().filter(|place| place.share > Share::NONE).count();
    let weigh = |filter: &dyn Fn(&Place) -> bool| -> f64 {
        places.iter().filter(|place| filter(place)).map(|place| f64::from(place.share.of(place.weight))).sum()
    };
    let here = weigh(&|place| place.own);
    if eligible < min_endpoints || here <= 0.0 {
        return vec![Share::FULL; places.len()];
    }
    let wanted = places.iter().filter(|place| place.own && place.expected);
    let wanted: f64 = wanted.map(|place| f64::from(Share::FULL.of(place.weight))).sum();
    let elsewhere = weigh(&|place| !place.own);
    let missing = (wanted - here).max(0.0);
    // Never more than without zones: then the rest of the own zone would get less than its part.
    let away = if elsewhere > 0.0 { Share::ratio(missing / elsewhere) } else { Share::NONE };
    places.iter().map(|place| if place.own { Share::FULL } else { away }).collect()
}

/// What is left of a service's capacity if a zone is lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss<'a> {
    /// The zone.
    pub zone: &'a str,
    /// Requests a second that the other zones can serve.
    pub left: f64,
}

/// For each zone, in the order in which they are first named: what is left without it. An endpoint is its zone, if it has one,
/// and the requests a second that it can serve.
pub fn losses<'a>(endpoints: &[(Option<&'a str>, f64)]) -> Vec<Loss<'a>> {
    let mut losses: Vec<Loss<'a>> = Vec::new();
    for zone in endpoints.iter().filter_map(|(zone, _capacity)| *zone) {
        if losses.iter().all(|loss| loss.zone != zone) {
            let rest = endpoints.iter().filter(|(other, _capacity)| *other != Some(zone));
            losses.push(Loss { zone, left: rest.map(|(_zone, capacity)| capacity).sum() });
        }
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(own: bool, weight: u32, permille: u16) -> Place {
        Place { own, weight, expected: true, share: Share::permille(permille) }
    }

    fn permilles(places: &[Place], min_endpoints: usize) -> Vec<u16> {
        shares(places, min_endpoints).iter().map(|share| share.as_permille()).collect()
    }

    #[test]
    fn the_own_zone_is_preferred_and_what_it_misses_goes_elsewhere() {
        let table: [(&[Place], [u16; 4]); 6] = [
            (
                &[place(true, 1, 1000), place(true, 1, 1000), place(false, 1, 1000), place(false, 1, 1000)],
                [1000, 1000, 0, 0],
            ),
            // Half of it is out: half of the traffic leaves, shared by two.
            (
                &[place(true, 1, 1000), place(true, 1, 0), place(false, 1, 1000), place(false, 1, 1000)],
                [1000, 1000, 500, 500],
            ),
            (
                &[place(true, 1, 1000), place(true, 3, 500), place(false, 3, 1000), place(false, 3, 0)],
                [1000, 1000, 500, 500],
            ),
            // Nobody is left.
            (&[place(true, 1, 0), place(true, 1, 0), place(false, 1, 1000), place(false, 1, 1000)], [1000; 4]),
            // The others are fewer than what is missing: everybody by weight.
            (&[place(true, 1, 1000), place(true, 9, 0), place(false, 1, 1000), place(false, 1, 1000)], [1000; 4]),
            (&[place(false, 1, 1000), place(false, 9, 0), place(false, 1, 1000), place(false, 1, 1000)], [1000; 4]),
        ];
        for (places, expected) in table {
            assert_eq!(permilles(places, 2), expected, "{places:?}");
        }
    }

    #[test]
    fn a_small_service_knows_no_zones() {
        let places = [place(true, 1, 1000), place(false, 1, 1000), place(false, 1, 0)];
        assert_eq!(permilles(&places, 3), [1000, 1000, 1000]);
        assert_eq!(permilles(&places, 2), [1000, 0, 0]);
        assert_eq!(permilles(&[], 0), [0u16; 0]);
    }

    #[test]
    fn what_is_left_without_each_zone() {
        let endpoints = [(Some("a"), 100.0), (Some("b"), 50.0), (None, 10.0), (Some("a"), 100.0)];
        let losses = losses(&endpoints);
        assert_eq!(losses, [Loss { zone: "a", left: 60.0 }, Loss { zone: "b", left: 210.0 }]);
    }
}
