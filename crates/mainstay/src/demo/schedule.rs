//! What happens to the endpoints, and when. Pure: made from the duration alone, so that two runs are the same.

use std::time::Duration;

use serde::Serialize;

/// How many endpoints the demo has.
pub(crate) const ENDPOINTS: usize = 3;

/// Their names.
pub(crate) const NAMES: [&str; ENDPOINTS] = ["alpha", "bravo", "charlie"];

/// The shortest demo.
pub(crate) const SHORTEST: Duration = Duration::from_secs(10);

/// The longest one: every latency is kept until the end.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

/// From here on all kinds of faults fit into one round; below, only the shorter list does.
const ALL_KINDS: Duration = Duration::from_secs(20);

/// A round of all faults takes about this long; longer demos have several.
const ROUND: Duration = Duration::from_secs(60);

/// What is done to the running system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The process is killed with SIGKILL, later started again.
    Kill,
    /// The process is stopped with SIGSTOP, later continued.
    Hang,
    /// Every answer takes longer, health checks included.
    Slow,
    /// Every answer but those to health checks is 503.
    Errors,
    /// Drained, ended with SIGTERM, started and put back.
    Restart,
    /// The gateway reads a changed configuration.
    Reload,
}

impl Kind {
    /// In the past tense, for a line of the timeline.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Kill => "killed (kill -9)",
            Self::Hang => "hung (SIGSTOP)",
            Self::Slow => "slow (+400 ms)",
            Self::Errors => "answers 503",
            Self::Restart => "planned restart",
            Self::Reload => "config reloaded",
        }
    }

    /// Share of the time that is left for the fault and for coming back from it.
    fn weight(self) -> f64 {
        match self {
            Self::Kill => 1.0,
            Self::Hang | Self::Slow | Self::Errors => 1.2,
            Self::Restart => 0.9,
            Self::Reload => 0.5,
        }
    }

    /// How long the fault lasts within its slot. A gateway that probes every 500 ms and needs two failures cannot notice a
    /// hang in less than about 1.3 s.
    fn active(self, slot: Duration) -> Duration {
        let share = slot.mul_f64(0.45);
        match self {
            Self::Kill | Self::Errors => share.max(Duration::from_millis(800)),
            Self::Hang | Self::Slow => share.max(Duration::from_millis(1600)),
            Self::Restart => share.clamp(Duration::from_millis(600), Duration::from_secs(3)),
            Self::Reload => Duration::ZERO,
        }
    }
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What.
    pub(crate) kind: Kind,
    /// To which endpoint; none for what concerns the gateway.
    pub(crate) endpoint: Option<usize>,
    /// When it begins, from the start.
    pub(crate) begin: Duration,
    /// When it ends.
    pub(crate) end: Duration,
}

/// The faults of a demo, in order of their begin. None overlaps another one.
pub(crate) fn plan(duration: Duration) -> Vec<Fault> {
    let kinds: &[Kind] = if duration < ALL_KINDS {
        &[Kind::Kill, Kind::Hang, Kind::Reload, Kind::Errors]
    } else {
        &[Kind::Kill, Kind::Hang, Kind::Restart, Kind::Slow, Kind::Reload, Kind::Errors]
    };
    let rounds = usize::try_from(duration.as_secs() / ROUND.as_secs()).unwrap_or(1).max(1);
    let lead = duration.mul_f64(0.04).clamp(Duration::from_millis(500), Duration::from_secs(3));
    let available = duration.saturating_sub(lead * 2);
    let weights: f64 = kinds.iter().map(|kind| kind.weight()).sum::<f64>() * rounds as f64;
    let mut faults = Vec::with_capacity(kinds.len() * rounds);
    let mut begin = lead;
    for round in 0..rounds {
        // Another round meets another endpoint with the same fault.
        let mut victim = round;
        for kind in kinds {
            let slot = available.mul_f64(kind.weight() / weights);
            let endpoint = (*kind != Kind::Reload).then_some(victim % ENDPOINTS);
            victim += usize::from(endpoint.is_some());
            faults.push(Fault { kind: *kind, endpoint, begin, end: begin + kind.active(slot) });
            begin += slot;
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_never_overlap_and_leave_time_to_recover() {
        for seconds in (10..=180).chain([600, 1800, 3600]) {
            let duration = Duration::from_secs(seconds);
            let faults = plan(duration);
            assert!(faults.len() >= 4, "{seconds} s: {faults:?}");
            for pair in faults.windows(2) {
                let slot = pair[1].begin - pair[0].begin;
                assert!(pair[0].end - pair[0].begin < slot.mul_f64(0.8), "{seconds} s: {pair:?}");
            }
            let last = faults[faults.len() - 1];
            assert!(last.end + Duration::from_millis(500) < duration, "{seconds} s: {last:?}");
        }
    }

    #[test]
    fn a_minute_has_every_kind_and_meets_every_endpoint() {
        let faults = plan(Duration::from_secs(60));
        let mut kinds: Vec<Kind> = faults.iter().map(|fault| fault.kind).collect();
        kinds.sort();
        assert_eq!(kinds, [Kind::Kill, Kind::Hang, Kind::Slow, Kind::Errors, Kind::Restart, Kind::Reload]);
        for (endpoint, name) in NAMES.iter().enumerate().take(ENDPOINTS) {
            assert!(faults.iter().any(|fault| fault.endpoint == Some(endpoint)), "{name}");
        }
    }

    #[test]
    fn longer_demos_have_more_rounds_not_longer_faults() {
        let minute = plan(Duration::from_secs(60));
        let ten = plan(Duration::from_secs(600));
        assert_eq!(ten.len(), minute.len() * 10);
        let hang = |faults: &[Fault]| {
            let found = faults.iter().find(|fault| fault.kind == Kind::Hang).unwrap();
            (found.end - found.begin).as_secs_f64()
        };
        assert!((hang(&minute) - hang(&ten)).abs() < 1.0);
        let killed: std::collections::BTreeSet<_> =
            ten.iter().filter(|fault| fault.kind == Kind::Kill).map(|fault| fault.endpoint).collect();
        assert_eq!(killed.len(), ENDPOINTS);
    }

    #[test]
    fn the_last_faults_end_before_the_shortest_demo_does() {
        let faults = plan(SHORTEST);
        assert!(faults.iter().all(|fault| fault.end < SHORTEST));
        assert!(
            faults
                .iter()
                .all(|fault| fault.kind == Kind::Reload || fault.end - fault.begin >= Duration::from_millis(800))
        );
    }
}
