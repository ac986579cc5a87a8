use std::time::Duration;

use mainstay_core::takeover::{LATEST, Occasion, Takeover};
use mainstay_core::time::Moment;
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::config())]

    /// However endpoints flap and requests come: no request chooses by what is older than the limit, one that comes after a quiet
    /// time chooses by what is true, and takeovers stay bounded in number.
    #[test]
    fn nothing_is_late_and_takeovers_are_few(
        endpoints in 1usize..3000,
        steps in prop::collection::vec((0u64..40_000, any::<bool>(), any::<bool>()), 1..300),
    ) {
        let mut takeover = Takeover::default();
        let (mut now, mut last) = (Moment::from_millis(1), None);
        // Since when there is something that was not taken over.
        let mut behind: Option<Moment> = None;
        let mut times: Vec<Moment> = Vec::new();
        for (wait_us, changes, leisure) in steps {
            now = now.after(Duration::from_micros(wait_us));
            if changes {
                behind.get_or_insert(now);
            }
            let occasion = if leisure { Occasion::Leisure } else { Occasion::Request };
            if behind.is_some()
                && takeover.due(endpoints, occasion) <= now
            {
                takeover.done(now);
                times.push(now);
                (behind, last) = (None, Some(now));
            } else if let (Some(since), Occasion::Request) = (behind, occasion) {
                prop_assert!(now.since(since) < LATEST, "a request goes by what is {:?} old", now.since(since));
                prop_assert!(last.is_some_and(|last| now.since(last) < LATEST), "after a quiet time it is at once");
            }
        }
        let pause = Duration::from_micros(75 * endpoints.min(1000) as u64);
        for pair in times.windows(2) {
            prop_assert!(pair[1].since(pair[0]) >= pause);
        }
    }
}
