//! What the clients saw, added up. Everything here comes from the client's side of the gateway.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::demo::schedule::ENDPOINTS;

/// A successful answer that took longer than this counts as slow.
pub(crate) const SLOW: Duration = Duration::from_millis(250);

/// How far back the live figures look.
const RECENT: Duration = Duration::from_secs(5);

/// Failed and slow requests that are kept one by one; further ones are only counted.
const NOTABLE_MAX: usize = 100_000;

/// The shortest time without an answer that is noted; requests are 5 ms apart.
pub(crate) const GAP: Duration = Duration::from_millis(50);

/// Gaps and changes of the answering node that are kept; further ones are forgotten.
const SPELLS_MAX: usize = 10_000;

/// One finished request. Times count from the start of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When it was due. A request that starts late because every connection waits has waited too.
    pub(crate) due: Duration,
    /// When its answer was complete, or known to have failed.
    pub(crate) done: Duration,
    /// Whether it was a POST.
    pub(crate) post: bool,
    /// The endpoint that says it answered, or how it failed.
    pub(crate) outcome: Result<usize, String>,
    /// Its id in the gateway's access log, if the answer bore one.
    pub(crate) id: Option<String>,
}

impl Sample {
    /// From when it was due to when it was done.
    pub(crate) fn latency(&self) -> Duration {
        self.done.saturating_sub(self.due)
    }
}

/// A second of the demo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Second {
    /// Requests that were due in it.
    pub(crate) requests: u32,
    /// Those that failed.
    pub(crate) failures: u32,
}

/// Figures over the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    /// Requests a second.
    pub(crate) rate: f64,
    /// The median latency.
    pub(crate) p50: Option<Duration>,
    /// The 99th percentile.
    pub(crate) p99: Option<Duration>,
}

/// The sums.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    requests: u64,
    failed: u64,
    seconds: Vec<Second>,
    latencies_us: Vec<u32>,
    answered: [u64; ENDPOINTS],
    failures: BTreeMap<String, u64>,
    notable: Vec<Sample>,
    slowest: Option<Sample>,
    recent: VecDeque<Sample>,
    configs: BTreeMap<u64, Duration>,
    confirmed: Vec<u64>,
    latest_wake: Option<Duration>,
    last_success: Duration,
    gaps: Vec<(Duration, Duration)>,
    /// Which node answered from when on.
    spells: Vec<(usize, Duration)>,
}

impl Tally {
    /// Adds a finished request.
    pub(crate) fn record(&mut self, sample: Sample) {
        self.requests += 1;
        let second = usize::try_from(sample.due.as_secs()).unwrap_or(usize::MAX).min(100_000);
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, Second::default());
        }
        if let Some(second) = self.seconds.get_mut(second) {
            second.requests += 1;
            second.failures += u32::from(sample.outcome.is_err());
        }
        match &sample.outcome {
            Ok(endpoint) => {
                if sample.done.saturating_sub(self.last_success) >= GAP && self.gaps.len() < SPELLS_MAX {
                    self.gaps.push((self.last_success, sample.done));
                }
                self.last_success = self.last_success.max(sample.done);
                self.latencies_us.push(u32::try_from(sample.latency().as_micros()).unwrap_or(u32::MAX));
                if let Some(count) = self.answered.get_mut(*endpoint) {
                    *count += 1;
                }
            }
            Err(how) => {
                self.failed += 1;
                *self.failures.entry(how.clone()).or_default() += 1;
            }
        }
        let notable = sample.outcome.is_err() || sample.latency() >= SLOW;
        if notable && self.notable.len() < NOTABLE_MAX {
            self.notable.push(sample.clone());
        }
        if self.slowest.as_ref().is_none_or(|slowest| slowest.latency() < sample.latency()) {
            self.slowest = Some(sample.clone());
        }
        let horizon = sample.done.saturating_sub(RECENT);
        while self.recent.front().is_some_and(|oldest| oldest.done < horizon) {
            self.recent.pop_front();
        }
        self.recent.push_back(sample);
    }

    /// Notes that an answer came under configuration `number`; the first one counts.
    pub(crate) fn saw_config(&mut self, number: u64, at: Duration) {
        self.configs.entry(number).or_insert(at);
    }

    /// Notes which node an answer came by.
    pub(crate) fn saw_node(&mut self, node: usize, at: Duration) {
        if self.spells.last().is_none_or(|(last, _at)| *last != node) && self.spells.len() < SPELLS_MAX {
            self.spells.push((node, at));
        }
    }

    /// When, after a time, the first answer came by another node than this one.
    pub(crate) fn answered_by_another(&self, node: usize, after: Duration) -> Option<Duration> {
        self.spells.iter().find(|(other, at)| *other != node && *at >= after).map(|(_other, at)| *at)
    }

    /// The longest time without a successful answer that touches the given one, `now` being its end if it is not over;
    /// none if it is shorter than [`GAP`].
    pub(crate) fn longest_gap(&self, from: Duration, until: Option<Duration>, now: Duration) -> Option<Duration> {
        let still = until.is_none().then_some((self.last_success, now));
        let touches = |gap: &&(Duration, Duration)| gap.1 > from && until.is_none_or(|until| gap.0 < until);
        let lengths = self.gaps.iter().chain(&still).filter(touches).map(|gap| gap.1.saturating_sub(gap.0));
        lengths.max().filter(|length| *length >= GAP)
    }

    /// Notes that an order was confirmed to the client.
    pub(crate) fn confirm(&mut self, order: u64) {
        self.confirmed.push(order);
    }

    /// Notes how much too late a client woke up for its request.
    pub(crate) fn woke(&mut self, late: Duration) {
        self.latest_wake = self.latest_wake.max(Some(late));
    }

    /// The most that a client woke up too late.
    pub(crate) fn latest_wake(&self) -> Option<Duration> {
        self.latest_wake
    }

    /// Requests that are done.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Those that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Percent of requests that succeeded.
    pub(crate) fn availability(&self) -> Option<f64> {
        percent(self.requests - self.failed, self.requests)
    }

    /// Seconds in which no request failed, and seconds with requests.
    pub(crate) fn clean_seconds(&self) -> (u64, u64) {
        let busy = self.seconds.iter().filter(|second| second.requests > 0);
        let clean = busy.clone().filter(|second| second.failures == 0);
        (clean.count() as u64, busy.count() as u64)
    }

    /// Every second.
    pub(crate) fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// Answers by endpoint.
    pub(crate) fn answered(&self) -> [u64; ENDPOINTS] {
        self.answered
    }

    /// Failures by kind.
    pub(crate) fn failures(&self) -> &BTreeMap<String, u64> {
        &self.failures
    }

    /// Failed and slow requests.
    pub(crate) fn notable(&self) -> &[Sample] {
        &self.notable
    }

    /// The one that took longest, whether it failed or not.
    pub(crate) fn slowest(&self) -> Option<&Sample> {
        self.slowest.as_ref()
    }

    /// When the first answer under configuration `number` came.
    pub(crate) fn config_seen(&self, number: u64) -> Option<Duration> {
        self.configs.get(&number).copied()
    }

    /// Orders that were confirmed.
    pub(crate) fn confirmed(&self) -> &[u64] {
        &self.confirmed
    }

    /// Latencies of successful requests at the given shares (0.5 is the median).
    pub(crate) fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [Option<Duration>; N] {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        shares.map(|share| quantile(&sorted, share))
    }

    /// Figures over the last seconds, of one endpoint or of all.
    pub(crate) fn recent(&self, endpoint: Option<usize>, now: Duration) -> Recent {
        let horizon = now.saturating_sub(RECENT);
        let wanted = |sample: &&Sample| {
            let counts = sample.outcome.as_ref().ok().is_some_and(|who| endpoint.is_none_or(|it| it == *who));
            sample.done >= horizon && counts
        };
        let mut latencies: Vec<u32> = self
            .recent
            .iter()
            .filter(wanted)
            .map(|sample| u32::try_from(sample.latency().as_micros()).unwrap_or(u32::MAX))
            .collect();
        latencies.sort_unstable();
        let span = RECENT.min(now).as_secs_f64().max(0.1);
        Recent { rate: latencies.len() as f64 / span, p50: quantile(&latencies, 0.5), p99: quantile(&latencies, 0.99) }
    }
}

/// `part` of `whole` in percent, unless there is nothing.
pub(crate) fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

/// The value below or at which `share` of the values lie (nearest rank).
fn quantile(sorted_us: &[u32], share: f64) -> Option<Duration> {
    let rank = (share * sorted_us.len() as f64).ceil() as usize;
    sorted_us.get(rank.max(1) - 1).map(|micros| Duration::from_micros(u64::from(*micros)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample(due_ms: u64, latency_ms: u64, outcome: Result<usize, &str>) -> Sample {
        Sample {
            due: Duration::from_millis(due_ms),
            done: Duration::from_millis(due_ms + latency_ms),
            post: false,
            outcome: outcome.map_err(str::to_owned),
            id: None,
        }
    }

    #[test]
    fn requests_seconds_and_kinds_add_up() {
        let mut tally = Tally::default();
        for at in 0..1000 {
            tally.record(sample(at * 5, 2, Ok(usize::try_from(at).unwrap() % ENDPOINTS)));
        }
        tally.record(sample(1500, 1000, Err("gateway 504 (timeout)")));
        tally.record(sample(1600, 1, Err("gateway 504 (timeout)")));
        tally.record(sample(4999, 700, Ok(2)));
        assert_eq!((tally.requests(), tally.failed()), (1003, 2));
        assert!((tally.availability().unwrap() - 1001.0 / 1003.0 * 100.0).abs() < 1e-9);
        assert_eq!(tally.clean_seconds(), (4, 5));
        assert_eq!(tally.failures().get("gateway 504 (timeout)"), Some(&2));
        assert_eq!(tally.answered(), [334, 333, 334]);
        assert_eq!(tally.notable().len(), 3);
        assert_eq!(tally.slowest().unwrap().latency(), Duration::from_secs(1));
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut tally = Tally::default();
        assert_eq!(tally.quantiles([0.5]), [None]);
        for ms in 1..=100 {
            tally.record(sample(0, ms, Ok(0)));
        }
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(tally.quantiles([0.0, 0.5, 0.99, 1.0]), [ms(1), ms(50), ms(99), ms(100)]);
    }

    #[test]
    fn live_figures_forget() {
        let mut tally = Tally::default();
        tally.record(sample(0, 900, Ok(0)));
        for at in 0..100 {
            tally.record(sample(20_000 + at * 10, 1, Ok(1)));
        }
        let now = Duration::from_secs(21);
        assert_eq!(tally.recent(Some(0), now), Recent { rate: 0.0, p50: None, p99: None });
        let all = tally.recent(None, now);
        assert!((all.rate - 20.0).abs() < 0.01, "{all:?}");
        assert_eq!(all.p99, Some(Duration::from_millis(1)));
    }

    #[test]
    fn gaps_belong_to_the_time_that_they_touch() {
        let mut tally = Tally::default();
        for at in (0..1000).chain(2200..3000).step_by(5) {
            tally.record(sample(at, 2, Ok(0)));
        }
        let ms = Duration::from_millis;
        tally.record(sample(1500, 1, Err("connection refused")));
        assert_eq!(tally.longest_gap(ms(990), Some(ms(2500)), ms(3000)), Some(ms(1205)));
        assert_eq!(tally.longest_gap(ms(2300), Some(ms(2900)), ms(3000)), None);
        assert_eq!(tally.longest_gap(ms(2300), None, ms(4000)), Some(ms(1003)), "one that is not over yet");
        assert_eq!(tally.longest_gap(ms(0), Some(ms(900)), ms(3000)), None);
    }

    #[test]
    fn it_knows_which_node_answered_from_when_on() {
        let mut tally = Tally::default();
        let ms = Duration::from_millis;
        for (node, at) in [(0, 0), (0, 5), (1, 1200), (1, 1300), (2, 9000)] {
            tally.saw_node(node, ms(at));
        }
        assert_eq!(tally.answered_by_another(0, ms(3)), Some(ms(1200)));
        assert_eq!(tally.answered_by_another(1, ms(1300)), Some(ms(9000)));
        assert_eq!(tally.answered_by_another(2, ms(9001)), None);
    }

    #[test]
    fn the_first_answer_under_a_configuration_counts() {
        let mut tally = Tally::default();
        tally.saw_config(2, Duration::from_secs(5));
        tally.saw_config(2, Duration::from_secs(6));
        assert_eq!(tally.config_seen(2), Some(Duration::from_secs(5)));
        assert_eq!(tally.config_seen(3), None);
    }
}
