//! How long an answer takes, learned from those that came: the estimate of RFC 6298 (a smoothed round trip and its mean
//! deviation, with the gains of Jacobson and Karels, 1988).

use std::time::Duration;

/// The longest time that one answer is counted with: an answer that comes even later says that packets were lost, not how
/// far away the other side is.
const SAMPLE_MAX: Duration = Duration::from_secs(5);

/// What is known of the round trip to one other node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoundTrip {
    estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Estimate {
    smoothed: Duration,
    deviation: Duration,
}

impl RoundTrip {
    /// One of which nothing is known.
    pub const fn unknown() -> Self {
        Self { estimate: None }
    }

    /// Counts an answer that took so long.
    pub fn observe(&mut self, took: Duration) {
        let took = took.min(SAMPLE_MAX);
        self.estimate = Some(match self.estimate {
            None => Estimate { smoothed: took, deviation: took / 2 },
            Some(Estimate { smoothed, deviation }) => Estimate {
                // A quarter of the new difference, and an eighth of the new time.
                deviation: deviation / 4 * 3 + smoothed.abs_diff(took) / 4,
                smoothed: smoothed / 8 * 7 + took / 8,
            },
        });
    }

    /// How long most answers take at most: the smoothed time and four deviations. `None` before the first answer.
    pub fn bound(&self) -> Option<Duration> {
        self.estimate.map(|estimate| estimate.smoothed + estimate.deviation * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nothing_is_said_before_the_first_answer() {
        assert_eq!(RoundTrip::unknown().bound(), None);
        let mut one = RoundTrip::unknown();
        one.observe(ms(200));
        assert_eq!(one.bound(), Some(ms(600)), "half of a first answer is taken for its deviation");
    }

    #[test]
    fn steady_answers_bring_the_bound_near_to_them_and_one_that_is_late_moves_it_out_for_a_while() {
        let mut link = RoundTrip::unknown();
        (0..40).for_each(|_answer| link.observe(ms(200)));
        let steady = link.bound().unwrap();
        assert!(steady >= ms(199) && steady < ms(210), "{steady:?}");
        link.observe(ms(600));
        assert!(link.bound().unwrap() > ms(600), "{link:?}");
        (0..40).for_each(|_answer| link.observe(ms(200)));
        assert!(link.bound().unwrap() < ms(210), "{link:?}");
    }

    #[test]
    fn an_answer_after_minutes_counts_as_one_after_seconds() {
        let mut link = RoundTrip::unknown();
        link.observe(Duration::MAX);
        assert_eq!(link.bound(), Some(SAMPLE_MAX * 3));
    }
}
