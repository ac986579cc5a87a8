//! `mainstay log` and `mainstay events`: how much a running node tells, for a while.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::telemetry::{LevelRequest, LogAnswer, SamplingAnswer, SamplingRequest, TemporaryStatus};
use crate::client::{self, AdminArgs};
use crate::config::parse_duration;
use crate::failure::Failure;
use crate::logging::levels::{COMPONENTS, LEVELS};
use crate::output;

/// What ends a wish.
const RESET: &str = "reset";

/// Arguments of `mainstay log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Change what the operational log of a running node tells, or show it (without a level)
    Level(LevelArgs),
}

#[derive(Debug, Args)]
struct LevelArgs {
    /// LEVEL or COMPONENT=LEVEL: off, error, warn, info, debug, trace; or reset
    #[arg(value_name = "[COMPONENT=]LEVEL")]
    level: Option<String>,
    /// For how long: 30s, 10m, up to a day
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    lasts: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Arguments of `mainstay events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// Change how many requests leave a line, of those that nothing speaks for, or show it (without a rate)
    Sampling(SamplingArgs),
}

#[derive(Debug, Args)]
struct SamplingArgs {
    /// A share such as 10%; or reset
    #[arg(value_name = "RATE")]
    rate: Option<String>,
    /// Of this route alone
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// For how long: 30s, 10m, up to a day
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    lasts: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Carries `mainstay log` out.
///
/// # Errors
/// If no node answers, or there is no such component or level.
pub fn log(args: &LogArgs) -> Result<ExitCode, Failure> {
    let LogCommand::Level(args) = &args.command;
    let Some(asked) = &args.level else {
        let answer: LogAnswer = client::ask(&args.admin.places(), Method::GET, "/api/v1/log", None)?;
        return show(&args.admin, &answer, &answer.configured, &answer.temporary, "log level");
    };
    let (component, level) = match asked.split_once('=') {
        Some((component, level)) => (Some(component), level),
        None => (None, asked.as_str()),
    };
    let is_known = |name: &str| COMPONENTS.iter().any(|(known, _targets)| *known == name);
    if !LEVELS.contains(&level) && level != RESET || component.is_some_and(|name| !is_known(name)) {
        let names: Vec<&str> = COMPONENTS.iter().map(|(name, _targets)| *name).collect();
        let hint = format!("levels: {}, {RESET}; components: {}", LEVELS.join(", "), names.join(", "));
        return Err(Failure::usage(format!("`{asked}` is no level")).hint(hint));
    }
    let request = LevelRequest {
        component: component.map(str::to_owned),
        level: (level != RESET).then(|| level.to_owned()),
        seconds: Some(seconds(&args.lasts)?),
    };
    let answer: LogAnswer = order(&args.admin, "/api/v1/log/level", &request)?;
    show(&args.admin, &answer, &answer.configured, &answer.temporary, "log level")
}

/// Carries `mainstay events` out.
///
/// # Errors
/// If no node answers, or there is no such route.
pub fn events(args: &EventsArgs) -> Result<ExitCode, Failure> {
    let EventsCommand::Sampling(args) = &args.command;
    let answer: SamplingAnswer = match &args.rate {
        None => client::ask(&args.admin.places(), Method::GET, "/api/v1/sampling", None)?,
        Some(rate) => {
            let rate = (rate != RESET).then(|| rate.clone());
            let request = SamplingRequest { route: args.route.clone(), rate, seconds: Some(seconds(&args.lasts)?) };
            order(&args.admin, "/api/v1/sampling", &request)?
        }
    };
    show(&args.admin, &answer, &answer.configured, &answer.temporary, "sampling")
}

/// What `status` says of one thing that is not as configured.
pub fn line(temporary: &TemporaryStatus) -> String {
    let TemporaryStatus { what, of, is, configured, seconds_left, end } = temporary;
    let of = of.as_ref().map_or_else(String::new, |of| format!(" of {of}"));
    format!("{what}{of} is {is} for {seconds_left}s more, not {configured} as configured; `{end}` ends that")
}

fn seconds(lasts: &str) -> Result<u64, Failure> {
    let lasts: Duration = parse_duration(lasts).map_err(|why| Failure::usage(format!("--for: {why}")))?;
    Ok(lasts.as_secs().max(1))
}

fn order<A: DeserializeOwned>(admin: &AdminArgs, path: &str, request: &impl Serialize) -> Result<A, Failure> {
    let sent = serde_json::to_string(request).map_err(|error| Failure::new(error.to_string()))?;
    client::ask(&[admin.place_for_changes()], Method::POST, path, Some(sent))
}

fn show(
    admin: &AdminArgs,
    answer: &impl Serialize,
    configured: &str,
    temporary: &[TemporaryStatus],
    what: &str,
) -> Result<ExitCode, Failure> {
    if admin.json {
        output::json(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{what} as configured: {configured}\n");
    for temporary in temporary {
        text.push_str(&line(temporary));
        text.push('\n');
    }
    output::text(&text)?;
    Ok(ExitCode::SUCCESS)
}
