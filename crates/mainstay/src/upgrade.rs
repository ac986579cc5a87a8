//! `mainstay upgrade`: a new process takes over from the one that serves, without losing a connection.

pub mod event;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::client::{self, AdminArgs, Place};
use crate::failure::Failure;
use crate::output;
use crate::upgrade::event::{Done, Event, UpgradeRequest};

/// How long the new process may take to get ready, if the command does not say.
pub const READY_SECONDS: u64 = 30;
/// Beyond the new process's time: for checks before, and the answer after it.
const AROUND: Duration = Duration::from_secs(30);

/// Arguments of `mainstay upgrade`.
#[derive(Debug, Args)]
pub struct UpgradeArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The program to start [default: the path that the node was started from]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// How long the new process may take to get ready
    #[arg(long, value_name = "SECONDS", default_value_t = READY_SECONDS, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
}

/// Carries the command out.
///
/// # Errors
/// If no node answers, or the upgrade failed; the node goes on as before then.
pub fn upgrade(args: &UpgradeArgs) -> Result<ExitCode, Failure> {
    let place = args.admin.place_for_changes();
    let absolute = |path: &PathBuf| {
        let said = |error| Failure::usage(format!("--binary {}: {error}", path.display()));
        std::path::absolute(path).map_err(said)
    };
    let binary = args.binary.as_ref().map(absolute).transpose()?;
    let request = UpgradeRequest { binary, timeout_seconds: Some(args.timeout) };
    let sent = serde_json::to_string(&request).map_err(|error| Failure::new(error.to_string()))?;
    let mut last = None;
    let limit = Duration::from_secs(args.timeout) + AROUND;
    client::follow(&place, "/api/v1/upgrade", (sent, None), limit, |event: Event| {
        let written = if args.admin.json { Ok(()) } else { output::text(&told(&event)) };
        last = Some(event);
        written
    })?;
    match last {
        Some(Event::Done(done)) => {
            if args.admin.json {
                output::json(&done)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Event::Failed { error, hint, log }) => Err(refused(error, hint, &log)),
        Some(_) | None => Err(broke_off(&place)),
    }
}

fn broke_off(place: &Place) -> Failure {
    let hint = format!("`mainstay status --admin {place}` shows which process serves");
    Failure::new("the node broke off in the middle of the upgrade").hint(hint)
}

fn refused(error: String, hint: Option<String>, log: &[String]) -> Failure {
    let mut text = format!("not upgraded, the node serves as before: {error}");
    for line in log {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    match hint {
        Some(hint) => Failure::new(text).hint(hint),
        None => Failure::new(text),
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Checking { binary, pid, version } => {
            format!("upgrading pid {pid} (version {version}) with {}\n", binary.display())
        }
        Event::Checked { version, configuration: Some(file) } => {
            format!("  it is version {version} and accepts {}\n", file.display())
        }
        Event::Checked { version, configuration: None } => format!("  it is version {version}\n"),
        Event::Started { pid } => format!("  pid {pid} is started\n"),
        Event::Ready { pid } => format!("  pid {pid} has the sockets and knows the endpoints\n"),
        Event::Done(done) => finished(done),
        Event::Failed { .. } => String::new(),
    }
}

fn finished(done: &Done) -> String {
    let Done { old_pid, new_pid, new_version, connections_left, deadline_seconds, .. } = done;
    let left = match connections_left {
        0 => "leaves: it has no connections".to_owned(),
        1 => format!("finishes 1 connection, for {deadline_seconds} s at most"),
        more => format!("finishes {more} connections, for {deadline_seconds} s at most"),
    };
    format!("done: pid {new_pid} (version {new_version}) serves; pid {old_pid} {left}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_happened() {
        let mut done = Done {
            old_pid: 1,
            old_version: "0.1.0".to_owned(),
            new_pid: 2,
            new_version: "0.2.0".to_owned(),
            connections_left: 0,
            deadline_seconds: 30,
        };
        assert_eq!(finished(&done), "done: pid 2 (version 0.2.0) serves; pid 1 leaves: it has no connections\n");
        done.connections_left = 3;
        assert!(finished(&done).ends_with("pid 1 finishes 3 connections, for 30 s at most\n"));
        let failed = refused("it died".to_owned(), None, &["last words".to_owned()]).to_string();
        assert_eq!(failed, "error: not upgraded, the node serves as before: it died\n  | last words");
    }

    #[test]
    fn events_survive_the_way() {
        let event = Event::Failed { error: "x".to_owned(), hint: None, log: Vec::new() };
        let text = serde_json::to_string(&event).expect("written");
        assert_eq!(text, r#"{"event":"failed","error":"x"}"#);
        assert_eq!(serde_json::from_str::<Event>(&text).expect("read"), event);
        assert!(event.is_last() && !Event::Started { pid: 1 }.is_last());
    }
}
