//! When a worker takes over what has changed of a service's endpoints.
//!
//! Taking it over means looking at every endpoint, on the thread that serves requests. A change after a quiet time is taken over
//! by the first request that comes, at once. Where endpoints keep changing, the next takeover waits for a time in proportion to
//! their number, so that all of them together cost a bounded part of the thread's time however many endpoints flap, and
//! somebody who is not a request gets a little time to do it first.

use std::time::Duration;

use crate::time::Moment;

/// For each endpoint of the service; looking at one takes less than a hundredth of it.
const PER_ENDPOINT: Duration = Duration::from_micros(100);
/// No change is taken over later than this, if there are requests.
pub const LATEST: Duration = Duration::from_millis(100);

/// Who would do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A request that is about to choose an endpoint: it and all behind it would wait.
    Request,
    /// A task between requests, which therefore is due earlier.
    Leisure,
}

/// When one worker took over one service's endpoints last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Takeover {
    last: Option<Moment>,
}

impl Takeover {
    /// When a change that was not taken over yet is due. That is in the past after a quiet time, and for the first one.
    pub fn due(&self, endpoints: usize, occasion: Occasion) -> Moment {
        let Some(last) = self.last else { return Moment::ZERO };
        let count = u32::try_from(endpoints).unwrap_or(u32::MAX);
        let pause = PER_ENDPOINT.saturating_mul(count).min(LATEST);
        last.after(match occasion {
            Occasion::Request => pause,
            Occasion::Leisure => pause * 3 / 4,
        })
    }

    /// All that is known was taken over. A clock that reads earlier than before changes nothing.
    pub fn done(&mut self, now: Moment) {
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_and_one_after_a_quiet_time_are_due_at_once() {
        let mut takeover = Takeover::default();
        assert_eq!(takeover.due(1000, Occasion::Request), Moment::ZERO);
        takeover.done(Moment::from_millis(5));
        assert!(takeover.due(1000, Occasion::Request) <= Moment::from_millis(105));
        assert!(takeover.due(3, Occasion::Request) < Moment::from_millis(6));
    }

    #[test]
    fn the_pause_grows_with_the_number_of_endpoints_up_to_a_limit() {
        let mut takeover = Takeover::default();
        takeover.done(Moment::ZERO);
        for (endpoints, request_us, leisure_us) in
            [(0, 0, 0), (1, 100, 75), (10, 1_000, 750), (1_000, 100_000, 75_000), (usize::MAX, 100_000, 75_000)]
        {
            let due = |occasion: Occasion| takeover.due(endpoints, occasion).as_nanos() / 1000;
            assert_eq!((due(Occasion::Request), due(Occasion::Leisure)), (request_us, leisure_us), "{endpoints}");
        }
    }
}
