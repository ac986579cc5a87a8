//! `/api/v1/history`: what a series has counted, step by step.

pub mod counts;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Draft, Endpoint};
use mainstay_admin::role::VIEWER;
use mainstay_observe::history::{Counts, History, Kind, Range, Series};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::api::error;
use super::scope::{Coverage, Scope};
use crate::config::Config;
use counts::CountsAnswer;

/// What is looked back on unless the question says.
const SPAN_SECONDS: u64 = 3_600;

/// [`Kind::ALL`] as they are called.
const KINDS: &[&str] = &["route", "service", "endpoint", "listener", "node", "probe", "database"];

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let asks = |draft: Draft| {
        draft
            .words("kind", KINDS, "What it is about")
            .matching("name", "^.", "Its name; of an endpoint SERVICE/ADDRESS")
            .matching("series", "^(route|service|endpoint|listener|node|probe|database)/.", "Both in one: KIND/NAME")
            .either(&[&["kind", "name"], &["series"]])
            .number("span", "The last so many seconds until now, instead of from and to")
            .number("from", "Seconds since 1970")
            .number("to", "Seconds since 1970")
            .number("step", "Seconds of a step; if absent, as many steps as a screen shows")
            .words("scope", Scope::WORDS, "node, or cluster: all nodes together")
    };
    let shown = endpoint::get("/api/v1/history", VIEWER, "What a series has counted, step by step");
    let path = "/api/v1/history/counts";
    let raw = endpoint::get(path, VIEWER, "The same as it was counted: numbers that may be added, and histograms");
    vec![asks(shown).answers::<HistoryAnswer>().by(history), asks(raw).answers::<CountsAnswer>().by(counted)]
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// Of what kind.
    pub kind: Option<String>,
    /// Of what name.
    pub name: Option<String>,
    /// Kind and name in one.
    pub series: Option<String>,
    /// How far back.
    pub span: Option<u64>,
    /// From when, in seconds since 1970.
    pub from: Option<u64>,
    /// Until when.
    pub to: Option<u64>,
    /// Seconds of a step.
    pub step: Option<u64>,
    /// Whose numbers.
    pub scope: Option<Scope>,
}

/// A series, in columns of equal length: the number at `i` belongs to the step that begins at `from + i * step_seconds`;
/// `null` where nothing is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryAnswer {
    /// What it is about.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Who counted.
    pub node: String,
    /// Seconds of a step.
    pub step_seconds: u64,
    /// When the first step begins, in seconds since 1970.
    pub from: u64,
    /// The numbers.
    pub series: Columns,
    /// Whose numbers are in it, if it was asked for the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
}

/// The columns of a [`HistoryAnswer`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Columns {
    /// Requests a second (endpoints: attempts; listeners: connections).
    pub rate: Vec<Option<f64>>,
    /// Percent of them that failed.
    pub error_percent: Vec<Option<f64>>,
    /// Retries a second.
    pub retry_rate: Vec<Option<f64>>,
    /// Estimated median duration.
    pub p50_ms: Vec<Option<f64>>,
    /// Estimated 90th percentile of the durations.
    pub p90_ms: Vec<Option<f64>>,
    /// Estimated 99th percentile of the durations.
    pub p99_ms: Vec<Option<f64>>,
    /// Requests under way (listeners, node: connections), on average.
    pub in_flight: Vec<Option<f64>>,
    /// Of the node: percent of one processor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu_percent: Vec<Option<f64>>,
    /// Of the node: resident memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_bytes: Vec<Option<f64>>,
}

impl Columns {
    fn push(&mut self, kind: Kind, counts: Option<&Counts>) {
        let known = counts.filter(|counts| counts.seconds > 0);
        let rate = |read: fn(&Counts) -> u64| known.map(|counts| rounded(counts.per_second(read(counts))));
        let quantile = |q: f64| known.and_then(|it| it.quantile(q)).map(|it| rounded(it.as_secs_f64() * 1e3));
        self.rate.push(rate(|counts| counts.requests));
        self.retry_rate.push(rate(|counts| counts.retries));
        self.in_flight.push(rate(|counts| counts.active_seconds));
        let share = |counts: &Counts| (counts.errors as f64 * 100.0 / counts.requests as f64).min(100.0);
        self.error_percent.push(known.filter(|counts| counts.requests > 0).map(|counts| rounded(share(counts))));
        self.p50_ms.push(quantile(0.5));
        self.p90_ms.push(quantile(0.9));
        self.p99_ms.push(quantile(0.99));
        if kind == Kind::Node {
            self.cpu_percent.push(rate(|counts| counts.cpu_millis).map(|millis| rounded(millis / 10.0)));
            self.memory_bytes.push(rate(|counts| counts.memory_kib_seconds).map(|kib| rounded(kib * 1024.0)));
        }
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// The history of a node: in the folder `history` of its `data_dir`, or in memory if it has none.
pub(super) fn start(config: &Config) -> History {
    let Some(data_dir) = &config.spec.node.data_dir else { return History::in_memory() };
    History::kept(&data_dir.join("history")).unwrap_or_else(|error| {
        tracing::warn!(%error, "the history is only kept in memory");
        History::in_memory()
    })
}

/// The present in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl HistoryQuery {
    /// The series that is meant.
    ///
    /// # Errors
    /// What is wrong with the question.
    pub(super) fn meant(&self) -> Result<Series, String> {
        let text = match (&self.series, &self.kind, &self.name) {
            (Some(series), None, None) => series.clone(),
            (None, Some(kind), Some(name)) => format!("{kind}/{name}"),
            _other => return Err("say which series: kind and name, or series=KIND/NAME".to_owned()),
        };
        text.parse().map_err(|error: mainstay_observe::history::NotASeries| error.to_string())
    }

    /// From when until when, in seconds since 1970.
    pub(super) fn span(&self, now: u64) -> (u64, u64) {
        let to = self.to.unwrap_or(now).min(now);
        let from = self.from.unwrap_or_else(|| to.saturating_sub(self.span.unwrap_or(SPAN_SECONDS)));
        // Nothing is older.
        (from.max(now.saturating_sub(36 * 86_400)).min(to), to)
    }
}

async fn history(Shared(node): Shared<Arc<Node>>, Query(query): Query<HistoryQuery>) -> Response {
    match find(&node, &query).await {
        Ok(Found { series, from, to, range, coverage }) => {
            Json(answer(&node.name, &series, (from, to), &range, coverage)).into_response()
        }
        Err(refusal) => *refusal,
    }
}

async fn counted(Shared(node): Shared<Arc<Node>>, Query(query): Query<HistoryQuery>) -> Response {
    match find(&node, &query).await {
        Ok(found) => Json(CountsAnswer::of(&node.name, &found.series, &found.range, found.coverage)).into_response(),
        Err(refusal) => *refusal,
    }
}

struct Found {
    series: Series,
    from: u64,
    to: u64,
    range: Range,
    coverage: Option<Coverage>,
}

async fn find(node: &Node, query: &HistoryQuery) -> Result<Found, Box<Response>> {
    let series = query.meant().map_err(|why| Box::new(error(StatusCode::BAD_REQUEST, why, None)))?;
    let (from, to) = query.span(now());
    match counts::known(node, &series, (from, to), query).await {
        (Some(range), coverage) => Ok(Found { series, from, to, range, coverage }),
        (None, _coverage) => {
            let hint = "GET /api/v1/status lists routes, services and endpoints".to_owned();
            Err(Box::new(error(StatusCode::NOT_FOUND, format!("nothing is known of {series}"), Some(hint))))
        }
    }
}

fn answer(
    node: &str,
    series: &Series,
    (from, to): (u64, u64),
    range: &Range,
    coverage: Option<Coverage>,
) -> HistoryAnswer {
    let step = range.step.max(1);
    let first = from / step * step;
    let mut columns = Columns::default();
    let mut points = range.points.iter().peekable();
    for at in (first..to.max(first + 1)).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let counts = points.next_if(|point| point.at <= at).filter(|point| point.at == at);
        columns.push(series.kind, counts.map(|point| &point.counts));
    }
    HistoryAnswer {
        kind: series.kind.word().to_owned(),
        name: series.name.to_string(),
        node: node.to_owned(),
        step_seconds: step,
        from: first,
        series: columns,
        coverage,
    }
}

#[cfg(test)]
mod tests {
    use mainstay_observe::history::Reading;

    use super::*;

    #[test]
    fn columns_are_of_equal_length_and_say_where_nothing_is_known() {
        let history = History::in_memory();
        for second in 0..100_u64 {
            // Nothing is sampled for a while in the middle.
            if !(40..60).contains(&second) {
                let reading = Reading { requests: second * 5, errors: second, active: 2, ..Reading::default() };
                history.sample(1_000_000 + second, [(Kind::Node, "lb1", reading)]);
            }
        }
        let series = Series::new(Kind::Node, "lb1");
        let range = history.range(&series, 1_000_000, 1_000_100, 1).expect("it is known");
        let answer = answer("lb1", &series, (1_000_000, 1_000_100), &range, None);
        let Columns { rate, error_percent, p99_ms, in_flight, memory_bytes, .. } = &answer.series;
        for column in [rate, error_percent, p99_ms, in_flight, memory_bytes] {
            assert_eq!(column.len(), 100);
        }
        assert_eq!((rate[10], rate[50], error_percent[10], in_flight[10]), (Some(5.0), None, Some(20.0), Some(2.0)));
        assert!(p99_ms.iter().all(Option::is_none), "nothing was timed");
    }

    #[test]
    fn a_question_names_a_series_one_way_and_reaches_no_further_back_than_there_is() {
        let query = |text: &str| serde_json::from_str::<HistoryQuery>(text).expect("a question");
        let meant = query(r#"{"kind": "endpoint", "name": "app/10.0.0.1:80"}"#).meant().expect("a series");
        assert_eq!(meant, query(r#"{"series": "endpoint/app/10.0.0.1:80"}"#).meant().expect("a series"));
        assert!(query("{}").meant().is_err() && query(r#"{"series": "shoe/app"}"#).meant().is_err());
        let now = 100 * 86_400;
        assert_eq!(query("{}").span(now), (now - 3_600, now));
        assert_eq!(query(r#"{"from": 0}"#).span(now), (64 * 86_400, now));
        assert_eq!(query(r#"{"from": 99999999, "to": 5}"#).span(now), (5, 5));
    }
}
