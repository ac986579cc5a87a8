//! What happens to the endpoints and the nodes, and when. Pure: made from the duration alone, so that two runs are the same.

use std::time::Duration;

use serde::Serialize;

/// How many endpoints the demo has.
pub(crate) const ENDPOINTS: usize = 3;

/// Their names.
pub(crate) const NAMES: [&str; ENDPOINTS] = ["alpha", "bravo", "charlie"];

/// How many nodes a demo of several has.
pub(crate) const NODES: usize = 3;

/// Their names.
pub(crate) const NODE_NAMES: [&str; NODES] = ["node1", "node2", "node3"];

/// The shortest demo.
pub(crate) const SHORTEST: Duration = Duration::from_secs(10);

/// The shortest one of several nodes: a node that was killed has to be back before the next one is.
pub(crate) const SHORTEST_OF_NODES: Duration = Duration::from_secs(20);

/// The longest one: every latency is kept until the end.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

/// From here on all kinds of faults fit into one round; below, only the shorter list does.
const ALL_KINDS: Duration = Duration::from_secs(20);

/// The same for several nodes.
const ALL_KINDS_OF_NODES: Duration = Duration::from_secs(40);

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
    /// The node that holds the address is killed with SIGKILL, later started again.
    NodeKill,
    /// It is stopped with SIGSTOP. Its guard kills it when its lease is over; later it is started again.
    NodeFreeze,
    /// Nothing passes between it and the other nodes.
    NodeCut,
    /// It hears the others, and they do not hear it.
    NodeMute,
    /// `mainstay address move` to another node.
    Move,
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
            Self::NodeKill => "killed (kill -9)",
            Self::NodeFreeze => "frozen (SIGSTOP)",
            Self::NodeCut => "cut off",
            Self::NodeMute => "cut off one way",
            Self::Move => "address moved",
        }
    }

    /// Whether it meets the node that holds the address, whichever that is.
    pub(crate) fn is_of_a_node(self) -> bool {
        match self {
            Self::NodeKill | Self::NodeFreeze | Self::NodeCut | Self::NodeMute | Self::Move => true,
            Self::Kill | Self::Hang | Self::Slow | Self::Errors | Self::Restart | Self::Reload => false,
        }
    }

    /// Whether it meets one of the endpoints.
    fn is_of_an_endpoint(self) -> bool {
        !self.is_of_a_node() && self != Self::Reload
    }

    /// Share of the time that is left for the fault and for coming back from it.
    fn weight(self) -> f64 {
        match self {
            Self::Kill => 1.0,
            Self::Hang | Self::Slow | Self::Errors => 1.2,
            Self::Restart => 0.9,
            Self::Reload => 0.5,
            Self::NodeKill => 1.2,
            Self::NodeCut | Self::NodeMute => 1.3,
            Self::NodeFreeze => 1.4,
            Self::Move => 0.8,
        }
    }

    /// How long the fault lasts within its slot. A gateway that probes every 500 ms and needs two failures cannot notice a
    /// hang in less than about 1.3 s; a node that is frozen or cut off has its lease for up to 1.6 s.
    fn active(self, slot: Duration) -> Duration {
        let share = slot.mul_f64(0.45);
        match self {
            Self::Kill | Self::Errors => share.max(Duration::from_millis(800)),
            Self::Hang | Self::Slow => share.max(Duration::from_millis(1600)),
            Self::Restart => share.clamp(Duration::from_millis(600), Duration::from_secs(3)),
            Self::Reload | Self::Move => Duration::ZERO,
            Self::NodeKill => share.clamp(Duration::from_millis(1500), Duration::from_secs(6)),
            Self::NodeFreeze | Self::NodeCut | Self::NodeMute => {
                share.clamp(Duration::from_millis(2800), Duration::from_secs(6))
            }
        }
    }
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What.
    pub(crate) kind: Kind,
    /// To which endpoint; none for what concerns a gateway.
    pub(crate) endpoint: Option<usize>,
    /// When it begins, from the start.
    pub(crate) begin: Duration,
    /// When it ends.
    pub(crate) end: Duration,
}

impl Fault {
    /// The same, beginning at another time.
    pub(crate) fn at(self, begin: Duration) -> Self {
        Self { begin, end: begin + self.end.saturating_sub(self.begin), ..self }
    }
}

/// The faults of a demo with one gateway, in order of their begin. None overlaps another one.
pub(crate) fn plan(duration: Duration) -> Vec<Fault> {
    let kinds: &[Kind] = if duration < ALL_KINDS {
        &[Kind::Kill, Kind::Hang, Kind::Reload, Kind::Errors]
    } else {
        &[Kind::Kill, Kind::Hang, Kind::Restart, Kind::Slow, Kind::Reload, Kind::Errors]
    };
    spread(kinds, duration)
}

/// The faults of a demo with several nodes, likewise.
pub(crate) fn plan_of_nodes(duration: Duration) -> Vec<Fault> {
    let kinds: &[Kind] = if duration < ALL_KINDS_OF_NODES {
        &[Kind::NodeKill, Kind::Kill, Kind::NodeFreeze, Kind::NodeCut]
    } else {
        &[Kind::NodeKill, Kind::Hang, Kind::NodeFreeze, Kind::Kill, Kind::NodeCut, Kind::Move, Kind::NodeMute]
    };
    spread(kinds, duration)
}

fn spread(kinds: &[Kind], duration: Duration) -> Vec<Fault> {
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
            let endpoint = kind.is_of_an_endpoint().then_some(victim % ENDPOINTS);
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
    fn faults_of_nodes_last_longer_than_a_lease_and_leave_time_to_recover() {
        for seconds in (20..=180).chain([600, 1800, 3600]) {
            let duration = Duration::from_secs(seconds);
            let faults = plan_of_nodes(duration);
            assert!(faults.iter().filter(|fault| fault.kind.is_of_a_node()).count() >= 3, "{seconds} s: {faults:?}");
            for pair in faults.windows(2) {
                let slot = pair[1].begin - pair[0].begin;
                assert!(pair[0].end - pair[0].begin < slot.mul_f64(0.7), "{seconds} s: {pair:?}");
            }
            for fault in &faults {
                let must_outlast = matches!(fault.kind, Kind::NodeFreeze | Kind::NodeCut | Kind::NodeMute);
                assert!(!must_outlast || fault.end - fault.begin > Duration::from_millis(2500), "{fault:?}");
                assert_eq!(fault.endpoint.is_none(), fault.kind.is_of_a_node(), "{fault:?}");
                assert!(fault.end + Duration::from_millis(500) < duration, "{seconds} s: {fault:?}");
            }
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
