//! `/api/v1/history/counts`: the numbers under a history as they were counted, which are added over time and over nodes. From
//! them the history of a cluster is made: nothing is ever averaged.

use std::collections::BTreeMap;

use mainstay_observe::history::{BUCKET_COUNT, Counts, Point, Range, Series};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::HistoryQuery;
use crate::admin::Node;
use crate::admin::scope::{self, Coverage, MissingNode, Scope};

/// What a series has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CountsAnswer {
    /// What it is about.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Who answers.
    pub node: String,
    /// Seconds of a step.
    pub step_seconds: u64,
    /// The steps of which something is known, the oldest first.
    pub points: Vec<CountsPoint>,
    /// Whose numbers are in it, if it was asked for the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
}

/// What was counted in a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CountsPoint {
    /// When the step begins, in seconds since 1970.
    pub at: u64,
    /// Its numbers.
    #[serde(flatten)]
    pub counts: CountsStatus,
}

/// Numbers that may be added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CountsStatus {
    /// Seconds of which something is known, by any node.
    pub seconds: u64,
    /// Requests (endpoints: attempts; listeners: connections; probes: runs; databases: seconds) that came to an end.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Requests under way, times the seconds for which they were.
    pub active_seconds: u64,
    /// Milliseconds of processor time.
    pub cpu_millis: u64,
    /// KiB of memory, times the seconds for which they were in use.
    pub memory_kib_seconds: u64,
    /// Durations by bucket, not cumulative, with the bounds of the metrics' histograms and one bucket above them.
    pub buckets: Vec<u64>,
}

impl From<&Counts> for CountsStatus {
    fn from(counts: &Counts) -> Self {
        Self {
            seconds: counts.seconds,
            requests: counts.requests,
            errors: counts.errors,
            retries: counts.retries,
            active_seconds: counts.active_seconds,
            cpu_millis: counts.cpu_millis,
            memory_kib_seconds: counts.memory_kib_seconds,
            buckets: counts.buckets.to_vec(),
        }
    }
}

impl CountsStatus {
    /// The same to count on with.
    ///
    /// # Errors
    /// If it has other buckets: then it is another version's.
    pub fn counts(&self) -> Result<Counts, String> {
        let buckets: [u64; BUCKET_COUNT] = self.buckets.clone().try_into().map_err(|other: Vec<u64>| {
            format!("it counts durations in {} buckets, not in {BUCKET_COUNT}: it is another version", other.len())
        })?;
        Ok(Counts {
            seconds: self.seconds,
            requests: self.requests,
            errors: self.errors,
            retries: self.retries,
            active_seconds: self.active_seconds,
            cpu_millis: self.cpu_millis,
            memory_kib_seconds: self.memory_kib_seconds,
            buckets,
        })
    }
}

/// Adds what nodes counted in the same time: a second that several know is one second.
pub fn add(sum: &mut Counts, other: &Counts) {
    let seconds = sum.seconds.max(other.seconds);
    sum.add(other);
    sum.seconds = seconds;
}

impl CountsAnswer {
    pub(super) fn of(node: &str, series: &Series, range: &Range, coverage: Option<Coverage>) -> Self {
        let point = |point: &Point| CountsPoint { at: point.at, counts: CountsStatus::from(&point.counts) };
        Self {
            kind: series.kind.word().to_owned(),
            name: series.name.to_string(),
            node: node.to_owned(),
            step_seconds: range.step,
            points: range.points.iter().map(point).collect(),
            coverage,
        }
    }

    fn range(&self) -> Result<Range, String> {
        let point = |it: &CountsPoint| Ok(Point { at: it.at, counts: it.counts.counts()? });
        Ok(Range { step: self.step_seconds, points: self.points.iter().map(point).collect::<Result<_, String>>()? })
    }
}

/// What is known of a series in the scope that is asked for, and by whom; nothing if nobody knows it.
pub(super) async fn known(
    node: &Node,
    series: &Series,
    (from, to): (u64, u64),
    query: &HistoryQuery,
) -> (Option<Range>, Option<Coverage>) {
    let step = query.step.unwrap_or_default();
    let own = node.history.range(series, from, to, step);
    if query.scope.unwrap_or_default() == Scope::Node {
        return (own, None);
    }
    let step = own.as_ref().map_or(step, |own| own.step);
    let named = encoded(&series.to_string());
    let path = format!("/api/v1/history/counts?series={named}&from={from}&to={to}&step={step}");
    let (answers, mut coverage) = scope::ask_others::<Option<CountsAnswer>>(node, &path).await;
    let mut ranges: Vec<Range> = own.into_iter().collect();
    for (name, answer) in answers {
        match answer.map(|answer| answer.range()).transpose() {
            Ok(range) => ranges.extend(range),
            Err(reason) => {
                coverage.nodes.retain(|it| *it != name);
                coverage.missing.push(MissingNode { name, reason });
            }
        }
    }
    ((!ranges.is_empty()).then(|| sum(&ranges)), Some(coverage))
}

/// Ranges of several nodes as one, in the coarsest steps of them: one that was restarted has lost the finest.
fn sum(ranges: &[Range]) -> Range {
    let step = ranges.iter().map(|range| range.step).max().unwrap_or(1).max(1);
    let mut sums: BTreeMap<u64, Counts> = BTreeMap::new();
    for range in ranges {
        let mut own: BTreeMap<u64, Counts> = BTreeMap::new();
        for point in &range.points {
            own.entry(point.at / step * step).or_default().add(&point.counts);
        }
        for (at, counts) in own {
            add(sums.entry(at).or_default(), &counts);
        }
    }
    Range { step, points: sums.into_iter().map(|(at, counts)| Point { at, counts }).collect() }
}

/// As a value in a query.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' | b':' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn range(step: u64, points: &[(u64, u64, usize)]) -> Range {
        let point = |(at, requests, bucket): &(u64, u64, usize)| {
            let mut counts =
                Counts { seconds: step, requests: *requests, active_seconds: step * 2, ..Counts::default() };
            counts.buckets[*bucket] = *requests;
            Point { at: *at, counts }
        };
        Range { step, points: points.iter().map(point).collect() }
    }

    /// Nine of ten requests are quick at one node and slow at the other: the median of all is that of the busier one, which
    /// no average of the two would be.
    #[test]
    fn nodes_are_added_histogram_by_histogram_and_a_second_is_one_second() {
        let (quick, slow) = (range(10, &[(100, 90, 0), (110, 90, 0)]), range(10, &[(100, 10, 9)]));
        let whole = sum(&[quick.clone(), slow]);
        assert_eq!(whole.points.len(), 2);
        let first = whole.points[0].counts;
        assert_eq!((first.requests, first.seconds, first.active_seconds), (100, 10, 40));
        assert_eq!(first.per_second(first.requests), 10.0, "requests of both in each second");
        assert!(first.quantile(0.5) < Some(Duration::from_millis(10)), "{:?}", first.quantile(0.5));
        assert!(first.quantile(0.95) > quick.points[0].counts.quantile(0.95), "the slow ones are in it");
        assert_eq!(whole.points[1].counts, quick.points[1].counts);
    }

    #[test]
    fn a_node_that_only_knows_minutes_makes_all_of_it_minutes() {
        let fine = range(1, &[(120, 1, 0), (179, 2, 0), (180, 4, 0)]);
        let whole = sum(&[fine, range(60, &[(120, 10, 0)])]);
        let numbers: Vec<(u64, u64)> = whole.points.iter().map(|point| (point.at, point.counts.requests)).collect();
        assert_eq!((whole.step, numbers), (60, vec![(120, 13), (180, 4)]));
        assert_eq!(whole.points[0].counts.seconds, 60);
    }

    #[test]
    fn counts_come_back_as_they_went_and_other_buckets_are_refused() {
        let counts = range(60, &[(0, 7, 3)]).points[0].counts;
        let sent = CountsStatus::from(&counts);
        assert_eq!(sent.counts(), Ok(counts));
        assert!(CountsStatus { buckets: vec![1, 2], ..sent }.counts().is_err());
    }

    #[test]
    fn names_are_values_of_a_query() {
        assert_eq!(encoded("endpoint/app/[::1]:80"), "endpoint/app/%5B::1%5D:80");
        assert_eq!(encoded("route/a b&c=1"), "route/a%20b%26c%3D1");
    }
}
