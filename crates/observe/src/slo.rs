//! Objectives over the history: which events of which series are good, how an objective stands, and what fires.
//!
//! Events come from counters that count every request, never from sampled events. Of several nodes they are added before
//! anything is judged ([`Spans`]).

use std::time::Duration;

use mainstay_core::slo::{self, Severity, Standing, Tally};

use crate::history::{Counts, History, Kind, Series};

/// Which events are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Good {
    /// Those that were answered, and not by a status of 500 or more; of a database the seconds in which it took writes, or could be
    /// read.
    Answered,
    /// Those that took no longer, of a database what its clients waited for; the duration is a bound of the histograms' buckets.
    Within(Duration),
}

/// An objective of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Its unique name.
    pub name: String,
    /// Whose events it is about: a route, a service, a probe or a database.
    pub subject: Series,
    /// Which of them are good.
    pub good: Good,
    /// What is to hold of them.
    pub terms: slo::Objective,
}

/// Events of every span of time that an objective is judged by, in seconds; they are added over nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Seconds of a span, and its events.
    pub tallies: Vec<(u64, Tally)>,
    /// Seconds of the objective's window of which something is known.
    pub known_seconds: u64,
}

impl Spans {
    /// Adds what another node counted.
    pub fn add(&mut self, other: &Self) {
        for (seconds, tally) in &other.tallies {
            match self.tallies.iter_mut().find(|(known, _)| known == seconds) {
                Some((_, own)) => {
                    own.total = own.total.saturating_add(tally.total);
                    own.bad = own.bad.saturating_add(tally.bad);
                }
                None => self.tallies.push((*seconds, *tally)),
            }
        }
        // A second that any node knows is known.
        self.known_seconds = self.known_seconds.max(other.known_seconds);
    }

    fn of(&self, span: Duration) -> Tally {
        self.tallies.iter().find(|(seconds, _)| *seconds == span.as_secs()).map(|(_, tally)| *tally).unwrap_or_default()
    }
}

impl Objective {
    /// The events among `counts`, and those of them that were not good.
    pub fn tally(&self, counts: &Counts) -> Tally {
        match self.good {
            Good::Answered => Tally { total: counts.requests, bad: counts.errors.min(counts.requests) },
            Good::Within(bound) => Tally { total: counts.timed(), bad: counts.timed() - counts.within(bound) },
        }
    }

    /// What it is judged by, as this node counted it until `now` (seconds since 1970).
    pub fn spans(&self, history: &History, now: u64) -> Spans {
        let mut known_seconds = 0;
        let tally = |span: Duration| {
            let counts = history.window(&self.subject, span, now);
            if span == self.terms.window {
                known_seconds = counts.seconds;
            }
            (span.as_secs(), self.tally(&counts))
        };
        let tallies = slo::spans(self.terms.window).into_iter().map(tally).collect();
        Spans { tallies, known_seconds }
    }

    /// How it stands.
    pub fn judge(&self, spans: &Spans) -> Standing {
        slo::judge(&self.terms, |span| spans.of(span))
    }

    /// What fires, the worst first.
    pub fn firing(&self, standing: &Standing) -> Vec<Firing> {
        let of = |severity, burn, summary| Firing {
            objective: self.name.clone(),
            kind: self.subject.kind,
            subject: self.subject.name.to_string(),
            severity,
            burn,
            summary,
        };
        let left = standing
            .budget_left
            .map_or(String::new(), |left| format!("; {:.1}% of the error budget is left", left.max(0.0) * 100.0));
        let rules = standing.burns.iter().filter(|burn| burn.firing).map(|burn| {
            let rate = burn.long.unwrap_or_default();
            let (name, hours) = (&self.name, burn.rule.long.as_secs() / 3_600);
            of(
                burn.rule.severity,
                rate,
                format!("{name}: error budget burns {rate:.1} times too fast over {hours} h{left}"),
            )
        });
        let mut firing: Vec<Firing> = rules.collect();
        if standing.slow_failure {
            let summary =
                format!("{}: {} failures within a day, of few requests{left}", self.name, self.terms.slow_failures);
            firing.push(of(Severity::P3, 0.0, summary));
        }
        firing
    }
}

/// A rule of an objective that fires.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// The objective's name.
    pub objective: String,
    /// What it is about.
    pub kind: Kind,
    /// Of what name.
    pub subject: String,
    /// Whom it concerns.
    pub severity: Severity,
    /// The burn rate of the rule's long window; 0 for what fires by number.
    pub burn: f64,
    /// A sentence for people.
    pub summary: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Reading;

    fn objective(good: Good) -> Objective {
        let subject = Series::new(Kind::Route, "shop");
        Objective { name: "shop".to_owned(), subject, good, terms: slo::Objective::new(0.999) }
    }

    /// Ten requests a second, each of 30 ms; from second `from` on all fail, and take a second.
    fn outage(from: u64, until: u64) -> History {
        let history = History::in_memory();
        let mut reading = Reading::default();
        for second in 0..until {
            reading.requests += 10;
            reading.errors += if second >= from { 10 } else { 0 };
            reading.buckets[if second >= from { 9 } else { 3 }] += 10;
            history.sample(1_000_000 + second, [(Kind::Route, "shop", reading)]);
        }
        history
    }

    #[test]
    fn a_total_outage_pages_within_two_minutes_and_the_page_ends_after_the_recovery() {
        for good in [Good::Answered, Good::Within(Duration::from_millis(500))] {
            let objective = objective(good);
            let worst = |until: u64| {
                let standing = objective.judge(&objective.spans(&outage(7_200, until), 1_000_000 + until - 1));
                objective.firing(&standing).first().map(|firing| firing.severity)
            };
            assert_eq!(worst(7_200), None);
            assert_eq!(worst(7_200 + 120), Some(Severity::P1), "{good:?}");
        }
    }

    #[test]
    fn nodes_are_added_before_anything_is_judged() {
        let objective = objective(Good::Answered);
        let now = 1_000_000 + 7_319;
        let (bad, good) = (outage(7_200, 7_320), outage(9_999, 7_320));
        let mut sum = objective.spans(&bad, now);
        sum.add(&objective.spans(&good, now));
        let burn = |spans: &Spans| objective.judge(spans).burns[0].long.expect("events");
        let alone = burn(&objective.spans(&bad, now));
        assert!((burn(&sum) - alone / 2.0).abs() < 1e-6, "{} {alone}", burn(&sum));
        assert!(sum.known_seconds <= 7_320);
    }
}
