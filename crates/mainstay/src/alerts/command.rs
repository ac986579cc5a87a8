//! `mainstay alerts` and `mainstay silence`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use mainstay_core::alert::{Matcher, Silence};

use crate::admin::alerts::{
    AcknowledgeRequest, AlertStatus, AlertsAnswer, MatcherStatus, ReceiversAnswer, SilenceRequest, SilenceStatus,
    SilencesAnswer,
};
use crate::client::{self, AdminArgs};
use crate::config;
use crate::failure::Failure;
use crate::output;

/// Arguments of `mainstay alerts`.
#[derive(Debug, Args)]
pub struct AlertsArgs {
    #[command(subcommand)]
    command: Option<AlertsCommand>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// What is wrong now, what is not for long enough yet, and what is over (without a command)
    List,
    /// Say that you take care of an alert: it is not repeated then
    #[command(visible_alias = "ack")]
    Acknowledge {
        /// Which: the id that the list shows
        id: String,
        /// For the others
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// Who is told, and whether that works
    Receivers,
}

/// Arguments of `mainstay silence`.
#[derive(Debug, Args)]
pub struct SilenceArgs {
    #[command(subcommand)]
    command: SilenceCommand,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum SilenceCommand {
    /// Silence the alerts of which all matchers are true
    Add {
        /// NAME=VALUE, NAME!=VALUE, NAME=~PATTERN or NAME!~PATTERN
        #[arg(value_name = "MATCHER", required = true)]
        matchers: Vec<String>,
        /// For how long
        #[arg(long = "for", value_name = "DURATION", default_value = "1h")]
        duration: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        comment: String,
    },
    /// Show all silences
    List,
    /// End one
    #[command(visible_alias = "expire")]
    Remove {
        /// Which: the id that the list shows
        id: String,
    },
}

/// Carries `mainstay alerts` out.
///
/// # Errors
/// If no node answers, or there is no such alert.
pub fn alerts(args: &AlertsArgs) -> Result<ExitCode, Failure> {
    match args.command.as_ref().unwrap_or(&AlertsCommand::List) {
        AlertsCommand::List => {
            let answer: AlertsAnswer = client::ask(&args.admin.places(), Method::GET, "/api/v1/alerts", None)?;
            if args.admin.json { output::json(&answer)? } else { output::text(&table(&answer))? }
        }
        AlertsCommand::Acknowledge { id, note } => {
            let request = AcknowledgeRequest { note: note.clone(), by: user() };
            let sent = serde_json::to_string(&request).map_err(|error| Failure::new(error.to_string()))?;
            let path = format!("/api/v1/alerts/{}/acknowledge", path_part(id)?);
            let places = [args.admin.place_for_changes()];
            let answer: AlertStatus = client::ask(&places, Method::POST, &path, Some(sent))?;
            let text = format!("{} {}: it is not repeated until it ends\n", answer.name, answer.labels);
            if args.admin.json { output::json(&answer)? } else { output::text(&text)? }
        }
        AlertsCommand::Receivers => {
            let places = args.admin.places();
            let answer: ReceiversAnswer = client::ask(&places, Method::GET, "/api/v1/receivers", None)?;
            if args.admin.json { output::json(&answer)? } else { output::text(&receivers(&answer))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(answer: &AlertsAnswer) -> String {
    let evaluator = answer.evaluator.as_deref().unwrap_or("nobody as far as is known");
    let firing = answer.items.iter().filter(|item| item.state == "firing").count();
    let mut text = format!("{firing} firing, evaluated by {evaluator}\n");
    for item in &answer.items {
        let (severity, state, name) = (&item.severity, &item.state, &item.name);
        let by = item.acknowledged.as_ref().map(|by| format!("taken care of by {}", by.by));
        let silenced = item.silenced_by.as_ref().map(|id| format!("silenced by {id}"));
        let inhibited = item.inhibited_by.as_ref().map(|id| format!("explained by {id}"));
        let notes: Vec<String> = [by, silenced, inhibited].into_iter().flatten().collect();
        let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join(", ")) };
        text.push_str(&format!("{severity}  {state:<8}  {name}  {}{notes}\n", item.summary));
        text.push_str(&format!("    {}  since {}  {}\n", item.id, item.since_at, item.runbook));
        for told in item.notifications.iter().filter(|told| told.outcome == "failed") {
            text.push_str(&format!("    {} could not be told: {}\n", told.receiver, told.detail));
        }
    }
    text
}

fn receivers(answer: &ReceiversAnswer) -> String {
    if answer.items.is_empty() {
        return "nobody is told of alerts: the configuration has no [[receiver]]\n".to_owned();
    }
    let line = |it: &crate::admin::alerts::ReceiverStatus| {
        let error = it.last_error.as_ref().map(|error| format!("  {error}")).unwrap_or_default();
        let (name, kind) = (&it.name, &it.kind);
        format!("{name}  {kind}  {} delivered, {} failed, {} waiting{error}\n", it.delivered, it.failed, it.waiting)
    };
    answer.items.iter().map(line).collect()
}

/// Carries `mainstay silence` out.
///
/// # Errors
/// If no node answers, or what is asked makes no sense.
pub fn silence(args: &SilenceArgs) -> Result<ExitCode, Failure> {
    let changes = [args.admin.place_for_changes()];
    let answer: SilenceStatus = match &args.command {
        SilenceCommand::List => {
            let places = args.admin.places();
            let answer: SilencesAnswer = client::ask(&places, Method::GET, "/api/v1/silences", None)?;
            let text: String = answer.items.iter().map(line).collect();
            let text = if text.is_empty() { "no silences\n".to_owned() } else { text };
            if args.admin.json {
                output::json(&answer)?
            } else {
                output::text(&text)?
            }
            return Ok(ExitCode::SUCCESS);
        }
        SilenceCommand::Add { matchers, duration, comment } => {
            let parsed: Result<Vec<_>, _> = matchers.iter().map(|text| Matcher::parse(text)).collect();
            let parsed = parsed.map_err(|why| Failure::usage(why.to_string()))?;
            let matcher = |it: &Matcher| MatcherStatus {
                name: it.name.clone(),
                value: it.value.clone(),
                is_regex: it.comparison.is_pattern(),
                is_equal: it.comparison.is_equal(),
            };
            let seconds = config::parse_duration(duration).map_err(Failure::usage)?.as_secs().max(1);
            let (matchers, comment) = (parsed.iter().map(matcher).collect(), comment.clone());
            let request = SilenceRequest { matchers, seconds, comment, created_by: user() };
            let sent = serde_json::to_string(&request).map_err(|error| Failure::new(error.to_string()))?;
            client::ask(&changes, Method::POST, "/api/v1/silences", Some(sent))?
        }
        SilenceCommand::Remove { id } => {
            let path = format!("/api/v1/silences/{}", path_part(id)?);
            client::ask(&changes, Method::DELETE, &path, None)?
        }
    };
    if args.admin.json {
        output::json(&answer)?
    } else {
        output::text(&line(&answer))?
    }
    Ok(ExitCode::SUCCESS)
}

fn line(it: &SilenceStatus) -> String {
    let sign = |it: &MatcherStatus| match (it.is_regex, it.is_equal) {
        (false, true) => "=",
        (false, false) => "!=",
        (true, true) => "=~",
        (true, false) => "!~",
    };
    let matchers: Vec<String> = it.matchers.iter().map(|it| format!("{}{}{:?}", it.name, sign(it), it.value)).collect();
    let (id, state, ends, by) = (&it.id, &it.state, &it.ends_at, &it.created_by);
    format!("{id}  {state}  until {ends}  {}  {by}: {}\n", matchers.join(" "), it.comment)
}

/// Ids have letters, digits and dashes; anything else would be another path.
fn path_part(id: &str) -> Result<&str, Failure> {
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_id { Ok(id) } else { Err(Failure::usage(format!("`{id}` is not an id: the list shows them"))) }
}

/// Who asks, as far as the system says.
fn user() -> String {
    let name = std::env::var("SUDO_USER").or_else(|_not_sudo| std::env::var("USER")).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() || name.len() > Silence::TEXT_BYTES_MAX { "operator".to_owned() } else { name.to_owned() }
}
