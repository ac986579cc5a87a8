//! The arithmetic of availability: from what one observer saw of a service, for how long it was up, in part, down or not
//! observed, to the figures that are published.
//!
//! - MTBF is **up-time between failures**, total up-time divided by the number of failures, so that
//!   `A = MTBF / (MTBF + MTTR)`. MTTF is the mean length of the up-times that ended in a failure; the one that still lasts
//!   does not count in it.
//! - A failure is a time of being down that nobody planned. What is planned counts apart.
//! - Degraded (read-only, or served by a part of the endpoints) is up in part: users are served, and it is told apart.
//! - What was not observed is neither up nor down: availability is of the observed time, and is published with its coverage.
//! - Lengths are differences of one observer's boot-time clock; the caller sees to that.

mod confidence;
mod day;
mod timeline;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use confidence::{RULE_OF_THREE, Range, failure_rate};
pub use day::{Day, days};
pub use timeline::{Entry, Interval, Mark, Timeline};

/// Causes that are told one by one; the rest is put together.
pub const CAUSES_MAX: usize = 20;

/// How a service stood for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Users are served.
    Up,
    /// They are served in part, or by a part of what should serve them.
    Partial,
    /// They are not served.
    Down,
    /// Nobody looked.
    NotObserved,
}

/// What became of a service over a time. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// From the first to the last moment asked for.
    pub span_seconds: f64,
    /// Of that, observed.
    pub observed_seconds: f64,
    /// Up, in part included.
    pub up_seconds: f64,
    /// Of the up-time, in part only.
    pub partial_seconds: f64,
    /// Down without a plan.
    pub down_seconds: f64,
    /// Down by plan.
    pub planned_seconds: f64,
    /// Failures: times of being down that nobody planned.
    pub failures: u32,
    /// Times of being down by plan.
    pub planned: u32,
    /// Observed share of the span, in percent.
    pub coverage_percent: Option<f64>,
    /// Up share of the observed time, planned down-time counted as down, in percent.
    pub availability_percent: Option<f64>,
    /// The same without planned down-time: up / (up + down without a plan).
    pub unplanned_availability_percent: Option<f64>,
    /// Up-time between failures: up-time / failures.
    pub mtbf_seconds: Option<f64>,
    /// Mean of the up-times that ended in a failure.
    pub mttf_seconds: Option<f64>,
    /// Mean time to repair: down-time without a plan / failures that have ended or not.
    pub mttr_seconds: Option<f64>,
    /// The longest time of being down without a plan.
    pub longest_down_seconds: f64,
    /// Bounds of the failures a second of up-time, at 95 % confidence.
    pub failures_per_second: Option<Range>,
    /// What failures were due to, the costliest first.
    pub causes: Vec<CauseSum>,
}

/// What one cause has cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CauseSum {
    /// As the journal told it.
    pub cause: String,
    /// Failures.
    pub failures: u32,
    /// Down-time.
    pub down_seconds: f64,
}

/// A failover as the node that took over saw it; of a database as the node that planned it did, with what all found out later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failover {
    /// What was taken over.
    pub what: String,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// From the first sign of the loss to the take-over, in seconds.
    pub recovery_seconds: f64,
    /// Writes of so many seconds were lost; `None` where nothing is kept that could be, or where it is not known.
    pub lost_seconds: Option<f64>,
    /// Somebody wanted it.
    #[serde(default)]
    pub planned: bool,
    /// Its phases in their order, of databases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// What it has cost, of databases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
}

/// A phase of a failover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// How long it took; `None`: that is not known.
    pub seconds: Option<f64>,
}

/// What a failover has cost. What is `None` is not known, and is not nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// In one line.
    pub text: String,
    /// Bytes of the old primary's log that its successor has not.
    pub bytes: Option<u64>,
    /// The most it can be, as long as that was not measured.
    pub at_most_bytes: Option<u64>,
    /// Committed transactions in them.
    pub commits: Option<u64>,
    /// Keys that the successor has not.
    pub keys: Option<u64>,
    /// Rows of a probe that were acknowledged and are gone; `None`: nothing probed it by writing.
    pub probe_rows: Option<u64>,
}

/// Failovers taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// How many.
    pub failovers: u32,
    /// Mean time to recovery (RTO as reached), in seconds.
    pub mean_seconds: Option<f64>,
    /// The longest.
    pub longest_seconds: Option<f64>,
    /// The most that was lost (RPO as reached), in seconds; `None` where nothing is kept that could be.
    pub lost_seconds: Option<f64>,
}

/// Puts failovers together.
pub fn recovery(failovers: &[Failover]) -> Recovery {
    let times = || failovers.iter().map(|failover| failover.recovery_seconds);
    let count = u32::try_from(failovers.len()).unwrap_or(u32::MAX);
    Recovery {
        failovers: count,
        mean_seconds: (count > 0).then(|| times().sum::<f64>() / f64::from(count)),
        longest_seconds: times().reduce(f64::max),
        lost_seconds: failovers.iter().filter_map(|failover| failover.lost_seconds).reduce(f64::max),
    }
}

/// The figures of what was seen, in order. Neighbours in the same state are one; a time that was not observed between two
/// times of being down is neither a repair nor another failure.
pub fn figures(intervals: &[Interval]) -> Figures {
    let mut sums = Sums::default();
    for interval in intervals {
        sums.add(interval);
    }
    sums.figures()
}

#[derive(Default)]
struct Sums {
    figures: Figures,
    causes: BTreeMap<String, CauseSum>,
    /// Up-time since the last failure, or since the begin.
    run: f64,
    /// The lengths of the runs that ended in a failure.
    runs: f64,
    /// The state before, whatever was not observed between.
    before: Option<(State, bool)>,
    /// Length of the present time of being down without a plan, and its cause.
    down: f64,
    cause: String,
}

impl Sums {
    fn add(&mut self, interval: &Interval) {
        let (lasted, figures) = (interval.lasted.as_secs_f64(), &mut self.figures);
        figures.span_seconds += lasted;
        if interval.state == State::NotObserved {
            return;
        }
        figures.observed_seconds += lasted;
        let now = (interval.state, interval.planned);
        let was_down = |planned: bool| self.before == Some((State::Down, planned));
        match now {
            (State::Up | State::Partial, _) => {
                figures.up_seconds += lasted;
                self.run += lasted;
                if interval.state == State::Partial {
                    figures.partial_seconds += lasted;
                }
            }
            (State::Down, true) => {
                figures.planned_seconds += lasted;
                figures.planned += u32::from(!was_down(true));
            }
            (State::Down, false) => {
                figures.down_seconds += lasted;
                if !was_down(false) {
                    figures.failures += 1;
                    self.runs += self.run;
                    self.run = 0.0;
                    self.down = 0.0;
                    self.cause.clone_from(&interval.cause);
                }
                self.down += lasted;
                figures.longest_down_seconds = figures.longest_down_seconds.max(self.down);
                let none = || CauseSum { cause: self.cause.clone(), failures: 0, down_seconds: 0.0 };
                let sum = self.causes.entry(self.cause.clone()).or_insert_with(none);
                sum.failures += u32::from(!was_down(false));
                sum.down_seconds += lasted;
            }
            (State::NotObserved, _) => {}
        }
        self.before = Some(now);
    }

    fn figures(self) -> Figures {
        let mut figures = self.figures;
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| 100.0 * part / whole);
        let each = |sum: f64| (figures.failures > 0).then(|| sum / f64::from(figures.failures));
        figures.mtbf_seconds = each(figures.up_seconds);
        figures.mttf_seconds = each(self.runs);
        figures.mttr_seconds = each(figures.down_seconds);
        figures.coverage_percent = share(figures.observed_seconds, figures.span_seconds);
        figures.availability_percent = share(figures.up_seconds, figures.observed_seconds);
        figures.unplanned_availability_percent = share(figures.up_seconds, figures.up_seconds + figures.down_seconds);
        figures.failures_per_second = failure_rate(figures.failures, figures.up_seconds);
        figures.causes = costliest(self.causes.into_values().collect());
        figures
    }
}

fn costliest(mut causes: Vec<CauseSum>) -> Vec<CauseSum> {
    causes.sort_by(|a, b| b.down_seconds.total_cmp(&a.down_seconds));
    if causes.len() > CAUSES_MAX {
        let rest = causes.split_off(CAUSES_MAX - 1);
        let failures = rest.iter().map(|sum| sum.failures).sum();
        let down_seconds = rest.iter().map(|sum| sum.down_seconds).sum();
        causes.push(CauseSum { cause: format!("{} other causes", rest.len()), failures, down_seconds });
    }
    causes
}

/// Down-time in a year of 365.25 days at this availability in percent.
pub fn down_a_year(availability_percent: f64) -> Duration {
    const YEAR_SECONDS: f64 = 365.25 * 86_400.0;
    Duration::try_from_secs_f64((1.0 - availability_percent / 100.0) * YEAR_SECONDS).unwrap_or_default()
}

#[cfg(test)]
mod tests;
