//! `mainstay slo`: how objectives stand; rules for Prometheus made from them; objectives from OpenSLO files.

mod import;
mod prometheus;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;

use crate::admin::objectives::{ObjectiveStatus, Objectives, spoken};
use crate::client::{self, AdminArgs};
use crate::config;
use crate::failure::Failure;
use crate::output;
use crate::status::overview::whose;

/// Arguments of `mainstay slo`.
#[derive(Debug, Args)]
pub struct SloArgs {
    #[command(subcommand)]
    command: Option<Command>,
    /// By the counts of all nodes of the cluster together
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a configuration's objectives as rules for another system
    Export {
        /// As recording and alerting rules of Prometheus
        #[arg(long, required = true)]
        prometheus: bool,
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print objectives of an OpenSLO v1 file as they are written in a configuration
    Import {
        /// The file, YAML, of one or more documents
        file: PathBuf,
    },
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, or a file cannot be read or makes no sense.
pub fn slo(args: &SloArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        None => {
            let path = if args.cluster { "/api/v1/objectives?scope=cluster" } else { "/api/v1/objectives" };
            let objectives: Objectives = client::ask(&args.admin.places(), Method::GET, path, None)?;
            if args.admin.json { output::json(&objectives)? } else { output::text(&table(&objectives))? }
        }
        Some(Command::Export { prometheus: _only_one_there_is, config }) => {
            let checked = config::load(config)
                .map_err(|problems| Failure::rendered(config::report::render_text(config, &Err(problems))))?;
            output::text(&prometheus::rules(&checked))?;
        }
        Some(Command::Import { file }) => output::text(&import::import(file)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

const HEADS: [&str; 10] =
    ["OBJECTIVE", "ABOUT", "TARGET", "GOOD", "BUDGET LEFT", "RUNS OUT", "P1 1h", "P2 6h", "P3 1d", "P4 3d"];

fn table(objectives: &Objectives) -> String {
    if objectives.items.is_empty() {
        return "the configuration has no objectives; write [[objective]] (docs/slo.md)\n".to_owned();
    }
    let rows: Vec<[String; 10]> = objectives.items.iter().map(row).collect();
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(HEADS.to_vec());
    rows.iter().for_each(|row| text.push_str(&line(row.iter().map(String::as_str).collect())));
    for of in objectives.items.iter().filter(|of| of.coverage_percent < 99.0) {
        text.push_str(&format!("{}: known of {:.1}% of the window\n", of.name, of.coverage_percent));
    }
    if let Some(coverage) = &objectives.coverage {
        text.push_str(&whose(coverage));
    }
    text
}

fn row(of: &ObjectiveStatus) -> [String; 10] {
    let percent = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number}%"));
    let burn = |severity: &str| match of.burn.iter().find(|burn| burn.severity == severity) {
        None => "off".to_owned(),
        Some(burn) => {
            let rate = burn.long.map_or("-".to_owned(), |rate| format!("{rate:.1}x"));
            if burn.firing { format!("{rate} FIRING") } else { rate }
        }
    };
    let left = of.budget_left_percent.map_or("-".to_owned(), |left| format!("{left:.1}%"));
    let slow = if of.slow_failure { " (few requests, too many failed)" } else { "" };
    let measure = of.threshold_ms.map_or(String::new(), |millis| format!(" < {millis}ms"));
    [
        of.name.clone(),
        format!("{} {}{measure}", of.subject.kind, of.subject.name),
        percent(Some(of.target_percent)),
        percent(of.good_percent),
        format!("{left}{slow}"),
        of.exhausted_in_seconds.map_or("-".to_owned(), |seconds| match seconds {
            0 => "is used up".to_owned(),
            seconds => format!("in {}", spoken(Duration::from_secs(seconds))),
        }),
        burn("P1"),
        burn("P2"),
        burn("P3"),
        burn("P4"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::objectives::{BurnStatus, ObjectiveSubject};

    #[test]
    fn a_line_for_each_objective() {
        let burn = BurnStatus {
            severity: "P1".to_owned(),
            threshold: 14.4,
            long_seconds: 3_600,
            short_seconds: 300,
            long: Some(20.06),
            short: Some(100.0),
            firing: true,
            why: None,
        };
        let status = ObjectiveStatus {
            name: "checkout".to_owned(),
            subject: ObjectiveSubject { kind: "service".to_owned(), name: "app".to_owned() },
            indicator: "latency".to_owned(),
            threshold_ms: Some(500),
            target_percent: 99.9,
            window_seconds: 28 * 86_400,
            good_percent: Some(99.95),
            events: 1_000,
            bad: 1,
            budget_left_percent: Some(50.0),
            exhausted_in_seconds: Some(86_400 * 3),
            coverage_percent: 12.5,
            burn: vec![burn],
            slow_failure: false,
            spans: Vec::new(),
            known_seconds: 0,
        };
        let text = table(&Objectives { node: "lb1".to_owned(), items: vec![status], next: None, coverage: None });
        let expected = "\
OBJECTIVE  ABOUT                TARGET  GOOD    BUDGET LEFT  RUNS OUT  P1 1h         P2 6h  P3 1d  P4 3d
checkout   service app < 500ms  99.9%   99.95%  50.0%        in 3 d    20.1x FIRING  off    off    off
checkout: known of 12.5% of the window
";
        assert_eq!(text, expected);
        assert!(
            table(&Objectives { node: "lb1".to_owned(), items: Vec::new(), next: None, coverage: None })
                .contains("no objectives")
        );
    }
}
