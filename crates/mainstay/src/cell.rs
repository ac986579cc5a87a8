//! `mainstay cell`: how full cells are, and moving an account from one to another.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;

use crate::admin::cells::{CellStatus, MoveAnswer, MoveRequest};
use crate::client::{self, AdminArgs};
use crate::failure::Failure;
use crate::output;

/// Arguments of `mainstay cell`.
#[derive(Debug, Args)]
pub struct CellArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How many accounts each cell has, and how many it takes
    List,
    /// Move an account to another cell
    Move {
        /// The account's name, as requests give it; for API keys as the access log gives it
        account: String,
        /// The cell's name
        cell: String,
        /// How many seconds the account's requests in the old cell are waited for, at most
        #[arg(long, value_name = "SECONDS", default_value_t = 10)]
        drain: u64,
    },
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, or the account cannot be moved.
pub fn cell(args: &CellArgs) -> Result<ExitCode, Failure> {
    let places = [args.admin.place_for_changes()];
    match &args.command {
        Command::List => {
            let cells: Vec<CellStatus> = client::ask(&places, Method::GET, "/api/v1/cells", None)?;
            if args.admin.json { output::json(&cells)? } else { output::text(&table(&cells))? }
        }
        Command::Move { account, cell, drain } => {
            let request = MoveRequest { account: account.clone(), cell: cell.clone(), drain_seconds: *drain };
            let sent = serde_json::to_string(&request).map_err(|error| Failure::new(error.to_string()))?;
            let answer: MoveAnswer = client::ask(&places, Method::POST, "/api/v1/cells", Some(sent))?;
            if args.admin.json { output::json(&answer)? } else { output::text(&describe(&answer, *drain))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(cells: &[CellStatus]) -> String {
    if cells.is_empty() {
        return "the configuration has no cells\n".to_owned();
    }
    let width = cells.iter().map(|cell| cell.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!("{:<width$}  ACCOUNTS  CAPACITY\n", "CELL");
    for cell in cells {
        let closed = if cell.closed { "  closed" } else { "" };
        text.push_str(&format!("{:<width$}  {:>8}  {:>8}{closed}\n", cell.name, cell.accounts, cell.capacity));
    }
    text
}

fn describe(answer: &MoveAnswer, drain: u64) -> String {
    let MoveAnswer { account, cell, moved } = answer;
    if *moved {
        return format!("{account} is in {cell}\n");
    }
    format!(
        "{account} goes to {cell} when its requests under way are over, in {drain} s at the latest; until then new ones are \
         answered 503\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_happens() {
        let answer = MoveAnswer { account: "acme".to_owned(), cell: "c2".to_owned(), moved: true };
        assert_eq!(describe(&answer, 10), "acme is in c2\n");
        assert!(describe(&MoveAnswer { moved: false, ..answer }, 7).contains("in 7 s at the latest"));
        let cell = CellStatus { name: "c1".to_owned(), accounts: 3, capacity: 100, closed: true };
        assert_eq!(table(&[cell]), "CELL  ACCOUNTS  CAPACITY\nc1           3       100  closed\n");
        assert!(table(&[]).contains("no cells"));
    }
}
