//! What is done and what is wrong, in words for people.

use mainstay_core::database::agent::{Action, Stop};
use mainstay_core::database::{Obstacle, Request, Risk, Server};

use super::board::Failover;
use crate::Discarded;

/// What is being done, for people.
pub(super) fn describe(action: &Action) -> String {
    match action {
        Action::Wait => "nothing".to_owned(),
        Action::GiveUp => "waits for an operator".to_owned(),
        Action::Found { term, .. } => format!("makes a new database, as primary of term {term}"),
        Action::Adopt { term } => format!("takes over the running primary with term {term}"),
        Action::Stop(Stop::Immediate) => "stops at once".to_owned(),
        Action::Stop(Stop::Fast) => "stops in order".to_owned(),
        Action::Demote => "becomes a replica of nobody".to_owned(),
        Action::StartPrimary { term, .. } => format!("starts as primary of term {term}"),
        Action::StartReplica { of: Some(of) } => format!("starts as replica of {of}"),
        Action::StartReplica { of: None } => "starts as replica of nobody".to_owned(),
        Action::Follow { of: Some(of) } => format!("turns to {of}"),
        Action::Follow { of: None } => "detaches itself".to_owned(),
        Action::Promote { term, .. } => format!("becomes primary of term {term}"),
        Action::Checkpoint => "writes a checkpoint".to_owned(),
        Action::SetSync { sync, .. } if sync.acks == 0 => "lets commits wait for nobody".to_owned(),
        Action::SetSync { sync, .. } => {
            let names: Vec<&str> = sync.names.iter().map(String::as_str).collect();
            format!("lets commits wait for {} of {}", sync.acks, names.join(", "))
        }
        Action::Resign => "counts as a former primary no more".to_owned(),
        Action::Rewind { of } => format!("is taken back to where the history of {of} leaves its own"),
        Action::Clone { of } => format!("is copied from {of}"),
    }
}

/// An error with everything below it.
pub(super) fn describe_error(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Why nobody is promoted.
pub(super) fn describe_obstacle(obstacle: &Obstacle) -> String {
    let list = |names: &std::collections::BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    match obstacle {
        Obstacle::NotFenced { from } => format!(
            "the old primary {from} may still take writes: its node has a lease and has not said that the server stopped, \
             or the lease ended just now, or the group was paused, so that it runs without one"
        ),
        Obstacle::Unheard { names, missing } => format!(
            "acknowledged writes may be on members that were not heard: {missing} more of {} or the old primary are needed",
            list(names)
        ),
        Obstacle::Gathering => "more members may answer soon".to_owned(),
        Obstacle::NoCandidate => "no member that may become primary has said what it has".to_owned(),
        Obstacle::Behind { best, bytes } => {
            format!(
                "the best member, {best}, lacks {bytes} bytes of what the old primary had, which is more than the limit"
            )
        }
        Obstacle::Unconfirmed => "the primary never confirmed which members have its writes".to_owned(),
    }
}

/// What a server does, in a word or two.
pub(super) fn describe_server(server: &Server) -> String {
    match server {
        Server::Empty => "without data".to_owned(),
        Server::Stopped { .. } => "stopped".to_owned(),
        Server::Starting => "starting".to_owned(),
        Server::Replica { upstream: Some(upstream) } => format!("a replica of {upstream}"),
        Server::Replica { upstream: None } => "a replica of nobody".to_owned(),
        Server::Primary => "primary".to_owned(),
        Server::Unknown => "silent".to_owned(),
    }
}

/// What an operator asks for.
pub(super) fn describe_request(request: &Request) -> String {
    let to = |to: &Option<String>| to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default();
    match request {
        Request::Switchover { to: name } => format!("a switchover{} was asked for", to(name)),
        Request::Failover { to: name } => format!("a failover{} was asked for", to(name)),
    }
}

/// Whether the server takes writes while, or after, this is done.
pub(super) const fn leads(action: &Action) -> bool {
    match action {
        Action::Found { .. }
        | Action::Adopt { .. }
        | Action::StartPrimary { .. }
        | Action::Promote { .. }
        | Action::Checkpoint
        | Action::SetSync { .. } => true,
        Action::Wait
        | Action::GiveUp
        | Action::Stop(_)
        | Action::Demote
        | Action::StartReplica { .. }
        | Action::Follow { .. }
        | Action::Resign
        | Action::Rewind { .. }
        | Action::Clone { .. } => false,
    }
}

/// A change of primary with how long it took and what it may have cost.
pub(super) fn describe_failover(failover: &Failover) -> String {
    let Failover { from, to, term, cause, risk, .. } = failover;
    let times = failover.phases();
    let times = times.iter().filter_map(|(what, time)| time.map(|time| format!("{what} {time} ms")));
    let lost = match risk {
        None => "nothing that was acknowledged is lost".to_owned(),
        Some(Risk::Behind(Some(bytes))) => {
            format!("at least {bytes} bytes may be lost, and what was written since they were seen")
        }
        Some(Risk::Behind(None)) => "how much may be lost is unknown".to_owned(),
        Some(Risk::Forced) => "forced by an operator: acknowledged writes may be lost".to_owned(),
    };
    format!("{from} to {to}, term {term}: {cause}; {}; {lost}", times.collect::<Vec<_>>().join(", "))
}

/// Says in the log what a member threw away to follow another one: what an operator may want back.
pub(super) fn tell_discarded(group: &str, discarded: &Discarded) {
    let Discarded { of, bytes, commits, span_ms, keys, kept } = discarded;
    let kept = kept.display();
    tracing::warn!(group, of, ?bytes, ?commits, ?span_ms, ?keys, %kept, "databases: data went its own way; it is kept, and another member's copied");
}
