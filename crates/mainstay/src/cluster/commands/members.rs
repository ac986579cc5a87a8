//! `mainstay cluster`: asks the running node.

use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;

use super::recover::recover;
use super::{ClusterArgs, Command, TokenArgs};
use crate::admin::cluster::{ClusterStatus, RemoveAnswer, RemoveRequest, TokenAnswer, TokenRequest};
use crate::admin::nodes::NodeEntry;
use crate::client::{self, Place};
use crate::config::parse_duration;
use crate::failure::Failure;
use crate::output;
use crate::status::cluster::{nodes as list, page};
use crate::status::table::Paint;

/// A change of the voters waits until they have caught up.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);

/// Carries the command out.
///
/// # Errors
/// If no node answers, or the cluster refuses.
pub fn cluster(args: &ClusterArgs) -> Result<ExitCode, Failure> {
    let places = [args.admin.place_for_changes()];
    match &args.command {
        Command::Status => status(args, &places)?,
        Command::Nodes => nodes(args)?,
        Command::Add { name, token } => add(args, &places, name, token)?,
        Command::Token { token } => {
            let answer = make_token(&places, None, token)?;
            if args.admin.json { output::json(&answer)? } else { output::text(&format!("{}\n", answer.token))? }
        }
        Command::Remove { name, two } => remove(args, &places, name, *two)?,
        Command::Recover { config, force } => recover(config, *force, args.admin.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn status(args: &ClusterArgs, places: &[Place]) -> Result<(), Failure> {
    let status: ClusterStatus = client::ask(places, Method::GET, "/api/v1/cluster", None)?;
    if args.admin.json { output::json(&status) } else { output::text(&page(&status, Paint::for_stdout())) }
}

fn nodes(args: &ClusterArgs) -> Result<(), Failure> {
    let nodes: Vec<NodeEntry> = client::ask(&args.admin.places(), Method::GET, "/api/v1/nodes", None)?;
    if args.admin.json { output::json(&nodes) } else { output::text(&list(&nodes, Paint::for_stdout())) }
}

fn make_token(places: &[Place], name: Option<&str>, args: &TokenArgs) -> Result<TokenAnswer, Failure> {
    let life = parse_duration(&args.life).map_err(|why| Failure::usage(format!("--for: {why}")))?;
    let request = TokenRequest {
        seconds: life.as_secs(),
        voter: !args.no_vote,
        name: name.map(str::to_owned),
        replace: args.replace.clone(),
    };
    client::ask(places, Method::POST, "/api/v1/cluster/token", Some(sent(&request)?))
}

fn add(args: &ClusterArgs, places: &[Place], name: &str, token: &TokenArgs) -> Result<(), Failure> {
    let answer = make_token(places, Some(name), token)?;
    if args.admin.json {
        return output::json(&answer);
    }
    let becomes = match (&token.replace, token.no_vote) {
        (Some(old), _) => format!("takes the place of {old}, which is removed for ever"),
        (None, true) => "follows without a vote".to_owned(),
        (None, false) => "votes once it has caught up, if the number of voters is odd with it".to_owned(),
    };
    output::text(&format!(
        "on the new node, with name = \"{name}\", data_dir and [cluster] in its configuration, within {}:\n\n  \
         mainstay join {} -c FILE\n  mainstay run -c FILE\n\n\
         It asks {}. Then it {becomes}. The token lets one node in, once: whoever has it can join.\n",
        token.life,
        answer.token,
        answer.addresses.join(" or "),
    ))
}

fn remove(args: &ClusterArgs, places: &[Place], name: &str, two: bool) -> Result<(), Failure> {
    let request = RemoveRequest { name: name.to_owned(), two };
    let answer: RemoveAnswer =
        client::ask_within(places, Method::POST, "/api/v1/cluster/remove", Some(sent(&request)?), CHANGE_LIMIT)?;
    if args.admin.json {
        return output::json(&answer);
    }
    output::text(&format!(
        "{} (node {}) belongs to the cluster no more; these vote: {}\nstop it if it runs, and delete its folder before it \
         joins again\n",
        answer.name,
        answer.id,
        answer.voters.join(", ")
    ))
}

fn sent(request: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(request).map_err(|error| Failure::new(error.to_string()))
}
