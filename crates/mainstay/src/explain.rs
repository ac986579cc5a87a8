//! `mainstay explain`: what became of one recent request and why, for people or as JSON.

pub mod view;

use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use crate::admin::explanation::Requests;
use crate::client::{self, AdminArgs};
use crate::failure::Failure;
use crate::output;
use crate::status::table::Paint;

/// Arguments of `mainstay explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The request's id: `x-request-id` of its response, `id` of its line in the access log
    #[arg(value_name = "REQUEST-ID")]
    id: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, or the node does not know the request.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    if args.id.trim().is_empty() {
        return Err(Failure::usage("the request's id is empty").hint("it is in the response's header `x-request-id`"));
    }
    let places = args.admin.places();
    let path = format!("/api/v1/requests/{}", encoded(args.id.trim()));
    if args.admin.json {
        // As the node sent it: a newer node may say more than this program knows.
        let answer: serde_json::Value = client::ask(&places, Method::GET, &path, None)?;
        output::text(&format!("{answer:#}\n"))?;
    } else {
        let answer: Requests = client::ask(&places, Method::GET, &path, None)?;
        output::text(&view::render(&answer, Paint::for_stdout()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An id as it stands in a path: ids of other proxies may hold slashes.
fn encoded(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    id.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_kind_stand_in_a_path() {
        assert_eq!(encoded("0af7651916cd43dd"), "0af7651916cd43dd");
        assert_eq!(encoded("Root=1-67/a:b?c"), "Root%3D1-67%2Fa%3Ab%3Fc");
        assert_eq!(encoded("é"), "%C3%A9");
    }
}
