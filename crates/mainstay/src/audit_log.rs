//! `mainstay audit-log`: who changed what, and whether the record of it is whole.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use mainstay_admin::audit::{self, Line, Verified};

use crate::admin::audit::AuditPage;
use crate::client::{self, AdminArgs};
use crate::failure::Failure;
use crate::output;

/// Arguments of `mainstay audit-log`.
#[derive(Debug, Args)]
pub struct AuditLogArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The latest changes
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Whether no line was changed, removed, added or moved; exits with 1 if one was
    Verify {
        /// The folder with the record, of a node that need not run [default: ask the node]
        folder: Option<PathBuf>,
    },
    /// All lines that are kept, the oldest first, as they are in the files
    Export,
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, or the folder cannot be read.
pub fn audit_log(args: &AuditLogArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::List { limit } => {
            let page = page(&args.admin, *limit, None)?;
            if args.admin.json { output::json(&page)? } else { output::text(&table(&page))? }
        }
        Command::Verify { folder } => {
            let verified = match folder {
                Some(folder) => {
                    audit::verify(folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?
                }
                None => client::ask(&args.admin.places(), Method::GET, "/api/v1/audit/verify", None)?,
            };
            if args.admin.json {
                output::json(&verified)?
            } else {
                output::text(&told(&verified))?
            }
            return Ok(if verified.intact { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Export => {
            let mut pages = Vec::new();
            let mut cursor = None;
            loop {
                let page = page(&args.admin, 1_000, cursor.as_deref())?;
                cursor = page.next.clone();
                pages.push(page.items);
                if cursor.is_none() {
                    break;
                }
            }
            for line in pages.iter().rev().flat_map(|items| items.iter().rev()) {
                let text = serde_json::to_string(line).map_err(|error| Failure::new(error.to_string()))?;
                output::text(&format!("{text}\n"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn page(admin: &AdminArgs, limit: usize, cursor: Option<&str>) -> Result<AuditPage, Failure> {
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    client::ask(&admin.places(), Method::GET, &format!("/api/v1/audit?limit={limit}{cursor}"), None)
}

fn table(page: &AuditPage) -> String {
    let mut text = String::new();
    for Line { seq, entry, .. } in &page.items {
        let target = if entry.target.is_empty() { String::new() } else { format!("  {}", entry.target) };
        text.push_str(&format!(
            "{seq:>6}  {}  {:<7}  {}  {}{target}  by {} from {}\n",
            entry.time, entry.outcome, entry.status, entry.action, entry.user, entry.from
        ));
    }
    if text.is_empty() {
        text.push_str("nothing was changed yet\n");
    }
    if !page.kept {
        text.push_str("kept in memory only: set `data_dir` under [node] to keep it\n");
    }
    text
}

fn told(verified: &Verified) -> String {
    match &verified.problem {
        None => format!("intact: {} lines from number {}; head {}\n", verified.entries, verified.first, verified.head),
        Some(problem) => format!("NOT INTACT: {problem}; {} lines before it are\n", verified.entries),
    }
}
