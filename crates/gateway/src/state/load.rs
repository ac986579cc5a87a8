//! What an endpoint has said of its own load, as any worker heard it last.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::load_report::Report;

/// For how long a figure says something after it was heard.
const FRESH: Duration = Duration::from_secs(60);
/// No figure: the bits of a number that is none.
const NOTHING: u32 = u32::MAX;

/// An endpoint's own figures. Each is written whole; those of one report may stand beside some of another.
#[derive(Debug)]
pub struct Load {
    /// As in [`Report`]: the bits of the figure.
    figures: [AtomicU32; 5],
    /// When the last report came, in milliseconds since 1970; 0 if none did.
    at: AtomicU64,
}

impl Default for Load {
    fn default() -> Self {
        Self { figures: [const { AtomicU32::new(NOTHING) }; 5], at: AtomicU64::new(0) }
    }
}

impl Load {
    /// Notes what was heard at `now`, since 1970.
    pub fn note(&self, report: &Report, now: Duration) {
        let Report { cpu, memory, application, requests, errors } = *report;
        for (place, figure) in self.figures.iter().zip([cpu, memory, application, requests, errors]) {
            place.store(figure.map_or(NOTHING, f32::to_bits), Ordering::Relaxed);
        }
        self.at.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// What was heard last, if that was not long before `now`, since 1970.
    pub fn heard(&self, now: Duration) -> Option<Report> {
        let at = Duration::from_millis(self.at.load(Ordering::Acquire));
        // A wall clock that was set back does not make it old.
        let is_fresh = !at.is_zero() && now.saturating_sub(at) <= FRESH;
        let figure = |place: &AtomicU32| {
            let bits = place.load(Ordering::Relaxed);
            (bits != NOTHING).then(|| f32::from_bits(bits))
        };
        let [cpu, memory, application, requests, errors] = &self.figures;
        is_fresh.then(|| Report {
            cpu: figure(cpu),
            memory: figure(memory),
            application: figure(application),
            requests: figure(requests),
            errors: figure(errors),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_heard_for_a_while() {
        let load = Load::default();
        let at = |second: u64| Duration::from_secs(1_700_000_000 + second);
        assert_eq!(load.heard(at(0)), None);
        let report = Report { cpu: Some(0.5), errors: Some(0.0), ..Report::default() };
        load.note(&report, at(0));
        assert_eq!((load.heard(at(60)), load.heard(at(61))), (Some(report), None));
        let other = Report { memory: Some(0.25), ..Report::default() };
        load.note(&other, at(70));
        assert_eq!(load.heard(at(0)), Some(other), "a clock that was set back");
    }
}
