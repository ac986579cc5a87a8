//! Recent latency that rises at once and falls slowly (peak exponentially weighted moving average, as in Twitter's Finagle).

use std::time::Duration;

use super::lost::Lost;
use crate::time::Moment;

/// What one worker has seen of an endpoint's latency.
///
/// A slower answer than the average is taken over at once; faster ones pull it down over [`PeakEwma::DECAY`]. Without answers
/// it falls as well, so that an endpoint that was slow once is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PeakEwma {
    /// Nanoseconds; 0 until the first answer.
    nanos: f64,
    at: Moment,
    lost: Lost,
}

impl PeakEwma {
    /// Time in which what is known loses two thirds of its worth.
    pub const DECAY: Duration = Duration::from_secs(10);
    /// What an endpoint is assumed to take whose first answer is still awaited.
    pub const PRIOR: Duration = Duration::from_millis(30);
    /// What a failure counts as, at least: an endpoint that fails fast must not look fast.
    pub const FAILURE: Duration = Duration::from_secs(1);
    /// And at most.
    pub const FAILURE_MOST: Duration = Duration::from_secs(30);

    /// What is known of the latency if nearly all attempts are lost is this many times their age.
    const UNSEEN_MOST: f32 = 10.0;

    /// An answer came after `latency`.
    pub fn observe(&mut self, now: Moment, latency: Duration) {
        self.lost.answered();
        self.take(now, latency);
    }

    fn take(&mut self, now: Moment, latency: Duration) {
        let sample = latency.as_nanos() as f64;
        let rest = self.rest(now);
        let known = self.nanos * rest;
        self.nanos = if sample >= known || self.nanos == 0.0 { sample.max(1.0) } else { known + sample * (1.0 - rest) };
        self.at = now;
    }

    /// An attempt failed: twice as slow as it was known to be, within bounds.
    pub fn fail(&mut self, now: Moment) {
        let doubled = self.nanos * self.rest(now) * 2.0;
        let bounded = doubled.clamp(Self::FAILURE.as_nanos() as f64, Self::FAILURE_MOST.as_nanos() as f64);
        self.take(now, Duration::from_nanos(bounded as u64));
    }

    /// An attempt was cancelled after `age`, since another endpoint has answered first, though it was asked later. It would have
    /// taken longer, the more so the fewer are answered: with durations of an exponential distribution, the mean is the time that
    /// all have lasted over the number of those that have ended. An endpoint that is known to be slower stays as it is.
    pub fn lose(&mut self, now: Moment, age: Duration) {
        let factor = (1.0 / (1.0 - self.lost.lose())).min(Self::UNSEEN_MOST);
        let guess = Duration::try_from_secs_f64(age.as_secs_f64() * f64::from(factor)).unwrap_or(age);
        if guess.as_nanos() as f64 > self.nanos * self.rest(now) {
            self.take(now, guess);
        }
    }

    /// What one more request costs besides `in_flight` others: nanoseconds, times the requests that then share the endpoint.
    /// One that was never measured and has nothing to do costs nothing, so that it is measured by one request at a time.
    pub fn cost(&self, now: Moment, in_flight: u32) -> u64 {
        let sharing = f64::from(in_flight) + 1.0;
        let nanos = match (self.nanos == 0.0, in_flight) {
            (true, 0) => return 0,
            (true, _) => Self::PRIOR.as_nanos() as f64,
            (false, _) => self.nanos * self.rest(now),
        };
        // Saturates far beyond any latency.
        (nanos * sharing) as u64
    }

    /// The part of what was known that still counts.
    fn rest(&self, now: Moment) -> f64 {
        (-now.since(self.at).as_secs_f64() / Self::DECAY.as_secs_f64()).exp()
    }
}
