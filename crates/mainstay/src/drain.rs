//! `mainstay drain`: takes one endpoint out of service, or back in.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use crate::admin::drains::{DrainAnswer, DrainRequest};
use crate::client::{self, AdminArgs};
use crate::failure::Failure;
use crate::output;

/// Arguments of `mainstay drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// The service's name and the endpoint's address, as configured
    #[arg(value_name = "SERVICE/ENDPOINT")]
    target: String,
    /// Send it new requests again
    #[arg(long)]
    undo: bool,
    /// On this node alone, although it belongs to a cluster
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Carries the command out.
///
/// # Errors
/// If no node answers or it knows no such endpoint.
pub fn drain(args: &DrainArgs) -> Result<ExitCode, Failure> {
    let (service, endpoint) =
        args.target.split_once('/').filter(|(s, e)| !s.is_empty() && !e.is_empty()).ok_or_else(|| {
            Failure::usage(format!("`{}` does not name a service and an endpoint", args.target))
                .hint("write SERVICE/ENDPOINT, such as checkout/10.0.1.10:8080; `mainstay status` lists them")
        })?;
    let request = DrainRequest {
        service: service.to_owned(),
        endpoint: endpoint.to_owned(),
        drain: !args.undo,
        local: args.local,
    };
    let sent = serde_json::to_string(&request).map_err(|error| Failure::new(error.to_string()))?;
    let answer: DrainAnswer =
        client::ask(&[args.admin.place_for_changes()], Method::POST, "/api/v1/drain", Some(sent))?;
    if args.admin.json {
        output::json(&answer)?;
    } else {
        output::text(&describe(&answer, args.undo))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(answer: &DrainAnswer, undo: bool) -> String {
    let DrainAnswer { service, endpoint, in_flight, eligible, .. } = answer;
    let rest = match (undo, answer.draining) {
        (true, true) => return format!("{service}/{endpoint} stays drained: the configuration says `drain = true`\n"),
        (true, false) => return format!("{service}/{endpoint} gets new requests again, once it is healthy\n"),
        (false, _) => format!("{service}/{endpoint} gets no new requests; {in_flight} in flight are finished"),
    };
    match eligible {
        0 => format!("{rest}\nwarning: no other endpoint of {service} gets traffic; undo with --undo\n"),
        1 => format!("{rest}; 1 other endpoint serves on\n"),
        others => format!("{rest}; {others} other endpoints serve on\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(draining: bool, eligible: u64) -> DrainAnswer {
        let (service, endpoint) = ("shop".to_owned(), "10.0.0.1:80".to_owned());
        DrainAnswer { service, endpoint, draining, in_flight: 3, eligible }
    }

    #[test]
    fn it_says_what_happened_and_what_is_left() {
        assert_eq!(
            describe(&answer(true, 1), false),
            "shop/10.0.0.1:80 gets no new requests; 3 in flight are finished; 1 other endpoint serves on\n"
        );
        assert!(describe(&answer(true, 0), false).contains("warning: no other endpoint"));
        assert!(describe(&answer(true, 1), true).contains("stays drained"));
        assert!(describe(&answer(false, 2), true).contains("gets new requests again"));
    }
}
