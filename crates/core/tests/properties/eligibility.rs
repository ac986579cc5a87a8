use std::time::Duration;

use mainstay_core::balance::Share;
use mainstay_core::eligibility::{Eligible, Known, eligible};
use mainstay_core::guard::{self, Seen};
use mainstay_core::health::State;
use mainstay_core::time::Moment;
use mainstay_core::zone::{self, Place};
use proptest::prelude::*;

fn known() -> impl Strategy<Value = Known> {
    let state = prop_oneof![4 => Just(State::Up), 2 => Just(State::Down), 1 => Just(State::Unknown)];
    let share = prop_oneof![3 => Just(1000u16), 1 => 1u16..1000];
    let flags = (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.3));
    (state, flags, 0u16..3, share).prop_map(|(health, (live, ejected, draining, spare), priority, permille)| Known {
        health,
        live,
        ejected,
        draining,
        priority,
        spare,
        share: Share::permille(permille),
    })
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        Just(Seen::Unproven),
        Just(Seen::Passing),
        (0u64..120).prop_map(|second| Seen::Failing { since: Moment::from_millis(second * 1000) }),
    ]
}

proptest! {
    #![proptest_config(crate::config())]

    #[test]
    fn whoever_is_eligible_may_serve(endpoints in prop::collection::vec(known(), 0..10), guarded: bool) {
        let Eligible { which, last_resort } = eligible(&endpoints, guarded);
        prop_assert_eq!(which.len(), endpoints.len());
        let chosen: Vec<&Known> = endpoints.iter().zip(&which).filter(|(_known, is)| **is).map(|(known, _is)| known).collect();
        prop_assert!(chosen.iter().all(|known| !known.draining), "nobody who drains");
        let is_up = |known: &Known| known.health == State::Up && !known.ejected && !known.draining;
        if endpoints.iter().any(is_up) {
            prop_assert!(!last_resort && !chosen.is_empty(), "whoever is up is served");
        }
        if !last_resort {
            prop_assert!(chosen.windows(2).all(|pair| pair[0].priority == pair[1].priority), "one priority");
            if !guarded {
                prop_assert!(chosen.iter().all(|known| known.health != State::Down && !known.ejected));
            }
        }
    }

    #[test]
    fn no_more_spares_than_are_missing(endpoints in prop::collection::vec(known(), 0..10)) {
        let Eligible { which, last_resort } = eligible(&endpoints, false);
        let chosen = |spare: bool| endpoints.iter().zip(&which).filter(move |(known, is)| **is && known.spare == spare).count();
        let Some(priority) = endpoints.iter().zip(&which).find(|(_known, is)| **is).map(|(known, _is)| known.priority) else {
            return Ok(());
        };
        if last_resort {
            return Ok(());
        }
        let active: Vec<(&Known, &bool)> =
            endpoints.iter().zip(&which).filter(|(known, _is)| known.priority == priority && !known.spare).collect();
        let missing: f64 = active.iter().map(|(known, is)| if **is { 1.0 - known.share.as_ratio() } else { 1.0 }).sum();
        prop_assert!(chosen(true) as f64 <= missing.ceil().max(1.0), "{} spares for {}", chosen(true), missing);
        if missing == 0.0 && !active.is_empty() {
            prop_assert_eq!(chosen(true), 0, "nothing is missing");
        }
    }

    #[test]
    fn the_guard_rises_for_most_at_once_and_for_nothing_less(
        endpoints in prop::collection::vec(seen(), 0..12),
        share in 0.1f64..0.99,
        window in 1u64..60,
    ) {
        let policy = guard::Policy { share, window: Duration::from_secs(window) };
        let now = Moment::from_millis(120_000);
        let recent = |seen: &&Seen| matches!(seen, Seen::Failing { since } if now.since(*since) <= policy.window);
        let failing = endpoints.iter().filter(recent).count();
        let concerned = failing + endpoints.iter().filter(|seen| **seen == Seen::Passing).count();
        let rises = guard::judge(&policy, None, &endpoints, now);
        if failing * 1000 > (share * 1000.0).ceil() as usize * concerned {
            prop_assert_eq!(rises, Some(now));
        }
        if failing == 0 || (failing as f64) < share * concerned as f64 {
            prop_assert_eq!(rises, None);
        }
        // What has raised it holds it, and endpoints that come or go without ever having passed change nothing.
        if rises.is_some() {
            prop_assert_eq!(guard::judge(&policy, rises, &endpoints, now.after(Duration::from_secs(9999))), rises);
            let mut more = endpoints.clone();
            more.extend([Seen::Unproven; 20]);
            prop_assert_eq!(guard::judge(&policy, None, &more, now), rises);
        }
        let well = vec![Seen::Passing; endpoints.len()];
        prop_assert_eq!(guard::judge(&policy, Some(now), &well, now), None, "it ends");
    }

    #[test]
    fn zones_keep_what_the_own_one_can_bear(
        places in prop::collection::vec((any::<bool>(), 1u32..20, any::<bool>(), prop_oneof![Just(0u16), Just(1000u16), 1u16..1000]), 0..12),
        min_endpoints in 0usize..8,
    ) {
        let places: Vec<Place> = places
            .into_iter()
            .map(|(own, weight, expected, permille)| Place { own, weight, expected, share: Share::permille(permille) })
            .collect();
        let factors = zone::shares(&places, min_endpoints);
        prop_assert_eq!(factors.len(), places.len());
        let weight = |own: bool, with: bool| -> f64 {
            let each = places.iter().zip(&factors).filter(|(place, _factor)| place.own == own);
            each.map(|(place, factor)| {
                let factor = if with { factor.as_ratio() } else { 1.0 };
                f64::from(place.weight) * place.share.as_ratio() * factor
            })
            .sum()
        };
        for (place, factor) in places.iter().zip(&factors) {
            prop_assert!(!place.own || *factor == Share::FULL, "nobody here gets less");
        }
        let (here, away) = (weight(true, true), weight(false, true));
        let wanted: f64 = places.iter().filter(|place| place.own && place.expected).map(|place| f64::from(place.weight)).sum();
        let in_effect = factors.iter().any(|factor| *factor < Share::FULL);
        if in_effect {
            prop_assert!(here > 0.0);
            // Nobody can go where nobody is.
            let missing = (wanted - here).max(0.0).min(weight(false, false));
            let rounding = 0.001 * weight(false, false) + 1e-6;
            prop_assert!((away - missing).abs() <= rounding, "{} leave for {}", away, missing);
        }
        if places.iter().any(|place| place.share > Share::NONE) {
            prop_assert!(here + away > 0.0, "somebody is always left");
        }
    }
}
