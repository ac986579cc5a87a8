//! The same by day, for graphs and for what is kept when the detail is not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Interval, State};

const DAY_MS: u64 = 86_400_000;

/// What became of a service in one day (UTC), in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Day {
    /// Which: days since 1970-01-01.
    pub day: u64,
    /// Up, in part included.
    pub up_seconds: f64,
    /// Of that, in part.
    pub partial_seconds: f64,
    /// Down without a plan.
    pub down_seconds: f64,
    /// Down by plan.
    pub planned_seconds: f64,
    /// Failures that began in it.
    pub failures: u32,
}

impl Day {
    /// Seconds in which somebody looked.
    pub fn observed_seconds(&self) -> f64 {
        self.up_seconds + self.down_seconds + self.planned_seconds
    }
}

/// Intervals by day, oldest first; days in which nobody looked are left out.
pub fn days(intervals: &[Interval]) -> Vec<Day> {
    let mut days: BTreeMap<u64, Day> = BTreeMap::new();
    let mut was_down = false;
    for interval in intervals.iter().filter(|interval| interval.state != State::NotObserved) {
        let fails = interval.state == State::Down && !interval.planned;
        if fails && !was_down {
            days.entry(interval.at_unix_ms / DAY_MS).or_default().failures += 1;
        }
        was_down = fails;
        let mut at = interval.at_unix_ms;
        let end = at.saturating_add(u64::try_from(interval.lasted.as_millis()).unwrap_or(u64::MAX));
        // The wall clock only says on which days the time is put.
        let mut left = interval.lasted.as_secs_f64();
        while left > 0.0 {
            let midnight = (at / DAY_MS + 1) * DAY_MS;
            let seconds = if end > midnight { ((midnight - at) as f64 / 1e3).min(left) } else { left };
            let day = days.entry(at / DAY_MS).or_default();
            match (interval.state, interval.planned) {
                (State::Up, _) => day.up_seconds += seconds,
                (State::Partial, _) => {
                    day.up_seconds += seconds;
                    day.partial_seconds += seconds;
                }
                (State::Down, true) => day.planned_seconds += seconds,
                (State::Down, false) => day.down_seconds += seconds,
                (State::NotObserved, _) => {}
            }
            left -= seconds;
            if end <= midnight {
                break;
            }
            at = midnight;
        }
    }
    days.into_iter().map(|(day, sums)| Day { day, ..sums }).collect()
}
