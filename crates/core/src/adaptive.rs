//! A limit of concurrent requests that finds itself: it grows while requests take no longer than they do when little is
//! going on, and shrinks when they do (after Netflix' "Gradient2" and Envoy's adaptive concurrency).
//!
//! Each window gives a median latency. With `base`, the latency when little is going on,
//!
//! ```text
//! gradient = clamp(base * tolerance / median, 0.5, 1)
//! limit    = clamp(limit * gradient + sqrt(limit), min, max)
//! ```
//!
//! so that a backend with `n` places settles near `n * tolerance`, with a queue of that much at the backend itself.
//!
//! `base` is the median of requests that began and ended while at most `probe` were going on. Quiet times give them for nothing; if
//! there was none for `remeasure`, the limit is lowered to `probe` until there are enough or the measurement has lasted too
//! long. What the limit may never fall below (`min`) is another number than `probe`: the first says what the backend can
//! surely take, the second what it takes without a queue.
//!
//! Only answers count, and attempts that ran out of time. What was refused, cancelled or failed at once says nothing of how
//! long work takes.

mod window;

use std::time::Duration;

use window::Window;

use crate::random::Rng;
use crate::time::Moment;

/// How the limit finds itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The limit never falls below this; at least 1.
    pub min: u32,
    /// Nor rises above this.
    pub max: u32,
    /// The limit before anything was measured.
    pub initial: u32,
    /// How many requests go on at once while the latency without a queue is measured; at least 1.
    pub probe: u32,
    /// How many times the latency without a queue is all right; at least 1.
    pub tolerance: f64,
    /// Latency above `base` that is all right in any case: below it, it is scheduling that is measured.
    pub slack: Duration,
    /// The latency without a queue is measured again after this long, give or take `jitter`.
    pub remeasure: Duration,
    /// Share of `remeasure` by which nodes differ, so that not all measure at once; 0 to 1.
    pub jitter: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min: 5,
            max: 1000,
            initial: 20,
            probe: 5,
            tolerance: 1.5,
            slack: Duration::from_millis(2),
            remeasure: Duration::from_secs(60),
            jitter: 0.15,
        }
    }
}

/// A request that was answered or ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How long the endpoint took.
    pub latency: Duration,
    /// How many requests were in when this one was let in, itself included.
    pub entered_with: u32,
    /// How many are in now that it is over, itself included.
    pub left_with: u32,
}

/// Samples that make a window. Fewer would follow single requests, more would follow late.
const SAMPLES: usize = 25;
/// A window lasts at least this long, so that what the last change did is seen before the next.
const SHORTEST_WINDOW: Duration = Duration::from_millis(50);
/// A window that lasts longer is closed with what it has, if that is anything to go by.
const LONGEST_WINDOW: Duration = Duration::from_secs(5);
/// What is anything to go by.
const FEWEST: usize = 5;
/// A forced measurement ends after this long: at a backend that hangs there is nothing to measure.
const LONGEST_MEASUREMENT: Duration = Duration::from_secs(2);

/// The machine of one limit.
#[derive(Clone, Debug)]
pub struct Adaptive {
    policy: Policy,
    rng: Rng,
    limit: f64,
    base: Option<Duration>,
    recent: Window,
    quiet: Window,
    /// The most that were in at once during the window.
    most_in: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The limit follows the gradient.
    Following {
        /// When the latency without a queue has to be measured again.
        measure_at: Moment,
    },
    /// The limit is lowered.
    Measuring {
        /// When to give up.
        until: Moment,
    },
}

impl Adaptive {
    /// A limit of which nothing is known yet. `seed` tells nodes apart.
    pub fn new(policy: Policy, now: Moment, seed: u64) -> Self {
        let min = policy.min.max(1);
        let policy = Policy { min, max: policy.max.max(min), probe: policy.probe.max(1), ..policy };
        let mut machine = Self {
            policy,
            rng: Rng::seeded(seed),
            limit: f64::from(policy.initial.clamp(min, policy.max)),
            base: None,
            recent: Window::new(now),
            quiet: Window::new(now),
            most_in: 0,
            phase: Phase::Following { measure_at: now },
        };
        machine.phase = machine.measured(now);
        machine
    }

    /// How many requests may be in at once now.
    pub fn limit(&self) -> u32 {
        let limit = (self.limit as u32).clamp(self.policy.min, self.policy.max);
        match self.phase {
            Phase::Following { .. } => limit,
            Phase::Measuring { .. } => limit.min(self.policy.probe),
        }
    }

    /// The latency without a queue, if it has been measured.
    pub fn base(&self) -> Option<Duration> {
        self.base
    }

    /// Whether the limit is lowered to measure.
    pub fn is_measuring(&self) -> bool {
        matches!(self.phase, Phase::Measuring { .. })
    }

    /// A request is over. The limit may have changed afterwards.
    pub fn sample(&mut self, now: Moment, sample: Sample) {
        if sample.entered_with.max(sample.left_with) <= self.policy.probe {
            self.quiet.add(sample.latency);
        }
        // What runs while little is let in says nothing of what happens when more is.
        if !self.is_measuring() {
            self.recent.add(sample.latency);
            self.most_in = self.most_in.max(sample.left_with).max(sample.entered_with);
        }
        self.turn(now);
    }

    /// Time has passed. Without samples it is enough to call this when someone is refused.
    pub fn turn(&mut self, now: Moment) {
        if self.quiet.len() >= SAMPLES {
            self.base = self.quiet.take_median(now);
            self.phase = self.measured(now);
        }
        match self.phase {
            Phase::Measuring { until } if now >= until => {
                if self.quiet.len() >= FEWEST {
                    self.base = self.quiet.take_median(now);
                }
                self.phase = self.measured(now);
            }
            // Nothing is gained by lowering a limit that has never been in the way.
            Phase::Following { measure_at } if now >= measure_at && self.most_in > self.policy.probe => {
                self.quiet.clear(now);
                self.recent.clear(now);
                self.most_in = 0;
                self.phase = Phase::Measuring { until: now.after(LONGEST_MEASUREMENT) };
            }
            Phase::Measuring { .. } => {}
            Phase::Following { .. } => self.follow(now),
        }
    }

    fn follow(&mut self, now: Moment) {
        let Some(base) = self.base else {
            // Before the first measurement there is nothing to compare with.
            if self.recent.len() >= FEWEST
                && self.most_in > self.policy.probe
                && let Phase::Following { measure_at } = &mut self.phase
            {
                *measure_at = now;
            }
            return;
        };
        let lasted = self.recent.lasted(now);
        let is_complete = self.recent.len() >= SAMPLES && lasted >= SHORTEST_WINDOW.max(base);
        if !is_complete && (lasted < LONGEST_WINDOW || self.recent.len() < FEWEST) {
            return;
        }
        let Some(median) = self.recent.take_median(now) else { return };
        let most_in = std::mem::take(&mut self.most_in);
        let allowed = scaled(base, self.policy.tolerance.max(1.0)).max(base.saturating_add(self.policy.slack));
        let gradient = (allowed.as_secs_f64() / median.as_secs_f64().max(1e-9)).clamp(0.5, 1.0);
        // A limit that nobody comes near says nothing of what lies beyond it.
        let is_used = f64::from(most_in) * 2.0 > self.limit;
        let next = self.limit * gradient + self.limit.sqrt();
        if is_used || next < self.limit {
            self.limit = next.clamp(f64::from(self.policy.min), f64::from(self.policy.max));
        }
    }

    /// Back to following, until the next measurement.
    fn measured(&mut self, now: Moment) -> Phase {
        let spread = self.policy.jitter.clamp(0.0, 1.0) * (2.0 * self.rng.unit() - 1.0);
        // Never at once, whatever is asked for: a limit that is always lowered would be another limit.
        let after = scaled(self.policy.remeasure, 1.0 + spread).max(LONGEST_MEASUREMENT * 2);
        Phase::Following { measure_at: now.after(after) }
    }
}

/// `duration` times `factor`, as it is if that cannot be told.
fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(duration)
}

#[cfg(test)]
mod tests;
