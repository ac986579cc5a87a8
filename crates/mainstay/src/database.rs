//! `mainstay database`: who is primary of a group of database servers, and changing that.

mod import;
pub mod rest;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use hyper::Method;

use crate::admin::databases::document::{ChangeAnswer, ChangeRequest, DatabaseStatus};
use crate::client::{self, AdminArgs, Place};
use crate::failure::Failure;
use crate::output;
use crate::status::databases::page;
use crate::status::table::Paint;

/// Between two looks at whether a change is done.
const LOOK: Duration = Duration::from_millis(200);
/// How long it is waited until a pause is in force, or over.
const PAUSE_WITHIN: Duration = Duration::from_secs(10);

/// Arguments of `mainstay database`.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Who is primary, who follows how far behind, and what the group can promise
    Status {
        /// One group only
        database: Option<String>,
    },
    /// Make another member primary in order: nothing is lost
    Switchover {
        /// The group
        database: String,
        /// The member that becomes primary [default: the best one]
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Make another member primary at once; with --to that one, whatever it lacks
    Failover {
        /// The group
        database: String,
        /// The member that becomes primary, even if acknowledged writes are lost by that
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Delete a replica's data and copy them anew from the primary
    Reinit {
        /// The group
        database: String,
        /// The member
        node: String,
        #[command(flatten)]
        how: How,
    },
    /// Change nothing over by itself, for maintenance
    Pause {
        /// The group
        database: String,
        #[command(flatten)]
        how: How,
    },
    /// End a pause
    Resume {
        /// The group
        database: String,
        #[command(flatten)]
        how: How,
    },
    /// Print what a patroni.yml says as a [[database]], with remarks on what is not the same
    ImportPatroni {
        /// This node's file; then those of the other members, which only say where they are
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct How {
    /// Do not ask first
    #[arg(long, short)]
    yes: bool,
    /// Only say what would be done, and what it risks
    #[arg(long)]
    dry_run: bool,
    /// How many seconds the change is waited for; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, the change is refused, or is not done in time.
pub fn database(args: &DatabaseArgs) -> Result<ExitCode, Failure> {
    let change = |database: &str, action: &str, node: Option<&String>, how: &How| {
        let wish = Wish { database, action, node: node.cloned() };
        change(&args.admin, &wish, how)
    };
    match &args.command {
        Command::Status { database } => show(&args.admin, database.as_deref()),
        Command::Switchover { database, to, how } => change(database, "switchover", to.as_ref(), how),
        Command::Failover { database, to, how } => change(database, "failover", to.as_ref(), how),
        Command::Reinit { database, node, how } => change(database, "reinit", Some(node), how),
        Command::Pause { database, how } => change(database, "pause", None, how),
        Command::Resume { database, how } => change(database, "resume", None, how),
        Command::ImportPatroni { files } => {
            output::text(&import::import(files)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn list(places: &[Place]) -> Result<Vec<DatabaseStatus>, Failure> {
    client::ask(places, Method::GET, "/api/v1/databases", None)
}

/// Exits with 1 while a group takes no writes, so that scripts can ask.
fn show(admin: &AdminArgs, name: Option<&str>) -> Result<ExitCode, Failure> {
    let mut databases = list(&admin.places())?;
    if let Some(name) = name {
        databases.retain(|database| database.name == name);
        if databases.is_empty() {
            return Err(Failure::new(format!("there is no group `{name}`")).hint("leave the name out to see all"));
        }
    }
    if admin.json {
        output::json(&databases)?
    } else {
        output::text(&page(&databases, Paint::for_stdout()))?
    }
    let is_down = databases.iter().any(|database| database.state == "bad");
    Ok(if is_down { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is asked for.
struct Wish<'a> {
    database: &'a str,
    action: &'a str,
    node: Option<String>,
}

impl Wish<'_> {
    fn ask(&self, places: &[Place], dry_run: bool) -> Result<ChangeAnswer, Failure> {
        let request = ChangeRequest { node: self.node.clone(), dry_run };
        let sent = serde_json::to_string(&request).map_err(|error| Failure::new(error.to_string()))?;
        let path = format!("/api/v1/databases/{}/{}", self.database, self.action);
        client::ask(places, Method::POST, &path, Some(sent))
    }
}

fn change(admin: &AdminArgs, wish: &Wish<'_>, how: &How) -> Result<ExitCode, Failure> {
    if !is_name(wish.database) {
        return Err(Failure::usage(format!("`{}` is no group's name", wish.database)));
    }
    let places = [admin.place_for_changes()];
    let forecast = wish.ask(&places, true)?;
    if how.dry_run {
        if admin.json {
            output::json(&forecast)?
        } else {
            output::text(&told(&forecast))?
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !admin.json {
        output::text(&told(&forecast))?;
    }
    if !how.yes && !forecast.risks.is_empty() && !confirmed(wish)? {
        return Err(Failure::new("nothing was changed"));
    }
    let answer = wish.ask(&places, false)?;
    let waits = matches!(wish.action, "switchover" | "failover") && how.wait > 0;
    let stands = pause_stands(&places, wish, how.wait);
    let took = if waits { Some(wait(&places, wish, &answer, how.wait)?) } else { None };
    if admin.json {
        output::json(&answer)?;
    } else {
        output::text(&done(wish, took, &stands))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn told(forecast: &ChangeAnswer) -> String {
    let mut text = format!("{}\n", forecast.text);
    for risk in &forecast.risks {
        text.push_str(&format!("  risk: {risk}\n"));
    }
    text
}

/// Asks the person; without one there is nobody to ask, and nothing is done.
fn confirmed(wish: &Wish<'_>) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage("nobody can be asked whether this is meant").hint("add --yes if it is"));
    }
    let refused = |error: std::io::Error| Failure::new(format!("cannot ask: {error}"));
    let mut stderr = std::io::stderr();
    write!(stderr, "{} {}? [y/N] ", wish.action, wish.database).and_then(|()| stderr.flush()).map_err(refused)?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line).map_err(refused)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Who takes writes in the end, and after how long.
fn wait(places: &[Place], wish: &Wish<'_>, answer: &ChangeAnswer, seconds: u64) -> Result<(String, Duration), Failure> {
    let began = Instant::now();
    let limit = Duration::from_secs(seconds.min(3600));
    let mut last = "nothing was heard of it".to_owned();
    loop {
        // The node that is asked may be the one whose server stops.
        if let Ok(databases) = list(places)
            && let Some(database) = databases.into_iter().find(|database| database.name == wish.database)
        {
            let is_over = database.phase == "serving" && database.term > answer.term;
            let takes_writes = database.members.iter().find(|it| Some(&it.node) == database.primary.as_ref());
            match takes_writes.filter(|member| is_over && member.state == "running") {
                Some(member) => return Ok((member.node.clone(), began.elapsed())),
                None => last = database.verdict,
            }
        }
        if began.elapsed() >= limit {
            let failure = Failure::new(format!("{} is not over after {seconds} s: {last}", wish.action));
            return Err(failure.hint(format!("`mainstay database status {}` shows what it waits for", wish.database)));
        }
        std::thread::sleep(LOOK);
    }
}

/// How far a pause or its end has come, once it stands or nothing more is heard of it for a while.
fn pause_stands(places: &[Place], wish: &Wish<'_>, seconds: u64) -> String {
    let wanted = match wish.action {
        "pause" => "on",
        "resume" => "off",
        _other => return String::new(),
    };
    let (began, limit) = (Instant::now(), PAUSE_WITHIN.min(Duration::from_secs(seconds)));
    loop {
        let found = list(places).ok().and_then(|all| all.into_iter().find(|it| it.name == wish.database));
        let stands = found.map(|database| database.pause).unwrap_or_default();
        if stands == wanted || began.elapsed() >= limit {
            return stands;
        }
        std::thread::sleep(LOOK);
    }
}

fn done(wish: &Wish<'_>, took: Option<(String, Duration)>, stands: &str) -> String {
    match took {
        Some((node, took)) => format!("{node} takes writes after {:.1} s\n", took.as_secs_f64()),
        None => match wish.action {
            "pause" if stands == "on" => format!("{} is paused: it is in force\n", wish.database),
            "pause" => format!(
                "{0} is to be paused; `mainstay database status {0}` says once it is in force. Until then its primary stops with \
                 its node's lease\n",
                wish.database
            ),
            "resume" if stands == "off" => format!("{} is not paused any more\n", wish.database),
            "resume" => format!(
                "{0} is resumed, which its primary has not been heard to know of; `mainstay database status {0}` says once it has\n",
                wish.database
            ),
            "reinit" => format!("`mainstay database status {}` shows how far it is\n", wish.database),
            _change => format!("asked for; `mainstay database status {}` shows what comes of it\n", wish.database),
        },
    }
}
