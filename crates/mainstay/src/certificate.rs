//! `mainstay certificate`: certificates in use, and orders of those that authorities issue.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;

use crate::admin::acme::{RenewAnswer, RenewRequest, SuggestedWindow};
use crate::admin::certificates::{CertificateStatus, CertificatesAnswer};
use crate::client::{self, AdminArgs};
use crate::failure::Failure;
use crate::output;

/// Arguments of `mainstay certificate`.
#[derive(Debug, Args)]
pub struct CertificateArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every certificate in use, how long it is valid, and how its orders fare
    List,
    /// Order a certificate of an [[acme]] now, whenever it ends
    Renew {
        /// The name of the [[acme]]
        name: String,
    },
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, or there is no such certificate.
pub fn certificate(args: &CertificateArgs) -> Result<ExitCode, Failure> {
    let places = [args.admin.place_for_changes()];
    match &args.command {
        Command::List => {
            let answer: CertificatesAnswer = client::ask(&places, Method::GET, "/api/v1/certificates", None)?;
            if args.admin.json { output::json(&answer.items)? } else { output::text(&table(&answer.items))? }
        }
        Command::Renew { name } => {
            let sent = serde_json::to_string(&RenewRequest { name: name.clone() });
            let sent = sent.map_err(|error| Failure::new(error.to_string()))?;
            let path = "/api/v1/certificates/renew";
            let answer: RenewAnswer = client::ask(&places, Method::POST, path, Some(sent))?;
            if args.admin.json {
                output::json(&answer)?;
            } else {
                let name = &answer.name;
                output::text(&format!(
                    "{name} is ordered as soon as the authority's limits allow; `mainstay certificate list` tells what \
                     comes of it\n"
                ))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(items: &[CertificateStatus]) -> String {
    if items.is_empty() {
        return "no certificate is in use\n".to_owned();
    }
    let width = |text: fn(&CertificateStatus) -> &str, least: usize| {
        items.iter().map(|it| text(it).chars().count()).max().unwrap_or(0).max(least)
    };
    let (usage, subject) = (width(|it| &it.usage, 5), width(|it| &it.subject, 7));
    let mut text = format!("{:<usage$}  {:<subject$}  {:>9}  UNTIL\n", "USAGE", "SUBJECT", "DAYS LEFT");
    for it in items {
        let days = it.days_left.map_or_else(|| "-".to_owned(), |days| format!("{days:.1}"));
        let until = it.not_after.as_deref().unwrap_or("-");
        text.push_str(&format!("{:<usage$}  {:<subject$}  {days:>9}  {until}\n", it.usage, it.subject));
        if let Some(problem) = &it.problem {
            text.push_str(&format!("  {problem}\n"));
        }
        let Some(acme) = &it.acme else { continue };
        if let (Some(error), None) = (&acme.last_error, &it.problem) {
            text.push_str(&format!("  the last order has failed ({} in a row): {error}\n", acme.failures));
        }
        if let (Some(next), Some(why)) = (&acme.next_order, &acme.next_why) {
            text.push_str(&format!("  next order {next} ({why})\n"));
        }
        if let Some(SuggestedWindow { start, end, explanation }) = &acme.suggested {
            let because = explanation.as_ref().map_or_else(String::new, |page| format!(", see {page}"));
            text.push_str(&format!("  the authority would have it renewed from {start} to {end}{because}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::acme::AcmeStatus;

    #[test]
    fn it_says_what_is_missing_and_why() {
        let acme = AcmeStatus {
            name: "public".to_owned(),
            failures: 2,
            last_error: Some("no route to the authority".to_owned()),
            next_order: Some("2026-11-22T04:00:00.000Z".to_owned()),
            next_why: Some("suggested".to_owned()),
            suggested: Some(SuggestedWindow {
                start: "2026-11-22T03:00:00.000Z".to_owned(),
                end: "2026-11-22T05:00:00.000Z".to_owned(),
                explanation: Some("https://ca.test/why".to_owned()),
            }),
            ..AcmeStatus::default()
        };
        let status = CertificateStatus {
            usage: "acme public".to_owned(),
            subject: "shop.test".to_owned(),
            days_left: Some(29.5),
            acme: Some(acme),
            ..CertificateStatus::default()
        };
        let text = table(std::slice::from_ref(&status));
        assert!(text.contains("acme public  shop.test       29.5"), "{text}");
        assert!(text.contains("failed (2 in a row): no route to the authority"), "{text}");
        assert!(text.contains("next order 2026-11-22T04:00:00.000Z (suggested)"), "{text}");
        let window = "from 2026-11-22T03:00:00.000Z to 2026-11-22T05:00:00.000Z, see https://ca.test/why";
        assert!(text.contains(window), "{text}");
        assert_eq!(table(&[]), "no certificate is in use\n");
    }
}
