//! `mainstay status`: what a running node does, for people or as JSON.

mod attention;
pub mod cluster;
pub mod databases;
pub mod overview;
mod shared;
pub mod table;
pub mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;

use crate::admin::document::Status;
use crate::admin::overview::Overview;
use crate::client::{self, AdminArgs, Place};
use crate::failure::Failure;
use crate::output;
use crate::status::table::Paint;

/// Time between two looks with `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Cursor to the top left, clear from there to the end.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Arguments of `mainstay status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Look again every second, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// All nodes of the cluster on one page, with what they counted added up
    #[arg(long)]
    cluster: bool,
}

/// Carries the command out.
///
/// # Errors
/// If no node answers.
pub fn status(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let places = args.admin.places();
    loop {
        let text = answer(args, &places)?;
        let clears = args.watch && !args.admin.json && std::io::stdout().is_terminal();
        output::text(&if clears { format!("{CLEAR}{text}") } else { text })?;
        if !args.watch {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

fn answer(args: &StatusArgs, places: &[Place]) -> Result<String, Failure> {
    let path = if args.cluster { "/api/v1/overview?scope=cluster" } else { "/api/v1/status" };
    if args.admin.json {
        // As the node sent it: a newer node may say more than this program knows.
        let answer: serde_json::Value = client::ask(places, Method::GET, path, None)?;
        return Ok(if args.watch { format!("{answer}\n") } else { format!("{answer:#}\n") });
    }
    if args.cluster {
        let page: Overview = client::ask(places, Method::GET, path, None)?;
        return Ok(overview::page(&page, Paint::for_stdout()));
    }
    let status: Status = client::ask(places, Method::GET, path, None)?;
    Ok(view::render(&status, Paint::for_stdout()))
}
