//! `mainstay probe`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;

use crate::admin::probes::{ProbeStatus, ProbesAnswer, RunStatus};
use crate::client::{self, AdminArgs};
use crate::failure::Failure;
use crate::output;

/// The longest that a run can take, and a little.
const RUN_MAX: Duration = Duration::from_secs(130);

/// Arguments of `mainstay probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    #[command(subcommand)]
    command: Option<ProbeCommand>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum ProbeCommand {
    /// Show all probes, and what their nodes say of them together (without a command)
    List,
    /// Run one now on the node that is asked, and show each step; it counts for nothing
    Run {
        /// Which
        name: String,
    },
}

/// Carries the command out. A run that fails ends with exit code 1.
///
/// # Errors
/// If no node answers, or there is no such probe.
pub fn probe(args: &ProbeArgs) -> Result<ExitCode, Failure> {
    match args.command.as_ref().unwrap_or(&ProbeCommand::List) {
        ProbeCommand::List => {
            let answer: ProbesAnswer = client::ask(&args.admin.places(), Method::GET, "/api/v1/probes", None)?;
            if args.admin.json {
                output::json(&answer)?
            } else {
                output::text(&list(&answer))?
            }
            Ok(ExitCode::SUCCESS)
        }
        ProbeCommand::Run { name } => {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_plain) {
                return Err(Failure::usage(format!("`{name}` is no probe's name")));
            }
            let path = format!("/api/v1/probes/{name}/run");
            let places = [args.admin.place_for_changes()];
            let run: RunStatus = client::ask_within(&places, Method::POST, &path, None, RUN_MAX)?;
            if args.admin.json {
                output::json(&run)?
            } else {
                output::text(&told(name, &run))?
            }
            Ok(if run.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn list(answer: &ProbesAnswer) -> String {
    if answer.items.is_empty() {
        return "the configuration has no probes; write [[probe]] (docs/probes.md)\n".to_owned();
    }
    let width = answer.items.iter().map(|item| item.name.chars().count()).max().unwrap_or_default();
    answer.items.iter().map(|item| line(item, width)).collect()
}

fn line(item: &ProbeStatus, width: usize) -> String {
    let since = item.since_at.as_ref().map_or(String::new(), |since| format!(" since {since}"));
    let last = item.last.as_ref().map_or(String::new(), |last| format!(", {:.0} ms here", last.duration_ms));
    let (name, state, nodes, expected) = (&item.name, &item.state, item.nodes, item.nodes_expected);
    let mut text = format!("{name:<width$}  {state:<8}  {nodes} of {expected} nodes{last}{since}\n");
    for failing in &item.failing {
        text.push_str(&format!("    from {}: {}\n", failing.node, failing.reason));
    }
    text
}

fn told(name: &str, run: &RunStatus) -> String {
    let mut text = String::new();
    for (index, step) in run.steps.iter().enumerate() {
        let days = step.certificate_days.map_or(String::new(), |days| format!("  certificate: {days:.0} days left"));
        let outcome = step.failed.as_ref().map_or("passed".to_owned(), |reason| format!("FAILED: {reason}"));
        text.push_str(&format!("{}. {}  {:.1} ms  {outcome}{days}\n", index + 1, step.name, step.duration_ms));
    }
    let outcome = if run.passed { "passed" } else { "FAILED" };
    text.push_str(&format!("{name} {outcome} on {} in {:.1} ms\n", run.node, run.duration_ms));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::probes::{FailingStatus, StepStatus};

    #[test]
    fn a_run_is_told_step_by_step() {
        let step = |name: &str, failed: Option<&str>| StepStatus {
            name: name.to_owned(),
            duration_ms: 1.25,
            failed: failed.map(str::to_owned),
            certificate_days: failed.is_none().then_some(30.4),
        };
        let steps = vec![step("TLS shop:443", None), step("GET /login", Some("status 500, expected 200-299"))];
        let run = RunStatus { node: "lb1".to_owned(), steps, duration_ms: 2.5, ..RunStatus::default() };
        let expected = "\
1. TLS shop:443  1.2 ms  passed  certificate: 30 days left
2. GET /login  1.2 ms  FAILED: status 500, expected 200-299
login FAILED on lb1 in 2.5 ms
";
        assert_eq!(told("login", &run), expected);
    }

    #[test]
    fn the_list_says_where_it_fails() {
        let failing = vec![FailingStatus { node: "lb2".to_owned(), reason: "step 1 (GET /): no".to_owned() }];
        let item = ProbeStatus {
            name: "login".to_owned(),
            state: "degraded".to_owned(),
            failing,
            nodes: 3,
            nodes_expected: 3,
            ..ProbeStatus::default()
        };
        let answer = ProbesAnswer { node: "lb1".to_owned(), items: vec![item], next: None };
        assert_eq!(list(&answer), "login  degraded  3 of 3 nodes\n    from lb2: step 1 (GET /): no\n");
        assert!(list(&ProbesAnswer { items: Vec::new(), ..answer }).contains("no probes"));
    }
}
