//! What was heard of a primary, and when: a report that stays the same is no sign of life, and one that stands in the store
//! stays there until its lease ends.

use std::time::Duration;

use mainstay_core::database::{Lsn, Report, Server};
use mainstay_core::time::Moment;

/// A primary's position is told this often while it changes, or a little later.
const TOLD_WITHIN: Duration = Duration::from_millis(500);
/// Shorter times say little of how fast it writes.
const SAMPLE: Duration = Duration::from_millis(200);

/// Of the primary that was noted last.
#[derive(Debug, Default)]
pub(super) struct Signs {
    last: Option<(String, Report, Moment)>,
    sample: Option<(Lsn, Moment)>,
    /// The fastest that it was seen to write, in bytes a second.
    rate_max: u64,
}

impl Signs {
    /// To be called with each report of whoever leads, whether or not it is another one.
    pub(super) fn note(&mut self, leader: &str, report: &Report, now: Moment) {
        let is_same = |name: &str, before: &Report| name == leader && before.led == report.led;
        match &self.last {
            Some((name, before, _)) if name == leader && before == report => return,
            Some((name, before, _)) if is_same(name, before) => self.measure(report, now),
            Some(_) | None => {
                self.rate_max = 0;
                self.sample = (report.server == Server::Primary).then_some((report.position, now));
            }
        }
        self.last = Some((leader.to_owned(), report.clone(), now));
    }

    fn measure(&mut self, report: &Report, now: Moment) {
        let Some((position, at)) = self.sample else {
            self.sample = (report.server == Server::Primary).then_some((report.position, now));
            return;
        };
        let passed = now.since(at);
        if passed < SAMPLE {
            return;
        }
        // What it has written since it was idle it has written since shortly before it said so.
        let took = passed.min(TOLD_WITHIN).as_secs_f64();
        let rate = report.position.saturating_sub(position) as f64 / took;
        self.rate_max = self.rate_max.max(rate as u64);
        self.sample = Some((report.position, now));
    }

    /// When something new was last heard of it.
    pub(super) fn heard_at(&self, leader: &str) -> Option<Moment> {
        self.last.as_ref().filter(|(name, _, _)| name == leader).map(|(_, _, at)| *at)
    }

    /// What it can have written between then and `until`, at the fastest that it was seen to write; `None`: it was not heard.
    pub(super) fn unheard(&self, leader: &str, until: Moment) -> Option<u64> {
        let silent = until.since(self.heard_at(leader)?).as_secs_f64();
        Some((self.rate_max as f64 * silent) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(position: Lsn) -> Report {
        Report { term: 1, position, led: Some(1), ..Report::new(Server::Primary) }
    }

    #[test]
    fn what_stays_the_same_is_no_sign_and_what_was_written_unheard_goes_by_the_fastest() {
        let at = Moment::from_millis;
        let mut signs = Signs::default();
        signs.note("a", &report(1_000), at(10_000));
        signs.note("a", &report(1_000), at(12_000));
        assert_eq!((signs.heard_at("a"), signs.heard_at("b")), (Some(at(10_000)), None));
        assert_eq!(signs.unheard("a", at(20_000)), Some(0), "it was never seen to write");
        // 500 bytes in the last half of a second, whatever came before.
        signs.note("a", &report(1_500), at(13_000));
        signs.note("a", &report(1_600), at(14_000));
        assert_eq!(signs.heard_at("a"), Some(at(14_000)));
        assert_eq!(signs.unheard("a", at(17_000)), Some(3_000));
        signs.note("b", &report(9_000), at(15_000));
        assert_eq!((signs.unheard("a", at(17_000)), signs.unheard("b", at(17_000))), (None, Some(0)));
    }
}
