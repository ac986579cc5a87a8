//! `mainstay cache`: what a running node has stored.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;

use crate::admin::purge::{PurgeAnswer, PurgeRequest};
use crate::client::{self, AdminArgs};
use crate::failure::Failure;
use crate::output;

/// Arguments of `mainstay cache`.
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Forget stored responses
    Purge(PurgeArgs),
}

#[derive(Debug, Args)]
struct PurgeArgs {
    /// Of this route alone
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Of URLs whose path begins like this alone
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Carries the command out.
///
/// # Errors
/// If no node answers or it has nothing of the kind.
pub fn cache(args: &CacheArgs) -> Result<ExitCode, Failure> {
    let CacheCommand::Purge(args) = &args.command;
    if !args.path.starts_with('/') {
        return Err(Failure::usage(format!("`{}` is not a path", args.path)).hint("a path begins with a slash"));
    }
    let request = PurgeRequest { route: args.route.clone(), path: args.path.clone() };
    let sent = serde_json::to_string(&request).map_err(|error| Failure::new(error.to_string()))?;
    let answer: PurgeAnswer =
        client::ask(&[args.admin.place_for_changes()], Method::POST, "/api/v1/cache/purge", Some(sent))?;
    if args.admin.json {
        output::json(&answer)?;
    } else {
        let responses = if answer.purged == 1 { "response" } else { "responses" };
        output::text(&format!("{} stored {responses} forgotten\n", answer.purged))?;
    }
    Ok(ExitCode::SUCCESS)
}
