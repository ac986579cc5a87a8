//! Groups of database servers, as `mainstay status` and `mainstay database status` show them.

use crate::admin::databases::amount;
use crate::admin::databases::document::{DatabaseStatus, FailoverStatus, GroupMember};
use crate::status::table::{Cell, Paint, Tone, printable, render as table};

/// Changes of the primary on the page of a group.
const FAILOVERS_SHOWN: usize = 5;

/// For the page of a node: a line for each group, and one more with what to do if something is wrong.
pub(super) fn lines(databases: &[DatabaseStatus], paint: Paint) -> String {
    databases.iter().map(|database| verdict(database, "database ", paint)).collect()
}

/// The whole of each group.
pub fn page(databases: &[DatabaseStatus], paint: Paint) -> String {
    if databases.is_empty() {
        return "the configuration has no [[database]]\n".to_owned();
    }
    let mut page = String::new();
    for database in databases {
        if !page.is_empty() {
            page.push('\n');
        }
        page.push_str(&group(database, paint));
    }
    page
}

fn verdict(database: &DatabaseStatus, before: &str, paint: Paint) -> String {
    let tone = match database.state.as_str() {
        "good" => Tone::Good,
        "warning" => Tone::Warning,
        _bad => Tone::Bad,
    };
    let mut lines = String::new();
    push(&mut lines, paint, tone, &format!("{before}{}: {}", database.name, database.verdict));
    if let Some(next) = &database.next {
        push(&mut lines, paint, tone, &format!("  next: {next}"));
    }
    lines
}

fn push(lines: &mut String, paint: Paint, tone: Tone, line: &str) {
    lines.push_str(&paint.apply(tone, &printable(line)));
    lines.push('\n');
}

fn group(database: &DatabaseStatus, paint: Paint) -> String {
    let mut page = verdict(database, "", paint);
    let acks = match database.acks {
        0 => String::new(),
        acks => format!(" ({acks} of {})", database.acks_of.join(", ")),
    };
    let system = database.system.as_deref().map_or_else(String::new, |system| format!(", system {system}"));
    let doors = [("write", &database.write), ("read", &database.read)];
    let doors = doors.into_iter().filter_map(|(name, bind)| Some(format!("; {name} at {}", bind.as_ref()?)));
    let facts = format!(
        "{}, {}{acks}, term {}, plan {}{system}{}",
        database.engine,
        database.durability,
        database.term,
        database.plan,
        doors.collect::<String>()
    );
    push(&mut page, paint, Tone::Faint, &facts);
    page.push('\n');
    let rows: Vec<Vec<Cell>> = database.members.iter().map(row).collect();
    let heading = ["NODE", "ADDRESS", "ROLE", "STATE", "TIMELINE", "POSITION", "LAG", "ACKS", "PRIORITY", "ZONE", ""];
    page.push_str(&table(&heading, &rows, paint));
    page.push('\n');
    for difference in &database.differs {
        push(&mut page, paint, Tone::Warning, &format!("DIFFERENT CONFIGURATION: {difference}"));
    }
    for promise in &database.promises {
        push(&mut page, paint, Tone::Normal, promise);
    }
    for member in &database.members {
        if !member.rungs.is_empty() {
            push(&mut page, paint, Tone::Faint, &rungs(member));
        }
    }
    for (index, failover) in database.failovers.iter().take(FAILOVERS_SHOWN).enumerate() {
        if index == 0 {
            page.push('\n');
        }
        push(&mut page, paint, Tone::Normal, &change(failover));
    }
    page
}

fn row(member: &GroupMember) -> Vec<Cell> {
    let tone = match member.state.as_str() {
        "running" | "streaming" => Tone::Good,
        "outdated" | "away" => Tone::Bad,
        _other => Tone::Warning,
    };
    let number = |number: Option<String>| Cell::number(number.unwrap_or_else(|| "-".to_owned()));
    let remark = member.error.as_deref().or(member.action.as_deref()).unwrap_or_default();
    vec![
        Cell::text(printable(&member.node)),
        Cell::text(&member.address),
        Cell::text(&member.role),
        Cell::text(&member.state).tone(tone),
        number(member.timeline.map(|timeline| timeline.to_string())),
        number(member.position_text.clone()),
        number(member.lag_bytes.map(amount)),
        Cell::text(if member.acknowledges { "yes" } else { "-" }),
        Cell::number(member.priority.to_string()),
        Cell::text(member.zone.as_deref().unwrap_or("-")),
        Cell::text(printable(remark)).tone(if member.error.is_some() { Tone::Bad } else { Tone::Faint }),
    ]
}

/// What a node has of the fencing ladder, and what is missing.
fn rungs(member: &GroupMember) -> String {
    let has: Vec<&str> =
        member.rungs.iter().filter(|rung| rung.missing.is_none()).map(|rung| rung.name.as_str()).collect();
    let missing: Vec<String> =
        member.rungs.iter().filter_map(|rung| Some(format!("{} ({})", rung.name, rung.missing.as_deref()?))).collect();
    let has = if has.is_empty() { "nothing".to_owned() } else { has.join(", ") };
    let missing = if missing.is_empty() { String::new() } else { format!("; missing: {}", missing.join(", ")) };
    format!("fencing on {}: {has}{missing}", member.node)
}

/// A change of the primary in one line.
fn change(failover: &FailoverStatus) -> String {
    let kind = if failover.planned { "switchover" } else { "failover" };
    let took = failover.rto_ms.map_or_else(String::new, |ms| {
        let known = failover.parts.iter().filter_map(|part| Some(format!("{} {} ms", part.name, part.ms?)));
        format!(", {ms} ms without writes ({})", known.collect::<Vec<_>>().join(", "))
    });
    let lost = &failover.loss.text;
    format!(
        "{} {kind} {} -> {} (term {}): {}{took}; lost: {lost}",
        failover.at, failover.from, failover.to, failover.term, failover.cause
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::databases::document::{LossStatus, PartStatus, RungStatus};

    fn database() -> DatabaseStatus {
        let member = |node: &str, role: &str, state: &str| GroupMember {
            node: node.to_owned(),
            address: "10.0.1.1:5432".to_owned(),
            role: role.to_owned(),
            state: state.to_owned(),
            position_text: Some("0/3000060".to_owned()),
            timeline: Some(3),
            priority: 100,
            ..GroupMember::default()
        };
        let rung = |name: &str, missing: Option<&str>| RungStatus {
            name: name.to_owned(),
            missing: missing.map(str::to_owned),
        };
        DatabaseStatus {
            name: "orders".to_owned(),
            engine: "postgres".to_owned(),
            durability: "sync-strict".to_owned(),
            state: "warning".to_owned(),
            verdict: "db1 takes writes, 0 of 1 replicas follow".to_owned(),
            next: Some("start db2 and Mainstay on it".to_owned()),
            phase: "serving".to_owned(),
            primary: Some("db1".to_owned()),
            term: 4,
            plan: 9,
            acks: 1,
            acks_of: vec!["db2".to_owned()],
            members: vec![
                GroupMember {
                    rungs: vec![rung("agent", None), rung("watchdog", Some("not configured"))],
                    ..member("db1", "primary", "running")
                },
                GroupMember { lag_bytes: Some(2048), ..member("db2", "none", "away") },
            ],
            promises: vec!["No commit returns before 1 of the replicas has it.".to_owned()],
            failovers: vec![FailoverStatus {
                at: "2026-01-01T00:00:00Z".to_owned(),
                from: "db2".to_owned(),
                to: "db1".to_owned(),
                term: 4,
                planned: false,
                cause: "db2's node was gone".to_owned(),
                rto_ms: Some(3300),
                parts: vec![PartStatus { name: "detect".to_owned(), ms: Some(3000) }],
                routed_by: None,
                risk: None,
                loss: LossStatus { text: "nothing".to_owned(), ..LossStatus::default() },
            }],
            write: Some("0.0.0.0:5000".to_owned()),
            ..DatabaseStatus::default()
        }
    }

    #[test]
    fn the_verdict_comes_first_with_what_to_do_next() {
        let page = page(&[database()], Paint::Plain);
        let expected = "orders: db1 takes writes, 0 of 1 replicas follow\n  next: start db2 and Mainstay on it\n\
            postgres, sync-strict (1 of db2), term 4, plan 9; write at 0.0.0.0:5000\n";
        assert!(page.starts_with(expected), "{page}");
        assert!(page.contains("2.0 KiB") && page.contains("0/3000060"), "{page}");
        assert!(page.contains("fencing on db1: agent; missing: watchdog (not configured)"), "{page}");
        assert!(page.contains(
            "failover db2 -> db1 (term 4): db2's node was gone, 3300 ms without writes (detect 3000 ms); lost: nothing"
        ));
        let lines = lines(&[database()], Paint::Plain);
        assert!(lines.starts_with("database orders: db1 takes writes"), "{lines}");
        assert_eq!(super::page(&[], Paint::Plain), "the configuration has no [[database]]\n");
    }
}
