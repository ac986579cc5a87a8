use std::time::Duration;

use mainstay_core::slo::{Objective, RULES, Severity, Tally, judge, rule};
use proptest::prelude::*;

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;

proptest! {
    #![proptest_config(crate::config())]

    /// Whatever was counted: a rule fires only if both windows exceed it and neither is all there is to say against it, a
    /// rule that can never fire does not, and the budget agrees with the share that was good.
    #[test]
    fn a_verdict_follows_from_its_counts(
        target in 0.5f64..0.99999,
        counts in prop::collection::vec((0u64..1_000_000, 0u64..1_000_000), 16),
        min_events in 1u64..1_000,
        slow_failures in 0u64..50,
    ) {
        let objective = Objective { min_events, slow_failures, ..Objective::new(target) };
        let events = |span: Duration| {
            let (total, bad) = counts[(span.as_secs() / 300 % 16) as usize];
            Tally { total, bad: bad.min(total) }
        };
        let standing = judge(&objective, events);
        for burn in &standing.burns {
            let exceeds = |burn: Option<f64>, most: f64| burn.is_some_and(|burn| burn > most);
            let both = exceeds(burn.long, burn.rule.burn) && exceeds(burn.short, burn.rule.burn);
            prop_assert_eq!(burn.firing, both && burn.quiet.is_none());
            if burn.firing {
                prop_assert!(burn.rule.can_fire(target), "{burn:?} at {target}");
                prop_assert!(events(burn.rule.long).total >= min_events);
            }
        }
        prop_assert_eq!(standing.burns.len(), RULES.len());
        match (standing.good, standing.budget_left) {
            (Some(good), Some(left)) => {
                prop_assert!((0.0..=1.0).contains(&good) && left <= 1.0);
                // Near the target itself the two are rounded differently.
                prop_assert!((good - target).abs() < 1e-9 || (left > 0.0) == (good > target), "{good} {left}");
                prop_assert_eq!(standing.exhausted_in == Some(Duration::ZERO), left <= 0.0);
            }
            (None, None) => prop_assert_eq!(standing.tally.total, 0),
            (good, left) => prop_assert!(false, "{good:?} {left:?}"),
        }
    }

    /// An outage at even traffic: each rule fires when the reference's arithmetic says and ends when its short window has
    /// forgotten enough, within a step.
    #[test]
    fn rules_fire_and_end_when_arithmetic_says(
        target in 0.98f64..0.9999,
        share in 0.02f64..1.0,
        lasts_minutes in 1u64..2_000,
    ) {
        let rate = 100_000u64;
        let begins = 4 * DAY;
        let ends = begins + lasts_minutes * MINUTE;
        let bad_until = |at: u64| (at.clamp(begins, ends) - begins) as f64 * rate as f64 * share;
        let at = |now: u64| judge(&Objective::new(target), |span| Tally {
            total: rate * span.as_secs(),
            bad: (bad_until(now) - bad_until(now - span.as_secs().min(now))).round() as u64,
        });
        for known in RULES {
            let needed = known.burn * (1.0 - target) / share;
            let fires = |now: u64| at(now).burns.iter().any(|burn| burn.rule == known && burn.firing);
            let wait = (known.long.as_secs_f64() * needed) as u64;
            if needed >= 0.999 || wait + MINUTE >= ends - begins {
                prop_assert!(needed < 1.001 && wait <= ends - begins || !fires(ends), "{known:?} needs {needed}");
                continue;
            }
            prop_assert!(!fires(begins + wait.saturating_sub(2)), "{known:?} fires before {wait} s");
            prop_assert!(fires(begins + wait + 2), "{known:?} fires after {wait} s");
            let short = known.short.as_secs();
            if ends - begins >= short {
                let rest = (short as f64 * (1.0 - needed)) as u64;
                // A long window that is hardly exceeded may end first.
                let long = known.long.as_secs();
                let left = (ends - begins).min(long) as f64 * share / long as f64 / (1.0 - target);
                if left > known.burn * 1.5 || ends - begins + rest < long {
                    prop_assert!(fires(ends + rest.saturating_sub(2)), "{known:?} lasts {rest} s");
                }
                prop_assert!(!fires(ends + rest + 2), "{known:?} ends {rest} s after");
            }
        }
    }
}

/// When a rule fires and ends: once the share of bad requests in the long window exceeds it, and once that of the short one
/// (or of the long one, if that is sooner) does not any more. Incidents are begin, length (seconds) and the share that fails.
fn expectation(severity: Severity, (from, lasts, share): (u64, u64, f64), target: f64) -> (Severity, u64, u64) {
    let rule = rule(severity);
    let needed = rule.burn * (1.0 - target) / share;
    let fires = from + (rule.long.as_secs_f64() * needed).ceil() as u64;
    let bad = (rule.short.as_secs_f64() * needed).ceil() as u64;
    // The short window still holds all of an incident that is shorter than it.
    (severity, fires, from + lasts + rule.short.as_secs() - bad.min(lasts))
}

/// 28 days at a hundred requests a second, with what may happen in them.
#[test]
fn four_weeks_with_incidents_against_what_arithmetic_says() {
    let target = 0.999;
    // Begin, length (seconds), share of requests that fail.
    let outage = (5 * DAY, 20 * MINUTE, 1.0);
    let leak = (9 * DAY, 2 * DAY, 0.004);
    let blip = (15 * DAY, 30, 1.0);
    let slow = (20 * DAY, 4 * DAY, 0.0013);
    let incidents = [outage, leak, blip, slow];
    let rate = 100.0;
    let bad_until = |at: u64| -> f64 {
        incidents.iter().map(|(from, lasts, share)| (at.clamp(*from, from + lasts) - from) as f64 * rate * share).sum()
    };
    let objective = Objective::new(target);
    let standing = |now: u64| {
        judge(&objective, |span| Tally {
            total: (span.as_secs().min(now) as f64 * rate) as u64,
            bad: (bad_until(now) - bad_until(now.saturating_sub(span.as_secs()))).round() as u64,
        })
    };
    let step = 10;
    let mut found: Vec<(Severity, u64, u64)> = Vec::new();
    let mut firing = [None; 4];
    for now in (step..28 * DAY).step_by(step as usize) {
        for (burn, since) in standing(now).burns.iter().zip(&mut firing) {
            match (burn.firing, *since) {
                (true, None) => *since = Some(now),
                (false, Some(from)) => {
                    found.push((burn.rule.severity, from, now));
                    *since = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
    }
    assert_eq!(firing, [None; 4], "everything has ended");
    let rows = [
        (Severity::P1, outage),
        (Severity::P2, outage),
        (Severity::P3, outage),
        (Severity::P4, outage),
        (Severity::P3, leak),
        (Severity::P4, leak),
        (Severity::P4, slow),
    ];
    let mut expected: Vec<(Severity, u64, u64)> =
        rows.into_iter().map(|(severity, incident)| expectation(severity, incident, target)).collect();
    expected.sort_by_key(|(severity, from, _)| (*from, *severity));
    found.sort_by_key(|(severity, from, _)| (*from, *severity));
    let table: Vec<String> = found.iter().map(|(severity, from, to)| format!("{severity:?} {from}..{to}")).collect();
    assert_eq!(found.len(), expected.len(), "{table:#?}\nexpected {expected:#?}");
    for ((severity, from, to), (other, fires, ends)) in found.iter().zip(&expected) {
        assert_eq!(severity, other, "{table:#?}");
        assert!(
            from.abs_diff(*fires) <= 2 * step && to.abs_diff(*ends) <= 2 * step,
            "{severity:?}: {from}..{to}, expected {fires}..{ends}"
        );
    }
    let first = found.iter().find(|(severity, ..)| *severity == Severity::P1).expect("a page");
    assert!(first.1 - outage.0 <= 120, "a page within two minutes: {} s", first.1 - outage.0);
    // An outage of 20 minutes alone uses half of four weeks' budget of 40; all together overdraw it.
    let before = standing(9 * DAY).budget_left.expect("events");
    assert!(before < 0.0, "9 days have only 13 minutes' budget: {before}");
    let after = standing(28 * DAY).budget_left.expect("events");
    let spent: f64 =
        incidents.iter().map(|(_, lasts, share)| *lasts as f64 * share).sum::<f64>() / (28.0 * DAY as f64 * 0.001);
    assert!((after - (1.0 - spent)).abs() < 1e-6, "{after} {spent}");
}

/// A service that a few people use: no page for one failure, a ticket for an outage.
#[test]
fn low_traffic_pages_nobody_for_one_failure_and_an_outage_is_a_ticket() {
    let objective = Objective::new(0.999);
    // Two requests an hour. One fails at noon; on the next day all do.
    let bad_until = |hour: u64| u64::from(hour >= 12) + 2 * hour.saturating_sub(24).min(12);
    let standing = |hour: u64| {
        judge(&objective, |span| {
            let hours = span.as_secs().div_ceil(3_600);
            Tally { total: 2 * hours.min(hour), bad: bad_until(hour) - bad_until(hour.saturating_sub(hours)) }
        })
    };
    for hour in 1..24 {
        assert_eq!(standing(hour).firing(), None, "hour {hour}");
    }
    let fired = (24..36).find(|hour| standing(*hour).firing() == Some(Severity::P3));
    assert_eq!(fired, Some(29), "ten failures of a day");
    assert_eq!(standing(41).firing(), None, "it ends when none failed for two hours");
}
