//! `mainstay ledger` and `mainstay incidents`: how available services were, what broke, and what was done.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use mainstay_core::ledger::Failover;
use mainstay_core::timestamp::rfc3339;
use mainstay_observe::ledger::report::{self, Report};
use mainstay_observe::ledger::{self, Verdict};

use crate::admin::incidents::{IncidentAnswer, IncidentsAnswer};
use crate::admin::ledger::{LedgerAnswer, VerifyAnswer};
use crate::client::{self, AdminArgs};
use crate::failure::Failure;
use crate::output;
use crate::status::table::printable;

/// Arguments of `mainstay ledger`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: Option<LedgerCommand>,
    /// The service
    #[arg(long, value_name = "NAME", conflicts_with = "database")]
    service: Option<String>,
    /// Or the group of databases, with what each failover took and cost
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// How far back: 28d, 12h, 30m, 90s
    #[arg(long, value_name = "SPAN", default_value = "28d")]
    since: String,
    /// Write the report as one page, to be printed or sent
    #[arg(long, value_name = "FILE", requires = "service")]
    html: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Look at every line that was written: is it as it was, and in its place?
    Verify {
        /// Look at this folder (`ledger` in a `data_dir`) without asking a node
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

/// Arguments of `mainstay incidents`.
#[derive(Debug, Args)]
pub struct IncidentsArgs {
    /// One incident, with its timeline
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Only of this service
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    service: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Carries `mainstay ledger` out. Exits with 1 if the ledger is damaged.
///
/// # Errors
/// If no node answers, it keeps no ledger, or a file cannot be read or written.
pub fn ledger(args: &LedgerArgs) -> Result<ExitCode, Failure> {
    if let Some(LedgerCommand::Verify { folder }) = &args.command {
        return verify(folder.as_deref(), &args.admin);
    }
    let about = match (&args.service, &args.database) {
        (Some(service), _) => format!("service={}", encoded(service)),
        (None, Some(database)) => format!("database={}", encoded(database)),
        (None, None) => {
            let hint = "--service NAME or --database NAME; `mainstay status` lists them";
            return Err(Failure::usage("which service or database?".to_owned()).hint(hint));
        }
    };
    let span = span(&args.since)
        .ok_or_else(|| Failure::usage(format!("`{}` is no span", args.since)).hint("28d, 12h, 30m or 90s"))?;
    let path = format!("/api/v1/ledger?{about}&span={span}");
    let LedgerAnswer(report) = client::ask(&args.admin.places(), Method::GET, &path, None)?;
    if let Some(file) = &args.html {
        std::fs::write(file, report::page(&report))
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", file.display())))?;
    }
    if args.admin.json {
        output::json(&report)?;
    } else {
        output::text(&told(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(folder: Option<&Path>, admin: &AdminArgs) -> Result<ExitCode, Failure> {
    let verdict = match folder {
        Some(folder) => ledger::verify(folder)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", folder.display())))?,
        None => {
            let VerifyAnswer(verdict) = client::ask(&admin.places(), Method::GET, "/api/v1/ledger/verify", None)?;
            verdict
        }
    };
    if admin.json {
        output::json(&verdict)?;
    } else {
        let Verdict { files, lines, head, problem, .. } = &verdict;
        output::text(&match problem {
            None => format!("intact: {lines} lines in {files} files; the last one's hash is {head}\n"),
            Some(problem) => format!("DAMAGED: {problem}\n"),
        })?;
    }
    Ok(if verdict.intact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Carries `mainstay incidents` out.
///
/// # Errors
/// If no node answers, or there is no such incident.
pub fn incidents(args: &IncidentsArgs) -> Result<ExitCode, Failure> {
    if let Some(id) = &args.id {
        let path = format!("/api/v1/incidents/{}", encoded(id));
        let incident: IncidentAnswer = client::ask(&args.admin.places(), Method::GET, &path, None)?;
        if args.admin.json {
            output::json(&incident)?;
        } else {
            output::text(&told_whole(&incident))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let of_service = args.service.as_deref().map(|name| format!("?service={}", encoded(name))).unwrap_or_default();
    let path = format!("/api/v1/incidents{of_service}");
    let answer: IncidentsAnswer = client::ask(&args.admin.places(), Method::GET, &path, None)?;
    if args.admin.json {
        output::json(&answer)?;
    } else if answer.items.is_empty() {
        output::text("no incident is remembered\n")?;
    } else {
        output::text(&answer.items.iter().map(line).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(incident: &IncidentAnswer) -> String {
    let end = if incident.ended_at.is_some() { "" } else { ", not over" };
    let cause = if incident.cause.is_empty() { String::new() } else { format!(": {}", incident.cause) };
    let (seconds, down) = (incident.duration_seconds, incident.unavailable_seconds);
    let text = format!("{} for {seconds:.1} s ({down:.1} s not served{end}){cause}", incident.title);
    format!("{}  {}\n    {}\n", incident.began_at, printable(&text), incident.id)
}

fn told_whole(incident: &IncidentAnswer) -> String {
    let mut text = line(incident);
    for entry in &incident.entries {
        let _infallible = writeln!(text, "{}  {:8}  {}", entry.time, entry.part, printable(&entry.text));
    }
    if incident.left_out > 0 {
        let _infallible = writeln!(text, "{} further events were left out", incident.left_out);
    }
    text
}

fn told(report: &Report) -> String {
    let figures = &report.figures;
    let percent = |share: Option<f64>| share.map_or("not known".to_owned(), |share| format!("{share:.4} %"));
    let length = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1} s"));
    let mut text = format!("{} {} as node {} saw it\n", report.kind, printable(&report.name), report.node);
    let rows = [
        ("available", percent(figures.availability_percent)),
        ("without planned", percent(figures.unplanned_availability_percent)),
        ("coverage", percent(figures.coverage_percent)),
        ("up", format!("{:.1} s, of that degraded {:.1} s", figures.up_seconds, figures.partial_seconds)),
        ("down", format!("{:.1} s, planned {:.1} s", figures.down_seconds, figures.planned_seconds)),
        ("failures", format!("{}, planned {}", figures.failures, figures.planned)),
        ("MTBF", length(figures.mtbf_seconds)),
        ("MTTF", length(figures.mttf_seconds)),
        ("MTTR", length(figures.mttr_seconds)),
        ("failovers", {
            let Report { recovery, .. } = report;
            format!("{}, longest recovery {}", recovery.failovers, length(recovery.longest_seconds))
        }),
    ];
    for (name, value) in rows {
        let _infallible = writeln!(text, "  {name:16} {value}");
    }
    for cause in &figures.causes {
        let what = printable(&cause.cause);
        let _infallible =
            writeln!(text, "  cause            {} times, {:.1} s: {what}", cause.failures, cause.down_seconds);
    }
    for failover in report.failovers.iter().filter(|failover| failover.lost.is_some()).rev() {
        text.push_str(&told_failover(failover));
    }
    for note in &report.notes {
        let _infallible = writeln!(text, "  ({note})");
    }
    text
}

fn told_failover(failover: &Failover) -> String {
    let kind = if failover.planned { "switchover" } else { "failover" };
    let at = rfc3339(failover.at_unix_ms);
    let mut text = format!("{at} {kind} of {}, {:.3} s", printable(&failover.what), failover.recovery_seconds);
    for (index, phase) in failover.phases.iter().enumerate() {
        let length = phase.seconds.map_or("unknown".to_owned(), |seconds| format!("{seconds:.3} s"));
        let _infallible = write!(text, "{}{} {length}", if index == 0 { ": " } else { ", " }, phase.name);
    }
    let lost = failover.lost.clone().unwrap_or_default();
    let rows = lost.probe_rows.map_or("not probed".to_owned(), |rows| rows.to_string());
    let _infallible = write!(text, "\n    lost: {}; acknowledged rows of a probe: {rows}\n", printable(&lost.text));
    text
}

/// Seconds of `28d`, `12h`, `30m` or `90s`.
fn span(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _no_unit => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds).filter(|span| *span > 0)
}

/// A name as a part of a URL (RFC 3986, section 2.1).
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _infallible = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_number_and_a_unit() {
        for (text, seconds) in [("28d", Some(2_419_200)), ("90s", Some(90)), ("2h", Some(7_200)), ("5m", Some(300))] {
            assert_eq!(span(text), seconds, "{text}");
        }
        for text in ["", "d", "5", "-1s", "0s", "5 m", "5é", "99999999999999999999d"] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_told_from_the_rest_of_a_url() {
        assert_eq!(encoded("a-b_c.d~e"), "a-b_c.d~e");
        assert_eq!(encoded("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }
}
