//! `mainstay weight`, `eject` and `reset`: what an operator wants of one endpoint, on one node.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde::Serialize;

use crate::admin::drains::{EjectRequest, EndpointAnswer, ResetRequest, WeightRequest};
use crate::client::{self, AdminArgs};
use crate::config::parse_duration;
use crate::drain::named;
use crate::failure::Failure;
use crate::output;

/// Arguments of `mainstay weight`.
#[derive(Debug, Args)]
pub struct WeightArgs {
    /// The service's name and the endpoint's address, as configured
    #[arg(value_name = "SERVICE/ENDPOINT")]
    target: String,
    /// Its share of traffic relative to the others
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000), required_unless_present = "undo")]
    weight: Option<u32>,
    /// As configured again
    #[arg(long, conflicts_with = "weight")]
    undo: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Arguments of `mainstay eject`.
#[derive(Debug, Args)]
pub struct EjectArgs {
    /// The service's name and the endpoint's address, as configured
    #[arg(value_name = "SERVICE/ENDPOINT")]
    target: String,
    /// For how long it gets no requests: 30s, 5m, up to a day
    #[arg(long = "for", value_name = "TIME", default_value = "60s")]
    lasts: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Arguments of `mainstay reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// The service's name and the endpoint's address, as configured
    #[arg(value_name = "SERVICE/ENDPOINT")]
    target: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Carries `mainstay weight` out.
///
/// # Errors
/// If no node answers or it knows no such endpoint.
pub fn weight(args: &WeightArgs) -> Result<ExitCode, Failure> {
    let (service, endpoint) = named(&args.target)?;
    let request = WeightRequest { service: service.to_owned(), endpoint: endpoint.to_owned(), weight: args.weight };
    let answer = order(&args.admin, "/api/v1/weight", &request)?;
    let how = if args.undo { ", as configured" } else { " until --undo" };
    told(&args.admin, &answer, &format!("{} has weight {} on this node{how}\n", args.target, answer.weight))
}

/// Carries `mainstay eject` out.
///
/// # Errors
/// As [`weight`].
pub fn eject(args: &EjectArgs) -> Result<ExitCode, Failure> {
    let (service, endpoint) = named(&args.target)?;
    let lasts = parse_duration(&args.lasts).map_err(|why| Failure::usage(format!("--for: {why}")))?;
    let request =
        EjectRequest { service: service.to_owned(), endpoint: endpoint.to_owned(), seconds: lasts.as_secs().max(1) };
    let answer = order(&args.admin, "/api/v1/eject", &request)?;
    let text = format!(
        "{} gets no requests from this node for {}s; `mainstay reset` ends that\n",
        args.target, request.seconds
    );
    told(&args.admin, &answer, &text)
}

/// Carries `mainstay reset` out.
///
/// # Errors
/// As [`weight`].
pub fn reset(args: &ResetArgs) -> Result<ExitCode, Failure> {
    let (service, endpoint) = named(&args.target)?;
    let request = ResetRequest { service: service.to_owned(), endpoint: endpoint.to_owned() };
    let answer = order(&args.admin, "/api/v1/reset", &request)?;
    told(&args.admin, &answer, &format!("{} is judged anew by this node: no ejection, breaker closed\n", args.target))
}

fn order(admin: &AdminArgs, path: &str, request: &impl Serialize) -> Result<EndpointAnswer, Failure> {
    let sent = serde_json::to_string(request).map_err(|error| Failure::new(error.to_string()))?;
    client::ask(&[admin.place_for_changes()], Method::POST, path, Some(sent))
}

fn told(admin: &AdminArgs, answer: &EndpointAnswer, text: &str) -> Result<ExitCode, Failure> {
    if admin.json {
        output::json(answer)?
    } else {
        output::text(text)?
    }
    Ok(ExitCode::SUCCESS)
}
