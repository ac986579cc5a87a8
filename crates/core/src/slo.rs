//! Objectives: what share of events is to be good, what is left of the budget of bad ones, and when its burning is worth a
//! page or a ticket.
//!
//! The rules are multi-window, multi-burn-rate alerts (Google, The Site Reliability Workbook, chapter 5). A burn rate of 1
//! uses the whole budget up in exactly the objective's window; a rule fires while the burn rate of its long window and that
//! of its short one both exceed it. The long one keeps blips quiet, the short one ends the alert soon after the trouble.
//! Everything is decided from counts, which somebody else keeps; nothing here remembers anything.

use std::time::Duration;

pub use crate::alert::Severity;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The window of an objective unless it says: four weeks, so that each holds as many weekends.
pub const WINDOW: Duration = Duration::from_secs(28 * 86_400);
/// Events below which shares mean little, unless an objective says.
pub const MIN_EVENTS: u64 = 100;
/// Failures of a day that are worth a ticket where there are too few events for shares, unless an objective says.
pub const SLOW_FAILURES: u64 = 10;
/// One failure is no trend, however few events there are.
const BAD_LEAST: u64 = 2;

/// A rule: how fast the budget may not burn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Whom it concerns.
    pub severity: Severity,
    /// The burn rate that both windows must exceed.
    pub burn: f64,
    /// The window that shows that it matters.
    pub long: Duration,
    /// The window that shows that it goes on.
    pub short: Duration,
}

/// The rules. While one fires, 2 %, 5 %, 10 % and 10 % of the budget of 28 days are gone.
pub const RULES: [Rule; 4] = [
    Rule { severity: Severity::P1, burn: 14.4, long: HOUR, short: Duration::from_secs(5 * 60) },
    Rule {
        severity: Severity::P2,
        burn: 6.0,
        long: Duration::from_secs(6 * 3_600),
        short: Duration::from_secs(30 * 60),
    },
    Rule { severity: Severity::P3, burn: 3.0, long: DAY, short: Duration::from_secs(2 * 3_600) },
    Rule {
        severity: Severity::P4,
        burn: 1.0,
        long: Duration::from_secs(3 * 86_400),
        short: Duration::from_secs(6 * 3_600),
    },
];

/// The rule of that severity.
pub const fn rule(severity: Severity) -> Rule {
    RULES[severity as usize]
}

impl Rule {
    /// Whether it can fire at all: even if every event is bad, the budget of a low target burns no faster than
    /// `1 / (1 - target)`.
    pub fn can_fire(&self, target: f64) -> bool {
        self.burn * (1.0 - target) < 1.0
    }

    /// How long a total outage lasts before the rule fires, at even traffic.
    pub fn fires_after(&self, target: f64) -> Duration {
        self.long.mul_f64((self.burn * (1.0 - target)).clamp(0.0, 1.0))
    }
}

/// What is to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The share of events that is to be good: between 0 and 1, without both.
    pub target: f64,
    /// Over which time.
    pub window: Duration,
    /// A rule says nothing while its long window holds fewer events.
    pub min_events: u64,
    /// Where a day holds fewer events than that, so many bad ones of a day are worth a ticket; 0 turns it off.
    pub slow_failures: u64,
    /// Which rules apply.
    pub severities: Vec<Severity>,
}

impl Objective {
    /// An objective with the defaults of everything else.
    pub fn new(target: f64) -> Self {
        let severities = Severity::ALL.to_vec();
        Self { target, window: WINDOW, min_events: MIN_EVENTS, slow_failures: SLOW_FAILURES, severities }
    }

    /// The rules that apply.
    pub fn rules(&self) -> impl Iterator<Item = Rule> {
        RULES.into_iter().filter(|rule| self.severities.contains(&rule.severity))
    }

    /// The rules that apply and can never fire.
    pub fn mute_rules(&self) -> Vec<Rule> {
        self.rules().filter(|rule| !rule.can_fire(self.target)).collect()
    }
}

/// Events of a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub total: u64,
    /// Those that were not good; never more than all.
    pub bad: u64,
}

impl Tally {
    /// The share that was good; `None` without events.
    pub fn good_share(&self) -> Option<f64> {
        (self.total > 0).then(|| 1.0 - self.bad.min(self.total) as f64 / self.total as f64)
    }

    /// How fast the budget of `target` burned: 1 is as fast as it may; `None` without events.
    pub fn burn(&self, target: f64) -> Option<f64> {
        (self.total > 0).then(|| self.bad.min(self.total) as f64 / self.total as f64 / (1.0 - target).max(f64::EPSILON))
    }
}

/// Why a rule says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// Its long window holds fewer events than the objective asks for.
    TooFewEvents,
    /// Its long window holds one bad event: no trend.
    OneFailure,
}

impl Quiet {
    /// For people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooFewEvents => "too few events",
            Self::OneFailure => "one failure is no trend",
        }
    }
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    /// The rule.
    pub rule: Rule,
    /// The burn rate of its long window; `None` without events.
    pub long: Option<f64>,
    /// That of its short one.
    pub short: Option<f64>,
    /// Both exceed it, and nothing keeps it quiet.
    pub firing: bool,
    /// What keeps it quiet.
    pub quiet: Option<Quiet>,
}

/// How an objective stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Events of the objective's window.
    pub tally: Tally,
    /// The share that was good.
    pub good: Option<f64>,
    /// The share of the budget that is left: 1 is all of it, less than 0 is overdrawn. `None` without events.
    pub budget_left: Option<f64>,
    /// When the budget is used up at the pace of the last hours; `None` if it is not at that pace.
    pub exhausted_in: Option<Duration>,
    /// The rules that apply, the worst first.
    pub burns: Vec<Burn>,
    /// There are too few events for shares, and too many of them failed.
    pub slow_failure: bool,
}

impl Standing {
    /// The worst severity that fires.
    pub fn firing(&self) -> Option<Severity> {
        let slow = self.slow_failure.then_some(Severity::P3);
        self.burns.iter().filter(|burn| burn.firing).map(|burn| burn.rule.severity).chain(slow).min()
    }
}

/// Judges an objective by what `events` counted in the last span of time.
pub fn judge(objective: &Objective, events: impl Fn(Duration) -> Tally) -> Standing {
    let burns: Vec<Burn> = objective.rules().map(|rule| burn(objective, rule, &events)).collect();
    let tally = events(objective.window);
    let used = tally.burn(objective.target);
    let budget_left = used.map(|used| 1.0 - used);
    let day = events(DAY);
    let slow_failure = objective.slow_failures > 0
        && day.total < objective.min_events
        && day.bad >= objective.slow_failures
        && events(rule(Severity::P3).short).bad > 0;
    let pace = [rule(Severity::P1).long, rule(Severity::P2).long].into_iter();
    let pace = pace.filter_map(|span| events(span).burn(objective.target)).fold(0.0, f64::max);
    let exhausted_in = match budget_left {
        Some(left) if left <= 0.0 => Some(Duration::ZERO),
        // At 1 or less as much budget comes back as is used.
        Some(left) if pace > 1.0 => Some(objective.window.mul_f64(left / pace)),
        Some(_) | None => None,
    };
    Standing { good: tally.good_share(), tally, budget_left, exhausted_in, burns, slow_failure }
}

fn burn(objective: &Objective, rule: Rule, events: impl Fn(Duration) -> Tally) -> Burn {
    let (in_long, in_short) = (events(rule.long), events(rule.short));
    let (long, short) = (in_long.burn(objective.target), in_short.burn(objective.target));
    let exceeds = |burn: Option<f64>| burn.is_some_and(|burn| burn > rule.burn);
    let quiet = if in_long.total < objective.min_events {
        Some(Quiet::TooFewEvents)
    } else if in_long.bad < BAD_LEAST && exceeds(long) {
        Some(Quiet::OneFailure)
    } else {
        None
    };
    Burn { rule, long, short, firing: quiet.is_none() && exceeds(long) && exceeds(short), quiet }
}

/// Every span that [`judge`] asks for, of an objective of that window.
pub fn spans(window: Duration) -> Vec<Duration> {
    let mut spans: Vec<Duration> = RULES.iter().flat_map(|rule| [rule.long, rule.short]).chain([window]).collect();
    spans.sort();
    spans.dedup();
    debug_assert!(spans.first().is_some_and(|span| *span >= MINUTE));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_use_as_much_of_the_budget_as_the_reference_says() {
        for (rule, spent) in RULES.iter().zip([0.02, 0.05, 0.10, 0.10]) {
            // The reference rounds for 30 days.
            let share = rule.burn * rule.long.as_secs_f64() / (30.0 * DAY.as_secs_f64());
            assert!((share - spent).abs() < 0.001, "{rule:?}: {share}");
            assert!(rule.short * 12 == rule.long, "{rule:?}");
        }
    }

    #[test]
    fn a_rule_that_can_never_fire_is_known() {
        let mute =
            |target: f64| Objective::new(target).mute_rules().iter().map(|rule| rule.severity).collect::<Vec<_>>();
        assert_eq!(mute(0.999), []);
        assert_eq!(mute(0.90), [Severity::P1]);
        assert_eq!(mute(0.80), [Severity::P1, Severity::P2]);
        let some = Objective { severities: vec![Severity::P3, Severity::P4], ..Objective::new(0.90) };
        assert_eq!(some.mute_rules(), []);
        assert!(rule(Severity::P1).fires_after(0.999) < 2 * MINUTE);
    }

    #[test]
    fn few_events_fire_no_share_but_a_days_failures_do() {
        let objective = Objective::new(0.999);
        let even = |total: u64, bad: u64| move |_span: Duration| Tally { total, bad };
        let standing = judge(&objective, even(99, 99));
        assert!(standing.burns.iter().all(|burn| !burn.firing && burn.quiet == Some(Quiet::TooFewEvents)));
        assert_eq!(standing.firing(), Some(Severity::P3), "ninety-nine failures of a day");
        assert_eq!(judge(&objective, even(99, 9)).firing(), None);
        let off = Objective { slow_failures: 0, ..objective.clone() };
        assert_eq!(judge(&off, even(99, 99)).firing(), None);
        assert_eq!(judge(&objective, even(100, 1)).burns[1].quiet, Some(Quiet::OneFailure));
        assert_eq!(judge(&objective, even(100, 2)).firing(), Some(Severity::P1));
    }

    #[test]
    fn the_budget_and_its_end() {
        let objective = Objective::new(0.99);
        let standing = judge(&objective, |span| {
            if span == WINDOW { Tally { total: 100_000, bad: 250 } } else { Tally { total: 1_000, bad: 20 } }
        });
        assert_eq!(standing.good, Some(0.9975));
        assert!((standing.budget_left.expect("events") - 0.75).abs() < 1e-9);
        // At twice the pace that would last four weeks, three quarters last a week and a half.
        let left = standing.exhausted_in.expect("it burns");
        assert!((left.as_secs_f64() / DAY.as_secs_f64() - 10.5).abs() < 1e-6, "{left:?}");
        let none = judge(&objective, |_span| Tally::default());
        assert_eq!((none.good, none.budget_left, none.exhausted_in, none.firing()), (None, None, None, None));
        let gone = judge(&objective, |_span| Tally { total: 100, bad: 50 });
        assert_eq!(gone.exhausted_in, Some(Duration::ZERO));
    }
}
