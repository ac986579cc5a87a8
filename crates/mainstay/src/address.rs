//! `mainstay address`: who holds which floating address, and moving one to another node.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use hyper::Method;

use crate::admin::addresses::{AddressStatus, DRAIN_SECONDS_MAX, MoveAnswer, MoveRequest};
use crate::client::{self, AdminArgs};
use crate::config;
use crate::failure::Failure;
use crate::output;

/// Between two looks at whether an address has moved.
const LOOK: Duration = Duration::from_millis(100);

/// Arguments of `mainstay address`.
#[derive(Debug, Args)]
pub struct AddressArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Which node holds which address, and which ones could
    List,
    /// Move an address to another node, where it stays until that one fails
    Move {
        /// The address, without its prefix
        address: IpAddr,
        /// The node's name
        node: String,
        /// How long the present holder waits for connections to end, up to 10m [default: the address's `drain`]
        #[arg(long, value_name = "TIME")]
        drain: Option<String>,
        /// How many seconds the move is waited for, after `--drain`
        #[arg(long, value_name = "SECONDS", default_value_t = 15)]
        wait: u64,
    },
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, or the address cannot be moved there.
pub fn address(args: &AddressArgs) -> Result<ExitCode, Failure> {
    let places = [args.admin.place_for_changes()];
    let list = || client::ask::<Vec<AddressStatus>>(&places, Method::GET, "/api/v1/addresses", None);
    match &args.command {
        Command::List => {
            let addresses = list()?;
            if args.admin.json { output::json(&addresses)? } else { output::text(&table(&addresses))? }
        }
        Command::Move { address, node, drain, wait } => {
            let drain_seconds = drain.as_deref().map(seconds).transpose()?;
            let request = MoveRequest { ip: *address, node: node.clone(), drain_seconds };
            let sent = serde_json::to_string(&request).map_err(|error| Failure::new(error.to_string()))?;
            let answer: MoveAnswer = client::ask(&places, Method::POST, "/api/v1/addresses", Some(sent))?;
            let wait = (*wait).min(3600) + drain_seconds.unwrap_or_default();
            let end = Instant::now() + Duration::from_secs(wait);
            let is_there = |status: &AddressStatus| status.ip == *address && status.holder.as_ref() == Some(node);
            while !list()?.iter().any(is_there) {
                if Instant::now() >= end {
                    let failure = Failure::new(format!("{address} is not at {node} after {wait} s"));
                    return Err(failure.hint("`mainstay address list` shows where it is, and that node's log why"));
                }
                std::thread::sleep(LOOK);
            }
            if args.admin.json { output::json(&answer)? } else { output::text(&describe(&answer))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn seconds(text: &str) -> Result<u64, Failure> {
    let limit = Duration::from_secs(DRAIN_SECONDS_MAX);
    match config::parse_duration(text) {
        Ok(time) if time.subsec_nanos() == 0 && time <= limit => Ok(time.as_secs()),
        Ok(_) => Err(Failure::usage(format!("--drain {text}: write whole seconds, up to 10m"))),
        Err(why) => Err(Failure::usage(format!("--drain {text}: {why}"))),
    }
}

fn table(addresses: &[AddressStatus]) -> String {
    if addresses.is_empty() {
        return "the configuration has no [[address]], or the node is not in its cluster yet\n".to_owned();
    }
    let width =
        |of: &dyn Fn(&AddressStatus) -> usize, least: usize| addresses.iter().map(of).max().unwrap_or(0).max(least);
    let ips = width(&|it| it.ip.to_string().len(), 7);
    let names = width(&|it| it.holder.as_ref().map_or(0, String::len), 6);
    let places = width(&|it| it.interface.as_ref().map_or(9, String::len), 9);
    let mut text = format!("{:<ips$}  {:<names$}  {:<places$}  CANDIDATES\n", "ADDRESS", "HOLDER", "INTERFACE");
    for it in addresses {
        let (holder, place) = (it.holder.as_deref().unwrap_or("-"), it.interface.as_deref().unwrap_or("listeners"));
        let ip = it.ip.to_string();
        text.push_str(&format!("{ip:<ips$}  {holder:<names$}  {place:<places$}  {}\n", it.candidates.join(" ")));
        if let Some(problem) = &it.problem {
            text.push_str(&format!("  not possible here: {problem}\n"));
        }
    }
    text
}

fn describe(answer: &MoveAnswer) -> String {
    let MoveAnswer { ip, from, to } = answer;
    match from {
        Some(from) if from == to => format!("{ip} is at {to} already\n"),
        Some(from) => format!("{ip} has moved from {from} to {to}\n"),
        None => format!("{ip} is at {to}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_addresses_are() {
        let status = AddressStatus {
            ip: [10, 0, 1, 100].into(),
            interface: Some("eth0".to_owned()),
            holder: Some("lb1".to_owned()),
            token: Some(7),
            belongs: Some("lb1".to_owned()),
            here: false,
            taken: 0,
            candidates: vec!["lb1".to_owned(), "lb2".to_owned()],
            problem: None,
            etag: "\"1\"".to_owned(),
        };
        assert_eq!(
            table(std::slice::from_ref(&status)),
            "ADDRESS     HOLDER  INTERFACE  CANDIDATES\n10.0.1.100  lb1     eth0       lb1 lb2\n"
        );
        let problem = AddressStatus { holder: None, interface: None, problem: Some("no eth0".to_owned()), ..status };
        assert!(table(&[problem]).ends_with("10.0.1.100  -       listeners  lb1 lb2\n  not possible here: no eth0\n"));
        assert!(table(&[]).contains("no [[address]]"));
        let moved = MoveAnswer { ip: [10, 0, 1, 100].into(), from: Some("lb1".to_owned()), to: "lb2".to_owned() };
        assert_eq!(describe(&moved), "10.0.1.100 has moved from lb1 to lb2\n");
    }
}
