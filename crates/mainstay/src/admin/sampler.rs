//! Rates and percentiles over the last seconds, from the difference between the counters now and a while ago.
//!
//! Workers only ever count upwards. Once a second the admin thread notes every counter; the ring of notes is bounded, so
//! that memory depends on the configuration alone.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_gateway::state::{BUCKETS, Counter, Endpoint, EndpointCounters, Histogram, Route, RouteCounters, State};

/// How far back rates look.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Time between two notes.
pub const INTERVAL: Duration = Duration::from_secs(1);
const NOTES_MAX: usize = 11;

/// Counters of a route or an endpoint, summed over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests (or attempts) that came to an end.
    pub finished: u64,
    /// Those among them that failed.
    pub failed: u64,
    /// Durations by bucket, not cumulative.
    pub buckets: [u64; BUCKETS.len() + 1],
}

impl Totals {
    /// What has been counted for a route. Failures are responses of class 5xx.
    pub fn of_route(route: &Route) -> Self {
        let class = |index: usize| route.shards.sum(|counters: &RouteCounters| class_count(&counters.by_class, index));
        let finished = (0..5).map(class).sum::<u64>() + route.shards.sum(|counters| counters.client_gone.get());
        Self {
            finished,
            failed: class(4),
            buckets: buckets_of(|index| route.shards.sum(|c| bucket(&c.duration, index))),
        }
    }

    /// What has been counted for an endpoint. Failures are responses of class 5xx and attempts without a response.
    pub fn of_endpoint(endpoint: &Endpoint) -> Self {
        let sum = |read: fn(&EndpointCounters) -> u64| endpoint.shards.sum(read);
        let silent = sum(|c| c.connect_failures.get()) + sum(|c| c.resets.get()) + sum(|c| c.timeouts.get());
        let answered_5xx = sum(|c| class_count(&c.by_class, 4));
        Self {
            // An attempt counts from its start, which is the only number that TCP connections have as well.
            finished: sum(|c| c.attempts.get()),
            failed: silent + answered_5xx,
            buckets: buckets_of(|index| endpoint.shards.sum(|c| bucket(&c.duration, index))),
        }
    }

    /// What was added since `earlier`. A counter that went back has been replaced by a fresh one and counts from zero.
    pub fn since(&self, earlier: &Self) -> Self {
        if self.finished < earlier.finished {
            return *self;
        }
        Self {
            finished: self.finished - earlier.finished,
            failed: self.failed.saturating_sub(earlier.failed),
            buckets: std::array::from_fn(|index| self.buckets[index].saturating_sub(earlier.buckets[index])),
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.finished += other.finished;
        self.failed += other.failed;
        for (mine, more) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += more;
        }
    }
}

fn class_count(classes: &[Counter; 5], index: usize) -> u64 {
    classes.get(index).map_or(0, Counter::get)
}

fn bucket(histogram: &Histogram, index: usize) -> u64 {
    histogram.buckets.get(index).map_or(0, Counter::get)
}

fn buckets_of(read: impl Fn(usize) -> u64) -> [u64; BUCKETS.len() + 1] {
    std::array::from_fn(read)
}

/// What went on during the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// Requests (or attempts) a second.
    pub rate: f64,
    /// Percent of them that failed; `None` if there were none.
    pub error_percent: Option<f64>,
    /// Estimated median duration.
    pub p50: Option<Duration>,
    /// Estimated 99th percentile of the durations.
    pub p99: Option<Duration>,
}

impl Activity {
    fn over(added: &Totals, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let error_percent =
            (added.finished > 0).then(|| (added.failed as f64 * 100.0 / added.finished as f64).min(100.0));
        Self {
            rate: if seconds > 0.0 { added.finished as f64 / seconds } else { 0.0 },
            error_percent,
            p50: quantile(&added.buckets, 0.5),
            p99: quantile(&added.buckets, 0.99),
        }
    }
}

/// The duration below which the share `q` of the observations lies, interpolated within its bucket. Above the last bound
/// nothing is known, so the answer is that bound.
pub fn quantile(buckets: &[u64; BUCKETS.len() + 1], q: f64) -> Option<Duration> {
    let all: u64 = buckets.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = q * all as f64;
    let mut below = 0.0;
    let mut lower = 0.0;
    for (count, upper) in buckets.iter().zip(BUCKETS) {
        let count = *count as f64;
        if count > 0.0 && below + count >= rank {
            let share = ((rank - below) / count).clamp(0.0, 1.0);
            return Some(Duration::from_secs_f64(lower + (upper - lower) * share));
        }
        below += count;
        lower = upper;
    }
    Some(Duration::from_secs_f64(lower))
}

#[derive(Debug)]
struct Note {
    at: Instant,
    // Keeping the state alive is what makes comparing the addresses of its parts sound.
    state: Arc<State>,
    routes: Vec<Totals>,
    endpoints: Vec<Vec<Totals>>,
}

impl Note {
    fn take(at: Instant, state: &Arc<State>) -> Self {
        let of_service = |service: &Arc<mainstay_gateway::state::Service>| {
            service.endpoints.iter().map(|endpoint| Totals::of_endpoint(endpoint)).collect()
        };
        Self {
            at,
            state: state.clone(),
            routes: state.routes.iter().map(|route| Totals::of_route(route)).collect(),
            endpoints: state.services.iter().map(of_service).collect(),
        }
    }

    fn route(&self, route: &Arc<Route>, index: usize) -> Option<Totals> {
        let same = |at: usize| self.state.routes.get(at).is_some_and(|noted| Arc::ptr_eq(&noted.shards, &route.shards));
        let at = Some(index).filter(|at| same(*at)).or_else(|| (0..self.state.routes.len()).find(|at| same(*at)))?;
        self.routes.get(at).copied()
    }

    fn endpoint(&self, endpoint: &Arc<Endpoint>, service: usize, index: usize) -> Option<Totals> {
        let noted = |service: usize, index: usize| self.state.services.get(service)?.endpoints.get(index);
        if noted(service, index).is_some_and(|noted| Arc::ptr_eq(noted, endpoint)) {
            return self.endpoints.get(service)?.get(index).copied();
        }
        for (service, noted) in self.state.services.iter().enumerate() {
            if let Some(index) = noted.endpoints.iter().position(|noted| Arc::ptr_eq(noted, endpoint)) {
                return self.endpoints.get(service)?.get(index).copied();
            }
        }
        None
    }
}

/// The bounded ring of notes.
#[derive(Debug, Default)]
pub struct Sampler {
    notes: VecDeque<Note>,
}

impl Sampler {
    /// Notes every counter of `state` as of `now`.
    pub fn note(&mut self, now: Instant, state: &Arc<State>) {
        while self.notes.len() >= NOTES_MAX
            || self.notes.front().is_some_and(|note| now.saturating_duration_since(note.at) > WINDOW + INTERVAL)
        {
            self.notes.pop_front();
        }
        self.notes.push_back(Note::take(now, state));
    }

    /// What a route did during the window; `index` is its place in the present state.
    pub fn route(&self, now: Instant, route: &Arc<Route>, index: usize) -> Activity {
        self.activity(now, Totals::of_route(route), |note| note.route(route, index))
    }

    /// What an endpoint has counted during the window; the indices are its place in the present state.
    pub fn added(&self, endpoint: &Arc<Endpoint>, service: usize, index: usize) -> Totals {
        self.since(Totals::of_endpoint(endpoint), |note| note.endpoint(endpoint, service, index))
    }

    /// What that comes to; of several endpoints together if their counters were added.
    pub fn rate_of(&self, now: Instant, added: &Totals) -> Activity {
        let oldest = self.notes.front();
        oldest.map_or_else(Activity::default, |oldest| Activity::over(added, now.saturating_duration_since(oldest.at)))
    }

    fn activity(&self, now: Instant, totals: Totals, find: impl Fn(&Note) -> Option<Totals>) -> Activity {
        self.rate_of(now, &self.since(totals, find))
    }

    fn since(&self, totals: Totals, find: impl Fn(&Note) -> Option<Totals>) -> Totals {
        // What the oldest note does not know came to be after it, with counters at zero.
        let earlier = self.notes.front().and_then(find).unwrap_or_default();
        totals.since(&earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample_state::{sample, serve};

    #[test]
    fn quantiles_interpolate_within_a_bucket() {
        let mut buckets = [0; BUCKETS.len() + 1];
        assert_eq!(quantile(&buckets, 0.5), None);
        buckets[1] = 100;
        assert_eq!(quantile(&buckets, 0.5), Some(Duration::from_micros(7500)));
        buckets[BUCKETS.len()] = 100;
        assert_eq!(quantile(&buckets, 0.99), Some(Duration::from_secs(10)), "nothing is known above the last bound");
    }

    #[test]
    fn rates_look_back_ten_seconds() {
        let state = sample();
        let start = Instant::now();
        let endpoint = &state.services[0].endpoints[0];
        let mut sampler = Sampler::default();
        for second in 0..30 {
            sampler.note(start + Duration::from_secs(second), &state);
            serve(&state, 0, 0, if second < 15 { 100 } else { 20 }, Duration::from_millis(30));
        }
        let now = start + Duration::from_secs(30);
        let activity = sampler.rate_of(now, &sampler.added(endpoint, 0, 0));
        assert!((activity.rate - 20.0).abs() < 3.0, "{activity:?}");
        assert_eq!(activity.error_percent, Some(0.0));
        assert!(sampler.notes.len() <= NOTES_MAX);
    }

    #[test]
    fn an_endpoint_that_a_reload_moved_keeps_its_numbers_and_a_new_one_starts_at_zero() {
        let old = sample();
        let start = Instant::now();
        serve(&old, 0, 0, 1000, Duration::from_millis(30));
        let mut sampler = Sampler::default();
        sampler.note(start, &old);
        let mut new = Arc::try_unwrap(sample()).expect("only owner");
        let mut service = Arc::try_unwrap(new.services.remove(0)).expect("only owner");
        service.endpoints = vec![service.endpoints[0].clone(), old.services[0].endpoints[0].clone()];
        new.services.push(Arc::new(service));
        let new = Arc::new(new);
        serve(&new, 0, 0, 50, Duration::from_millis(30));
        let now = start + Duration::from_secs(10);
        let endpoints = &new.services[0].endpoints;
        let rate = |index: usize| sampler.rate_of(now, &sampler.added(&endpoints[index], 0, index)).rate;
        assert!((rate(0) - 5.0).abs() < 0.1);
        assert!(rate(1) < 0.1, "what was served before the note does not count");
    }
}
