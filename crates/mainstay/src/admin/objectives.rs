//! `/api/v1/objectives`: how objectives stand.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::VIEWER;
use mainstay_core::alert::{self, Condition, Labels};
use mainstay_core::slo::{Standing, Tally};
use mainstay_observe::slo::{Firing, Good, Objective, Spans};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::error;
use super::scope::{Coverage, Scope};
use super::{Node, history, merged};

/// How far back the history of an objective reaches unless the question says: there are 35 days of events, and each point
/// looks back on a window of them.
const HISTORY_SECONDS: u64 = 7 * 86_400;
const HISTORY_STEP: u64 = 3_600;
const DAYS_KEPT: u64 = 35 * 86_400;

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/objectives", VIEWER, "Objectives, and what is left of their error budgets")
            .command("mainstay slo")
            .words("scope", Scope::WORDS, "node, or cluster: by the counts of all nodes together")
            .answers::<Objectives>()
            .by(list),
        endpoint::get("/api/v1/objectives/{name}/history", VIEWER, "How an objective's error budget went down")
            .number("step", "Seconds of a step")
            .answers::<BudgetHistory>()
            .by(budget),
    ]
}

/// The objectives of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Objectives {
    /// Whose counts they are judged by.
    pub node: String,
    /// The objectives, in the order of the configuration.
    pub items: Vec<ObjectiveStatus>,
    /// Always `null`: they are answered all at once.
    #[serde(default)]
    pub next: Option<String>,
    /// Whose counts are in it, if it was asked for the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
}

/// What an objective is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObjectiveSubject {
    /// `route`, `service`, `probe` or `database`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// How an objective stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ObjectiveStatus {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub subject: ObjectiveSubject,
    /// `availability` or `latency`.
    pub indicator: String,
    /// Of latency: events that took longer are bad.
    pub threshold_ms: Option<u64>,
    /// Percent of the events that are to be good.
    pub target_percent: f64,
    /// Over which time.
    pub window_seconds: u64,
    /// Percent of the events that were good; `null` without events.
    pub good_percent: Option<f64>,
    /// Events of the window.
    pub events: u64,
    /// Those of them that were bad.
    pub bad: u64,
    /// Percent of the error budget that is left; negative if it is overdrawn.
    pub budget_left_percent: Option<f64>,
    /// When the budget is used up at the pace of the last hours; `null` if it is not.
    pub exhausted_in_seconds: Option<u64>,
    /// Percent of the window of which something is known.
    pub coverage_percent: f64,
    /// The rules, the worst first.
    pub burn: Vec<BurnStatus>,
    /// Few events, and too many of a day failed.
    pub slow_failure: bool,
    /// What it is judged by.
    pub spans: Vec<SpanStatus>,
    /// Seconds of the window of which something is known.
    #[serde(default)]
    pub known_seconds: u64,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BurnStatus {
    /// `P1` to `P4`.
    pub severity: String,
    /// The burn rate that both windows must exceed.
    pub threshold: f64,
    /// The long window.
    pub long_seconds: u64,
    /// The short one.
    pub short_seconds: u64,
    /// How many times as fast as it may the budget burned in the long window; `null` without events.
    pub long: Option<f64>,
    /// The same of the short one.
    pub short: Option<f64>,
    /// Both exceed it.
    pub firing: bool,
    /// Why it says nothing, if that is so.
    pub why: Option<String>,
}

/// Events of a span of time until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpanStatus {
    /// Its length.
    pub seconds: u64,
    /// Its events.
    pub events: u64,
    /// The bad ones.
    pub bad: u64,
}

/// How an error budget went, in columns of equal length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BudgetHistory {
    /// When the first step begins, in seconds since 1970.
    pub from: u64,
    /// Seconds of a step.
    pub step_seconds: u64,
    /// The numbers.
    pub series: BudgetColumns,
}

/// The columns of a [`BudgetHistory`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BudgetColumns {
    /// Percent of the budget that was left at the end of the step.
    pub budget_left_percent: Vec<Option<f64>>,
    /// How many times as fast as it may the budget burned in the step.
    pub burn: Vec<Option<f64>>,
}

/// How every objective stands, by this node's counts.
pub(super) fn all(node: &Node) -> Vec<ObjectiveStatus> {
    let now = history::now();
    node.objectives().iter().map(|of| status_of(of, &of.spans(&node.history, now))).collect()
}

/// What fires by the counts of all nodes that are heard of, or of this one alone.
pub fn firing(node: &Node) -> Vec<Firing> {
    let now = history::now();
    let judged = node.objectives();
    judged.iter().flat_map(|of| of.firing(&of.judge(&merged::spans(node, of, now)))).collect()
}

/// The alerts that follow: of each objective the worst rule that fires.
pub fn conditions(node: &Node) -> Vec<Condition> {
    let mut found: Vec<Condition> = Vec::new();
    for of in firing(node) {
        // The worst comes first.
        if found.last().is_some_and(|last| last.labels.get("objective") == of.objective) {
            continue;
        }
        let labels = Labels::new().with("objective", &of.objective).with(of.kind.word(), &of.subject);
        let (hold, keep) = alert::rule("BudgetBurning").map_or((0, 0), |rule| (rule.hold, rule.keep));
        found.push(Condition { hold, keep, ..Condition::new("BudgetBurning", of.severity, labels, &of.summary) });
    }
    found
}

/// How an objective stands by these counts.
pub(super) fn status_of(of: &Objective, spans: &Spans) -> ObjectiveStatus {
    let standing: Standing = of.judge(spans);
    let window = of.terms.window.as_secs();
    let burn = standing.burns.iter().map(|burn| BurnStatus {
        severity: burn.rule.severity.word().to_owned(),
        threshold: burn.rule.burn,
        long_seconds: burn.rule.long.as_secs(),
        short_seconds: burn.rule.short.as_secs(),
        long: burn.long.map(rounded),
        short: burn.short.map(rounded),
        firing: burn.firing,
        why: burn.quiet.map(|quiet| quiet.word().to_owned()),
    });
    ObjectiveStatus {
        name: of.name.clone(),
        subject: ObjectiveSubject { kind: of.subject.kind.word().to_owned(), name: of.subject.name.to_string() },
        indicator: if of.good == Good::Answered { "availability" } else { "latency" }.to_owned(),
        threshold_ms: match of.good {
            Good::Answered => None,
            Good::Within(bound) => Some(u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)),
        },
        target_percent: rounded(of.terms.target * 100.0),
        window_seconds: window,
        good_percent: standing.good.map(|good| rounded(good * 100.0)),
        events: standing.tally.total,
        bad: standing.tally.bad,
        budget_left_percent: standing.budget_left.map(|left| rounded(left * 100.0)),
        exhausted_in_seconds: standing.exhausted_in.map(|left| left.as_secs()),
        coverage_percent: rounded((spans.known_seconds as f64 * 100.0 / window as f64).min(100.0)),
        burn: burn.collect(),
        slow_failure: standing.slow_failure,
        spans: spans
            .tallies
            .iter()
            .map(|(seconds, Tally { total, bad })| SpanStatus { seconds: *seconds, events: *total, bad: *bad })
            .collect(),
        known_seconds: spans.known_seconds,
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default)]
    scope: Scope,
}

async fn list(Shared(node): Shared<Arc<Node>>, Query(query): Query<ListQuery>) -> Response {
    let mut answer = Objectives { node: node.name.clone(), items: Vec::new(), next: None, coverage: None };
    if query.scope == Scope::Node {
        answer.items = all(&node);
        return Json(answer).into_response();
    }
    let (others, coverage) = merged::ask(&node).await;
    let now = history::now();
    let whole = |of: &Objective| {
        let mut sum = of.spans(&node.history, now);
        others.iter().for_each(|(_name, items)| merged::add(&mut sum, of, items));
        status_of(of, &sum)
    };
    answer.items = node.objectives().iter().map(whole).collect();
    answer.coverage = Some(coverage);
    Json(answer).into_response()
}

#[derive(Debug, Deserialize)]
struct BudgetQuery {
    step: Option<u64>,
}

async fn budget(
    Shared(node): Shared<Arc<Node>>,
    Path(name): Path<String>,
    Query(query): Query<BudgetQuery>,
) -> Response {
    let objectives = node.objectives();
    let Some(of) = objectives.iter().find(|of| of.name == name) else {
        let names: Vec<&str> = objectives.iter().take(20).map(|of| of.name.as_str()).collect();
        let hint = if names.is_empty() {
            "the configuration has none".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        let what = format!("there is no objective `{}`", name.chars().take(100).collect::<String>());
        return error(StatusCode::NOT_FOUND, what, Some(hint));
    };
    let step = query.step.unwrap_or(HISTORY_STEP).clamp(600, 86_400).next_multiple_of(600);
    Json(budget_history(of, &node, step, history::now())).into_response()
}

fn budget_history(of: &Objective, node: &Node, step: u64, now: u64) -> BudgetHistory {
    let begin = now.saturating_sub(DAYS_KEPT) / step * step;
    let range = node.history.range(&of.subject, begin, now + 1, step).unwrap_or_default();
    let step = range.step.max(1);
    let tallies: Vec<(u64, Tally)> = range.points.iter().map(|point| (point.at, of.tally(&point.counts))).collect();
    let from = now.saturating_sub(HISTORY_SECONDS) / step * step;
    let mut series = BudgetColumns::default();
    for at in (from..=now).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
        let oldest = (at + step).saturating_sub(of.terms.window.as_secs());
        let window = tallies.iter().filter(|(of, _)| (oldest..=at).contains(of));
        let sum = window.fold(Tally::default(), |sum, (_, tally)| Tally {
            total: sum.total + tally.total,
            bad: sum.bad + tally.bad,
        });
        let in_step = tallies.iter().find(|(of, _)| *of == at).map(|(_, tally)| *tally).unwrap_or_default();
        series.budget_left_percent.push(sum.burn(of.terms.target).map(|used| rounded((1.0 - used) * 100.0)));
        series.burn.push(in_step.burn(of.terms.target).map(rounded));
    }
    BudgetHistory { from, step_seconds: step, series }
}

/// A length of time as a person says it.
pub(crate) fn spoken(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _days => format!("{} d", seconds / 86_400),
    }
}
