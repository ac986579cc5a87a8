//! `/api/v1/ledger`: how available a service, a probe or a database was, as this node saw it, and whether what it wrote down is whole.

pub mod sums;

use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::VIEWER;
use mainstay_core::ledger::{Failover, Lost, Phase, recovery};
use mainstay_core::transition::Subject;
use mainstay_failover::group;
use mainstay_observe::ledger::report::{self, Report, ReportError};
use mainstay_observe::ledger::{self, Ledger, Limits, Verdict};
use mainstay_runtime::journal::Journal;
use mainstay_runtime::thread;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, oneshot};
use utoipa::ToSchema;

use super::api::error;
use super::databases::document::PartStatus;
use super::{Node, databases};
use crate::config::Config;

/// What is looked back on unless the question says: 28 days.
const SPAN_SECONDS: u64 = 28 * 86_400;

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get(
            "/api/v1/ledger",
            VIEWER,
            "How available a service, a probe or a database was, as this node saw it",
        )
        .command("mainstay ledger")
        .query("service", "The service")
        .query("probe", "Or the synthetic probe")
        .query("database", "Or the group of databases, with its failovers")
        .either(&[&["service"], &["probe"], &["database"]])
        .number("span", "The last so many seconds; if absent, 28 days")
        .answers::<LedgerAnswer>()
        .by(ask),
        endpoint::get("/api/v1/ledger/verify", VIEWER, "Whether every line of the ledger is as it was written")
            .command("mainstay ledger verify")
            .answers::<VerifyAnswer>()
            .by(verify),
    ]
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerQuery {
    /// The service.
    pub service: Option<String>,
    /// Or the probe.
    pub probe: Option<String>,
    /// Or the group of databases.
    pub database: Option<String>,
    /// How far back, in seconds.
    pub span: Option<u64>,
}

/// A report (docs/observability.md names its members).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Object)]
pub struct LedgerAnswer(pub Report);

/// What became of looking at every line.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Object)]
pub struct VerifyAnswer(pub Verdict);

/// The ledger of a node with this configuration: in its `data_dir`, or of incidents alone without one.
pub(super) fn start(config: &Config, journal: &Journal) -> Ledger {
    let folder = config.spec.node.data_dir.as_ref().map(|folder| folder.join("ledger"));
    ledger::start(journal, folder, Limits::default(), env!("CARGO_PKG_VERSION"))
}

async fn ask(Shared(node): Shared<Arc<Node>>, Query(query): Query<LedgerQuery>) -> Response {
    let subject = match (query.service, query.probe, query.database) {
        (Some(name), None, None) => Subject::Service { name },
        (None, Some(name), None) => Subject::Probe { name },
        (None, None, Some(name)) => Subject::Database { name },
        _none_or_several => {
            let hint = Some("ask for ?service=NAME, ?probe=NAME or ?database=NAME".to_owned());
            return error(StatusCode::BAD_REQUEST, "one service, probe or database is asked for".to_owned(), hint);
        }
    };
    let changes = changes(&node, &subject);
    let Some(folder) = node.ledger().folder().map(ToOwned::to_owned) else { return none() };
    let span = query.span.unwrap_or(SPAN_SECONDS).saturating_mul(1000);
    match elsewhere(move || report::of(&folder, &subject, span, true)).await {
        Ok(Ok(report)) => Json(LedgerAnswer(with_changes(report, changes))).into_response(),
        Ok(Err(why @ ReportError::Unknown(..))) => error(StatusCode::NOT_FOUND, why.to_string(), None),
        Ok(Err(why @ ReportError::Read { .. })) => error(StatusCode::INTERNAL_SERVER_ERROR, why.to_string(), None),
        Err(why) => error(StatusCode::SERVICE_UNAVAILABLE, why, None),
    }
}

/// The failovers of a database, which all nodes know of.
fn changes(node: &Node, subject: &Subject) -> Option<Vec<Failover>> {
    let Subject::Database { name } = subject else { return None };
    let view = node.cluster()?.databases().view(name)?;
    Some(view.failovers.iter().rev().map(|failover| change(name, failover)).collect())
}

fn change(group: &str, failover: &group::board::Failover) -> Failover {
    let told = databases::failover_told(failover);
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let phase = |part: PartStatus| Phase { name: part.name, seconds: part.ms.map(seconds) };
    let known: u64 = failover.phases().iter().filter_map(|(_, ms)| *ms).sum();
    let loss = told.loss;
    Failover {
        what: format!("database {group}: {} to {}, term {}", told.from, told.to, told.term),
        at_unix_ms: failover.at_unix_ms,
        recovery_seconds: seconds(told.rto_ms.unwrap_or(known)),
        lost_seconds: loss.span_ms.map(seconds),
        planned: told.planned,
        phases: told.parts.into_iter().map(phase).collect(),
        lost: Some(Lost {
            text: loss.text,
            bytes: loss.bytes,
            at_most_bytes: loss.at_most_bytes,
            commits: loss.commits,
            keys: loss.keys,
            probe_rows: loss.probe_rows,
        }),
    }
}

/// Of a database its own failovers, of the time that was asked for; those by plan are listed and not counted.
fn with_changes(report: Report, changes: Option<Vec<Failover>>) -> Report {
    let Some(mut changes) = changes else { return report };
    changes.retain(|failover| failover.at_unix_ms >= report.since_unix_ms);
    let unplanned: Vec<Failover> = changes.iter().filter(|failover| !failover.planned).cloned().collect();
    Report { recovery: recovery(&unplanned), failovers: changes, ..report }
}

async fn verify(Shared(node): Shared<Arc<Node>>) -> Response {
    let Some(folder) = node.ledger().folder().map(ToOwned::to_owned) else { return none() };
    match elsewhere(move || ledger::verify(&folder)).await {
        Ok(Ok(verdict)) => Json(VerifyAnswer(verdict)).into_response(),
        Ok(Err(why)) => error(StatusCode::INTERNAL_SERVER_ERROR, format!("the ledger cannot be read: {why}"), None),
        Err(why) => error(StatusCode::SERVICE_UNAVAILABLE, why, None),
    }
}

/// Reads files on a thread of its own, not on the one that answers everybody; one question at a time, the others wait.
async fn elsewhere<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    static ONE: Semaphore = Semaphore::const_new(1);
    // It is never closed.
    let permit = ONE.acquire().await.map_err(|closed| closed.to_string())?;
    let (tell, told) = oneshot::channel();
    let work = move || {
        // Held until the files are read, also if whoever asked has gone.
        let _permit = permit;
        let _asker_is_gone = tell.send(read());
    };
    thread::spawn_blocking_thread("ledger-read", work).map_err(|why| format!("no thread to read the ledger: {why}"))?;
    told.await.map_err(|_panicked| "the ledger could not be read".to_owned())
}

fn none() -> Response {
    let hint = "set `data_dir` under [node]: the ledger is kept in it".to_owned();
    error(StatusCode::NOT_FOUND, "this node keeps no ledger".to_owned(), Some(hint))
}
