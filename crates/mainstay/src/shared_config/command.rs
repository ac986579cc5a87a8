//! `mainstay config`: the configuration that the nodes of a cluster share.

mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use hyper::Method;
use mainstay_admin::precondition::Tag;
use mainstay_core::release::{Quiet, Terms, Version};
use serde::Serialize;

use super::diff;
use super::event::{Aborted, ApplyRequest, Event, History, Overview, Progress, RollbackRequest, Shown};
use crate::client::{self, AdminArgs, Place};
use crate::config;
use crate::failure::Failure;
use crate::output;

/// How long the canary has a new version alone.
const BAKE: &str = "60s";
/// No bake is longer: the command waits for its end, three times as long if there is little traffic.
const BAKE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// For all that is not the bake.
const AROUND: Duration = Duration::from_secs(90);
/// A node ends connections to its admin interface that are older than 10 minutes; then it is asked again and again.
const FOLLOWED_MAX: Duration = Duration::from_secs(590);
/// How often, and how often without an answer.
const LOOK: Duration = Duration::from_secs(1);
const SILENT_MAX: u32 = 60;

/// Arguments of `mainstay config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give a file to the cluster: every node checks it, one serves it first, then all
    Apply {
        /// The file; its [node], [cluster] and [[address]] are left out
        file: PathBuf,
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
        /// Only if this version is current still, which the file was made from; 0: if there is none
        #[arg(long, value_name = "VERSION")]
        builds_on: Option<Version>,
        #[command(flatten)]
        terms: TermsArgs,
    },
    /// Print the configuration that the cluster serves, or another version of it
    Show {
        /// The version [default: the current one]
        version: Option<Version>,
    },
    /// Show what differs between two versions, or a version and a file
    Diff {
        /// A version, or a file that the current version is compared with [default: the version before the current one]
        from: Option<String>,
        /// A version or a file [default: the current version]
        to: Option<String>,
    },
    /// List the versions that are kept
    History,
    /// Release an earlier version again
    Rollback {
        /// The version [default: the one before the current one]
        version: Option<Version>,
        #[command(flatten)]
        terms: TermsArgs,
    },
    /// Show what nodes serve, and how far a release is
    Status,
    /// End the release that goes on: all nodes go back
    Abort,
}

/// How a version is released.
#[derive(Debug, Args)]
struct TermsArgs {
    /// Let all nodes have it as soon as they have accepted it
    #[arg(long, conflicts_with_all = ["bake", "canary", "strict"])]
    now: bool,
    /// How long one node has it alone, such as 30s or 10m
    #[arg(long, value_name = "TIME", default_value = BAKE, value_parser = parse_bake)]
    bake: Duration,
    /// Which node that is [default: the one with the least traffic that suffices to judge by]
    #[arg(long, value_name = "NODE")]
    canary: Option<String>,
    /// Go back, rather than on, if there is too little traffic to judge by
    #[arg(long)]
    strict: bool,
}

impl TermsArgs {
    fn terms(&self) -> Terms {
        Terms {
            bake: (!self.now).then_some(self.bake),
            canary: self.canary.clone(),
            quiet: if self.strict { Quiet::RollBack } else { Quiet::Proceed },
        }
    }

    /// How long to wait for the end of a release.
    fn limit(&self) -> Duration {
        let bake = if self.now { Duration::ZERO } else { self.bake };
        bake.saturating_mul(3) + AROUND
    }
}

fn parse_bake(text: &str) -> Result<Duration, String> {
    let unit = |suffix: &str, seconds: u64| {
        let number: u64 = text.strip_suffix(suffix)?.parse().ok()?;
        number.checked_mul(seconds).map(Duration::from_secs)
    };
    let bake = unit("s", 1).or_else(|| unit("m", 60)).or_else(|| unit("h", 3600));
    match bake.filter(|bake| (Duration::from_secs(1)..=BAKE_MAX).contains(bake)) {
        Some(bake) => Ok(bake),
        None => Err("write a whole number and its unit, from 1s to 24h: 30s, 10m".to_owned()),
    }
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, the file is wrong, or the release did not succeed.
pub fn config(args: &ConfigArgs) -> Result<ExitCode, Failure> {
    let desk = Desk { place: args.admin.place_for_changes(), json: args.admin.json };
    match &args.command {
        Command::Apply { file, note, builds_on, terms } => desk.apply(file, note, *builds_on, terms),
        Command::Rollback { version, terms } => {
            let request = RollbackRequest { version: *version, author: author(), terms: terms.terms() };
            desk.release("/api/v1/config/rollback", &request, None, terms)
        }
        Command::Show { version } => {
            let shown = desk.shown(*version)?;
            if desk.json {
                output::json(&shown)?
            } else {
                output::text(&shown.text)?
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Diff { from, to } => desk.diff(from.as_deref(), to.as_deref()),
        Command::History => {
            let history: History = desk.ask(Method::GET, "/api/v1/config/versions", None)?;
            if desk.json {
                output::json(&history)?
            } else {
                output::text(&text::history(&history))?
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Status => {
            let overview: Overview = desk.ask(Method::GET, "/api/v1/config", None)?;
            if desk.json {
                output::json(&overview)?
            } else {
                output::text(&text::overview(&overview))?
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Abort => {
            let aborted: Aborted = desk.ask(Method::POST, "/api/v1/config/abort", None)?;
            let said = format!("the release of version {} ends: nodes go back\n", aborted.version);
            if desk.json {
                output::json(&aborted)?
            } else {
                output::text(&said)?
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where is asked, and how answers are shown.
struct Desk {
    place: Place,
    json: bool,
}

impl Desk {
    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        sent: Option<String>,
    ) -> Result<T, Failure> {
        client::ask(std::slice::from_ref(&self.place), method, path, sent)
    }

    fn shown(&self, version: Option<Version>) -> Result<Shown, Failure> {
        let version = version.map_or_else(|| "current".to_owned(), |version| version.to_string());
        self.ask(Method::GET, &format!("/api/v1/config/versions/{version}"), None)
    }

    fn apply(
        &self,
        file: &Path,
        note: &str,
        builds_on: Option<Version>,
        terms: &TermsArgs,
    ) -> Result<ExitCode, Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
        let checked = config::shared::check_text(&text, &file.display().to_string());
        if checked.is_err() {
            let problems = config::report::render_text(file, &checked);
            return Err(Failure::rendered(format!("{problems}nothing has been changed")));
        }
        let request = ApplyRequest { text, author: author(), note: note.to_owned(), terms: terms.terms() };
        self.release("/api/v1/config", &request, builds_on, terms)
    }

    /// Begins a release, and follows it to its end.
    fn release(
        &self,
        path: &str,
        request: &impl Serialize,
        builds_on: Option<Version>,
        terms: &TermsArgs,
    ) -> Result<ExitCode, Failure> {
        let tag = builds_on.map(|version| Tag::number(version).text());
        let sent = serde_json::to_string(request).map_err(|error| Failure::new(error.to_string()))?;
        let (mut last, mut version, mut before) = (None, None, None);
        let end = Instant::now() + terms.limit();
        let followed = client::follow(
            &self.place,
            path,
            (sent, tag.as_deref()),
            terms.limit().min(FOLLOWED_MAX),
            |event: Event| {
                if let Event::Proposed { version: number, .. } = &event {
                    version = Some(*number);
                }
                let written = if self.json { Ok(()) } else { output::text(&text::told(&event, before.as_ref())) };
                if let Event::Progress(progress) = &event {
                    before = Some(progress.clone());
                }
                last = Some(event);
                written
            },
        );
        let is_told = matches!(last, Some(Event::Ended(_) | Event::Failed { .. }));
        if let (Some(version), false) = (version, is_told) {
            last = self.resume(version, before, end)?;
        }
        match (last, version, followed) {
            (Some(Event::Ended(progress)), _, _) => self.ended(&progress),
            (Some(Event::Failed { error, hint }), _, _) => Err(match hint {
                Some(hint) => Failure::new(error).hint(hint),
                None => Failure::new(error),
            }),
            (_, Some(version), _) => {
                let what = format!("version {version} is being released, and this command has lost sight of it");
                Err(Failure::new(what).hint("`mainstay config status` shows how far it is"))
            }
            (_, None, Err(failure)) => Err(failure),
            (_, None, Ok(())) => {
                let hint = "`mainstay config status` and `history` show what became of it";
                Err(Failure::new("the node broke off").hint(hint))
            }
        }
    }

    /// Goes on seeing how far a release is after the node has broken off: it ends connections that are too old, and all of them
    /// when it restarts. The end of the release, if it came by then.
    fn resume(&self, version: Version, before: Option<Progress>, end: Instant) -> Result<Option<Event>, Failure> {
        let (mut before, mut silent) = (before, 0);
        while Instant::now() < end && silent < SILENT_MAX {
            std::thread::sleep(LOOK);
            let overview: Result<Overview, Failure> = self.ask(Method::GET, "/api/v1/config", None);
            let release = overview.ok().and_then(|overview| overview.release);
            let Some(progress) = release.filter(|release| release.version >= version) else {
                silent += 1;
                continue;
            };
            if progress.version > version {
                // Another release has begun: this one is over, and the history tells how.
                break;
            }
            silent = 0;
            let event = match progress.stage.is_over() {
                true => Event::Ended(progress.clone()),
                false => Event::Progress(progress.clone()),
            };
            if !self.json {
                output::text(&text::told(&event, before.as_ref()))?;
            }
            if let Event::Ended(_) = event {
                return Ok(Some(event));
            }
            before = Some(progress);
        }
        Ok(None)
    }

    fn ended(&self, progress: &Progress) -> Result<ExitCode, Failure> {
        if self.json {
            output::json(progress)?;
        }
        if progress.is_success() {
            return Ok(ExitCode::SUCCESS);
        }
        let what = format!("version {} is not served: {}", progress.version, progress.said);
        Err(Failure::new(what).hint(match progress.from {
            0 => "nodes serve their own files, as before".to_owned(),
            from => format!("nodes serve version {from}, as before"),
        }))
    }

    fn diff(&self, from: Option<&str>, to: Option<&str>) -> Result<ExitCode, Failure> {
        let (from, to) = match (from, to) {
            // What would change with a file, rather than what would come back.
            (Some(file), None) if file.parse::<Version>().is_err() => (self.side(None)?, self.side(Some(file))?),
            (Some(from), to) => (self.side(Some(from))?, self.side(to)?),
            (None, _) => {
                let current = self.shown(None)?;
                let history: History = self.ask(Method::GET, "/api/v1/config/versions", None)?;
                let earlier = history.versions.iter().map(|meta| meta.version).filter(|it| *it < current.meta.version);
                let Some(before) = earlier.max() else {
                    return Err(Failure::new("there is nothing before the current version"));
                };
                (self.side(Some(&before.to_string()))?, (format!("version {}", current.meta.version), current.text))
            }
        };
        let text = diff::unified(&from.0, &from.1, &to.0, &to.1);
        if self.json {
            output::json(&serde_json::json!({ "from": from.0, "to": to.0, "diff": text }))?;
        } else {
            output::text(&text)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A version or a file, and what it is called.
    fn side(&self, what: Option<&str>) -> Result<(String, String), Failure> {
        let version = match what.map(str::parse::<Version>) {
            None => None,
            Some(Ok(version)) => Some(version),
            Some(Err(_no_number)) => {
                let file = what.unwrap_or_default();
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Failure::usage(format!("`{file}` is no version, and no file: {error}")))?;
                return Ok((file.to_owned(), text));
            }
        };
        let shown = self.shown(version)?;
        Ok((format!("version {}", shown.meta.version), shown.text))
    }
}

/// Who gives the command, as the environment says; for the history only.
fn author() -> String {
    let of = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    of("SUDO_USER").or_else(|| of("USER")).or_else(|| of("LOGNAME")).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bake_is_a_number_with_a_unit() {
        assert_eq!(parse_bake("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_bake("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_bake("24h"), Ok(BAKE_MAX));
        for wrong in ["", "30", "0s", "25h", "1d", "-1s", "99999999999999999999h"] {
            assert!(parse_bake(wrong).is_err(), "{wrong}");
        }
    }
}
