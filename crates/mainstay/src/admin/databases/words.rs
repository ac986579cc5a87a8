//! What the states of a group are in words, and what to do about them. `docs/databases.md` has a section for each.

use mainstay_core::database::{Durability, Obstacle, Refusal, Risk};
use mainstay_failover::group::board::{Failover, Loss};

use super::document::{DatabaseStatus, GroupMember, ObstacleStatus};
use crate::config::database::Database;

/// Why nobody is promoted.
pub(super) fn obstacle(database: &Database, obstacle: &Obstacle) -> ObstacleStatus {
    let name = &database.name;
    let (code, text, next) = match obstacle {
        Obstacle::NotFenced { from } => (
            "not-fenced",
            format!(
                "{from} may still acknowledge writes: its lease has not ended, and it has not said that it stopped"
            ),
            format!(
                "wait, its lease ends by itself; if its node lives and cannot stop the server, stop the server on {from} \
                 by hand"
            ),
        ),
        Obstacle::Unheard { names, missing } => {
            let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            (
                "unheard",
                format!(
                    "{missing} more of {names} must say what they have: one of them may have a write that was acknowledged"
                ),
                format!(
                    "start one of them, or the old primary; if they are lost for good, `mainstay database failover {name} \
                     --to NODE` gives up what only they have"
                ),
            )
        }
        Obstacle::Gathering => {
            ("gathering", "more members may answer soon".to_owned(), "wait, this ends by itself".to_owned())
        }
        Obstacle::NoCandidate => (
            "no-candidate",
            "nobody that may become primary has said what it has".to_owned(),
            format!("start a member with a priority above 0; `mainstay database status {name}` says why each is away"),
        ),
        Obstacle::Behind { best, bytes } => (
            "behind",
            format!("{best}, the best, lacks {}, more than `lag_max` allows", amount(*bytes)),
            format!("start the old primary again, or accept the loss: `mainstay database failover {name} --to {best}`"),
        ),
        Obstacle::Unconfirmed => (
            "unconfirmed",
            "the old primary did not confirm whose acknowledgements it waited for".to_owned(),
            format!(
                "start the old primary again; if it is lost for good, `mainstay database failover {name} --to NODE` \
                 gives up what only it has"
            ),
        ),
    };
    ObstacleStatus { code: code.to_owned(), text, next }
}

/// Why what an operator asks for cannot be done, and what to do.
pub(super) fn refusal(database: &Database, refusal: Refusal, node: Option<&str>) -> (String, String) {
    let (name, node) = (&database.name, node.unwrap_or("that member"));
    let show = format!("`mainstay database status {name}` shows the members");
    match refusal {
        Refusal::Busy => (
            "there is no primary at the moment: a change is under way".to_owned(),
            format!("wait for it; `mainstay database status {name}` shows what it waits for"),
        ),
        Refusal::NotAReplica => (format!("{node} is no member, or is the primary already"), show),
        Refusal::NeverPrimary => (
            format!("{node} never becomes primary: its priority is 0"),
            "give it a priority in [[database.member]] on all nodes, or choose another member".to_owned(),
        ),
        Refusal::NotStreaming => (
            format!("{node} does not stream from the primary, so that a switchover could lose writes"),
            format!("wait until it does, or accept the loss: `mainstay database failover {name} --to {node}`"),
        ),
        Refusal::Behind => (
            format!("{node} is further behind than `lag_max` allows"),
            "wait until it has caught up, or choose another member".to_owned(),
        ),
        Refusal::Nobody => ("no replica can take over".to_owned(), show),
    }
}

/// What an election may have lost.
pub(super) fn risk(risk: Risk) -> String {
    match risk {
        Risk::Behind(Some(0)) => "what the old primary wrote after it was last heard".to_owned(),
        Risk::Behind(Some(bytes)) => {
            format!(
                "{} as far as they were seen, and what the old primary wrote after it was last heard",
                amount(bytes)
            )
        }
        Risk::Behind(None) => "an unknown number of bytes: the old primary's end was never seen".to_owned(),
        Risk::Forced => "whatever the others had and the new primary did not: an operator chose it".to_owned(),
    }
}

/// What a change of primary has cost, as far as that is known. What is not known is never told as nothing.
pub fn cost(failover: &Failover) -> String {
    let Some(loss) = &failover.loss else {
        return match (failover.risk, failover.at_most) {
            (None, _) => format!("nothing that was acknowledged; {} has not come back yet", failover.from),
            (Some(_), Some(most)) => {
                format!("unknown until {} comes back; at most about {}", failover.from, amount(most))
            }
            (Some(_), None) => format!("unknown until {} comes back", failover.from),
        };
    };
    let Loss { bytes, commits, span_ms, keys, .. } = loss;
    let of_log = match bytes {
        None => return format!("{} came back, and what it had is not known", failover.from),
        Some(0) => return "nothing: the old primary had nothing more".to_owned(),
        Some(bytes) => format!("{} of the old primary's log were thrown away", amount(*bytes)),
    };
    let commits = commits.map(|commits| match (commits, span_ms) {
        (0, _) => ", no committed transaction among them".to_owned(),
        (1, _) => ", 1 committed transaction".to_owned(),
        (commits, Some(ms)) => format!(", {commits} committed transactions of {ms} ms"),
        (commits, None) => format!(", {commits} committed transactions"),
    });
    let keys = keys.map(|keys| format!(", {keys} keys that the new one has not"));
    let acknowledged = if failover.risk.is_none() { "; none of it was acknowledged" } else { "" };
    format!("{of_log}{}{}{acknowledged}", commits.unwrap_or_default(), keys.unwrap_or_default())
}

/// What holds of the group as it is: of acknowledged writes, and of two primaries.
pub(super) fn promises(database: &Database, status: &DatabaseStatus) -> Vec<String> {
    if status.phase == "unknown" {
        return Vec::new();
    }
    let mut promises = vec![of_writes(database, status)];
    promises.push(of_two_primaries(status));
    if status.acks > 0 {
        promises.push(
            "Sessions that set synchronous_commit to local or off do not wait, and are promised nothing.".to_owned(),
        );
    }
    promises
}

fn of_writes(database: &Database, status: &DatabaseStatus) -> String {
    let limit = amount(database.lag_max);
    let in_step = status.members.iter().filter(|it| it.acknowledges && it.state == "streaming").count() as u64;
    let waits =
        format!("Each acknowledged write is on the primary and on {}", waited_for(status.acks, &status.acks_of));
    match database.durability {
        Durability::Async => format!(
            "Commits wait for no replica: a failover loses what the next primary has not received. By itself nobody takes over \
             who was seen to lack more than {limit}; what was written since it was last seen adds to that."
        ),
        Durability::SyncPreferred if status.acks == 0 => format!(
            "NO REPLICA IS IN STEP: commits wait for none, and a failover loses what the next primary has not received, up to \
             {limit} as far as that was seen."
        ),
        Durability::SyncPreferred => format!(
            "{waits}: no failover loses any of them by itself. Without a replica in step commits stop waiting, and a failover \
             may lose writes."
        ),
        Durability::SyncStrict if in_step < status.acks && status.phase == "serving" => format!(
            "{waits}, AND ONLY {in_step} IN STEP: commits wait until enough of them are. No failover loses an acknowledged write \
             by itself."
        ),
        Durability::SyncStrict if status.acks_of.is_empty() => {
            format!(
                "No commit returns before {} of the replicas have it, and no failover loses it by itself.",
                database.acks
            )
        }
        Durability::SyncStrict => {
            format!("{waits}: no failover loses any of them by itself. Without enough of them no commit returns.")
        }
    }
}

/// How many replicas have to have a write, and which ones can.
fn waited_for(acks: u64, of: &[String]) -> String {
    if of.len() as u64 == acks { of.join(" and ") } else { format!("{acks} of {}", of.join(", ")) }
}

/// A write that needs a replica is out of reach of an old primary, whose replicas have left it. Else it depends on who stops it.
fn of_two_primaries(status: &DatabaseStatus) -> String {
    if status.acks > 0 {
        return "An old primary acknowledges nothing once another one is chosen, even if it still runs: its replicas have left it."
            .to_owned();
    }
    let Some(primary) = status.members.iter().find(|it| Some(&it.node) == status.primary.as_ref()) else {
        return "Nobody takes writes.".to_owned();
    };
    if primary.rungs.is_empty() {
        return format!("What would stop {} if it were replaced is not known here.", primary.node);
    }
    let has = |name: &str| primary.rungs.iter().any(|rung| rung.name == name && rung.missing.is_none());
    let outer: Vec<&str> = ["port-lease", "watchdog", "stonith"].into_iter().filter(|name| has(name)).collect();
    let node = &primary.node;
    match (has("agent"), has("guard"), outer.is_empty()) {
        (_, _, false) => format!(
            "{node} is kept from acknowledging writes after its lease by {}, whatever becomes of Mainstay's processes on it.",
            outer.join(" and ")
        ),
        (_, true, true) => format!(
            "{node} is stopped at the end of its lease by its node, or else by the guard beside it. If the whole machine is \
             frozen, it may acknowledge writes between its waking up and the guard's next step; a port lease, a watchdog or \
             STONITH would prevent that."
        ),
        (true, false, true) => format!(
            "{node} is stopped at the end of its lease by its node, and by NOTHING ELSE: if that process is frozen or killed, two \
             may acknowledge writes."
        ),
        (false, false, true) => format!("NOTHING stops {node} if it is replaced: two may acknowledge writes."),
    }
}

/// What a failover to `to` loses, as far as it can be told.
pub(super) fn loss(from: Option<&GroupMember>, to: &GroupMember) -> String {
    let Some(from) = from.filter(|from| from.node != to.node) else {
        return format!("what {} lacks is not known: no primary was seen", to.node);
    };
    let since = format!("and whatever {} wrote since it was seen there", from.node);
    match (from.position, to.position) {
        (Some(end), Some(has)) if end > has => {
            let at = from.position_text.as_deref().unwrap_or("its end");
            format!(
                "{} lacks {} of what {} was seen at ({at}): they are lost, {since}",
                to.node,
                amount(end - has),
                from.node
            )
        }
        (Some(_), Some(_)) => format!("{} has everything that {} was seen at; {since} is lost", to.node, from.node),
        (None, _) => format!("how much {} lacks is not known: {} has not been heard", to.node, from.node),
        (_, None) => format!("how much {} lacks is not known: it has not been heard", to.node),
    }
}

/// Bytes, for people.
pub fn amount(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::waited_for;

    #[test]
    fn a_number_is_said_where_there_is_a_choice() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(waited_for(1, &of(&["n1"])), "n1");
        assert_eq!(waited_for(2, &of(&["n1", "n2"])), "n1 and n2");
        assert_eq!(waited_for(1, &of(&["n1", "n2"])), "1 of n1, n2");
    }
}
