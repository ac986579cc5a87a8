//! What the ledger says of one service.

use std::io;
use std::path::Path;

use mainstay_core::ledger::{Day, Failover, Figures, Interval, Recovery, State, days, down_a_year, figures, recovery};
use mainstay_core::transition::Subject;
use mainstay_runtime::clock::Boottime;
use serde::{Deserialize, Serialize};

use super::chain::Line;
use super::driver::{boot_id, stamp};
use super::scan::Scan;

mod html;

pub use html::page;

/// Times of being down or up in part that a report names one by one, the latest.
const OUTAGES_MAX: usize = 200;
/// The same of failovers.
const FAILOVERS_MAX: usize = 100;

/// A report. Times of day are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who looked: what it says is what this node saw.
    pub node: String,
    /// `service` or `probe`.
    pub kind: String,
    /// What it is about.
    pub name: String,
    /// From when.
    pub since_unix_ms: u64,
    /// Until when.
    pub until_unix_ms: u64,
    /// The figures.
    pub figures: Figures,
    /// Down-time in a year at this availability, in seconds.
    pub down_a_year_seconds: Option<f64>,
    /// Failovers that this node carried out.
    pub recovery: Recovery,
    /// The same, one by one.
    pub failovers: Vec<Failover>,
    /// By day.
    pub days: Vec<Day>,
    /// Days of which only the sums are left; they are not part of the figures.
    pub earlier_days: Vec<Day>,
    /// When it was down or up in part, oldest first.
    pub outages: Vec<Outage>,
    /// Changes of endpoints and routes that were not written down, since they came too fast.
    pub left_out: u64,
    /// How to read it.
    pub notes: Vec<String>,
}

/// A time of being down or up in part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// How it stood.
    pub state: State,
    /// When it began.
    pub began_unix_ms: u64,
    /// How long it lasted.
    pub seconds: f64,
    /// Whether somebody wanted it.
    pub planned: bool,
    /// Why.
    pub cause: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The files cannot be read.
    #[error("cannot read the ledger in {folder}")]
    Read {
        /// Where.
        folder: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing is written of it.
    #[error("the ledger says nothing of {0}; it knows of: {1}")]
    Unknown(String, String),
}

/// What the ledger in `folder` says of `subject` in the last `span_ms` milliseconds. `looks` says that its node runs, so that the
/// time since the last line was observed, too.
///
/// # Errors
/// See [`ReportError`].
pub fn of(folder: &Path, subject: &Subject, span_ms: u64, looks: bool) -> Result<Report, ReportError> {
    let now = stamp(&boot_id(), &Boottime::system());
    let since = now.at_unix_ms.saturating_sub(span_ms);
    let mut node = String::new();
    let note_node = |line: &Line| {
        if let Line::Opened { node: name, .. } = line {
            node.clone_from(name);
        }
    };
    let mut scan = Scan::of(folder, since, note_node)
        .map_err(|source| ReportError::Read { folder: folder.display().to_string(), source })?;
    let until_unix_ms = now.at_unix_ms;
    if looks {
        scan.take(Line::Beat { stamp: now });
    }
    let failovers = std::mem::take(&mut scan.failovers);
    let (left_out, kept) = (scan.left_out, std::mem::take(&mut scan.days));
    let first_day = since / 86_400_000;
    let of_days = |(about, day): (Subject, Day)| (about == *subject && day.day >= first_day).then_some(day);
    let earlier_days: Vec<Day> = kept.into_iter().filter_map(of_days).collect();
    let mut all = scan.intervals();
    let Some(at) = all.iter().position(|(about, _intervals)| about == subject) else {
        let known: Vec<String> = all.iter().map(|(about, _intervals)| about.to_string()).collect();
        let known = if known.is_empty() { "nothing yet".to_owned() } else { known.join(", ") };
        return Err(ReportError::Unknown(subject.to_string(), known));
    };
    let (_subject, intervals) = all.swap_remove(at);
    let span = (since, until_unix_ms);
    Ok(assemble(node, subject, span, intervals, failovers, earlier_days, left_out))
}

/// What the ledger in `folder` says of everything that it knows in the last `span_ms` milliseconds, in short, while its node runs;
/// and of the failovers that its node carried out.
///
/// # Errors
/// If its files cannot be read.
pub fn of_all(folder: &Path, span_ms: u64) -> Result<(Vec<(Subject, Figures)>, Recovery), ReportError> {
    let now = stamp(&boot_id(), &Boottime::system());
    let since = now.at_unix_ms.saturating_sub(span_ms);
    let mut scan = Scan::of(folder, since, |_line| ())
        .map_err(|source| ReportError::Read { folder: folder.display().to_string(), source })?;
    scan.take(Line::Beat { stamp: now });
    let recovery = recovery(&scan.failovers);
    let all = scan.intervals().into_iter().map(|(about, mut intervals)| {
        begin_at(since, &mut intervals);
        (about, figures(&intervals))
    });
    Ok((all.collect(), recovery))
}

/// What is before the first line was not observed, and belongs to the time that was asked for.
fn begin_at(since_unix_ms: u64, intervals: &mut Vec<Interval>) {
    if let Some(first) = intervals.first().map(|first| first.at_unix_ms).filter(|first| *first > since_unix_ms) {
        let lasted = std::time::Duration::from_millis(first - since_unix_ms);
        let before = Interval {
            state: State::NotObserved,
            lasted,
            at_unix_ms: since_unix_ms,
            planned: false,
            cause: "nobody looked yet".to_owned(),
        };
        intervals.insert(0, before);
    }
}

fn assemble(
    node: String,
    subject: &Subject,
    (since_unix_ms, until_unix_ms): (u64, u64),
    mut intervals: Vec<Interval>,
    failovers: Vec<Failover>,
    earlier_days: Vec<Day>,
    left_out: u64,
) -> Report {
    let days = days(&intervals);
    begin_at(since_unix_ms, &mut intervals);
    let figures = figures(&intervals);
    let outages = outages(&intervals);
    let skip = failovers.len().saturating_sub(FAILOVERS_MAX);
    Report {
        node,
        kind: subject.kind().to_owned(),
        name: subject.name().to_owned(),
        since_unix_ms,
        until_unix_ms,
        down_a_year_seconds: figures.availability_percent.map(|percent| down_a_year(percent).as_secs_f64()),
        notes: notes(&figures),
        figures,
        recovery: recovery(&failovers),
        failovers: failovers.into_iter().skip(skip).collect(),
        days,
        earlier_days,
        outages,
        left_out,
    }
}

fn outages(intervals: &[Interval]) -> Vec<Outage> {
    let amiss = intervals.iter().filter(|interval| matches!(interval.state, State::Down | State::Partial));
    let all: Vec<Outage> = amiss
        .map(|interval| Outage {
            state: interval.state,
            began_unix_ms: interval.at_unix_ms,
            seconds: interval.lasted.as_secs_f64(),
            planned: interval.planned,
            cause: interval.cause.clone(),
        })
        .collect();
    let skip = all.len().saturating_sub(OUTAGES_MAX);
    all.into_iter().skip(skip).collect()
}

fn notes(figures: &Figures) -> Vec<String> {
    let mut notes = vec![
        "what one node saw; lengths are of its boot-time clock".to_owned(),
        "MTBF is up-time between failures: up-time / failures, so that A = MTBF / (MTBF + MTTR)".to_owned(),
        "degraded counts as up, and is told apart".to_owned(),
    ];
    if figures.failures == 0 {
        notes.push(
            "no failure was seen: at 95 % confidence there are at most 3 in as much up-time (rule of three)".to_owned(),
        );
    }
    notes
}
