//! `mainstay drain`: takes one endpoint out of service, or back in.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use crate::admin::drains::{DrainRequest, EndpointAnswer};
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
    let (service, endpoint) = named(&args.target)?;
    let request = DrainRequest {
        service: service.to_owned(),
        endpoint: endpoint.to_owned(),
        drain: !args.undo,
        local: args.local,
    };
    let sent = serde_json::to_string(&request).map_err(|error| Failure::new(error.to_string()))?;
    let answer: EndpointAnswer =
        client::ask(&[args.admin.place_for_changes()], Method::POST, "/api/v1/drain", Some(sent))?;
    if args.admin.json {
        output::json(&answer)?;
    } else {
        output::text(&describe(&answer, args.undo))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The service and the endpoint that SERVICE/ENDPOINT names.
///
/// # Errors
/// If it is nothing of the kind.
pub fn named(target: &str) -> Result<(&str, &str), Failure> {
    target.split_once('/').filter(|(service, endpoint)| !service.is_empty() && !endpoint.is_empty()).ok_or_else(|| {
        Failure::usage(format!("`{target}` does not name a service and an endpoint"))
            .hint("write SERVICE/ENDPOINT, such as checkout/10.0.1.10:8080; `mainstay status` lists them")
    })
}

fn describe(answer: &EndpointAnswer, undo: bool) -> String {
    let EndpointAnswer { service, endpoint, in_flight, eligible, .. } = answer;
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

    fn answer(draining: bool, eligible: u64) -> EndpointAnswer {
        let (service, endpoint) = ("shop".to_owned(), "10.0.0.1:80".to_owned());
        EndpointAnswer {
            service,
            endpoint,
            draining,
            in_flight: 3,
            eligible,
            weight: 1,
            ejected: false,
            etag: String::new(),
        }
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
