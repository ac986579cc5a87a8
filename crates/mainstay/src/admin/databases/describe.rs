//! From what a node knows of a group to what is said of it.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::database::{self, Engine, Observation, Pause, Phase, Plan, Report, Request, Server};
use mainstay_failover::group::board::{Member, View};

use super::document::{DatabaseStatus, GroupMember, ObstacleStatus, RungStatus};
use super::failovers::failover_told;
use super::words;
use crate::cluster::groups::Tellings;
use crate::config::database::{Database, durability_word, engine_word};

/// Long enough for everything that an election waits for.
const LONG: Duration = Duration::from_secs(365 * 86_400);

/// What is known, beside the configuration.
pub(super) struct Known<'a> {
    /// The node that answers.
    pub(super) me: &'a str,
    /// What its drivers found out; `None`: nothing yet.
    pub(super) view: Option<&'a View>,
    /// What nodes say of their part, by name.
    pub(super) told: &'a BTreeMap<String, Tellings>,
    /// How long after the end of a lease nobody is promoted.
    pub(super) guard: Duration,
}

/// The whole of it.
pub(super) fn status(database: &Database, known: &Known<'_>) -> DatabaseStatus {
    let view = known.view;
    let plan = view.map(|view| view.plan.clone()).unwrap_or_default();
    let mut status = DatabaseStatus {
        name: database.name.clone(),
        engine: engine_word(database.engine).to_owned(),
        durability: durability_word(database.durability).to_owned(),
        phase: if view.is_some() { phase_word(&plan.phase) } else { "unknown" }.to_owned(),
        primary: plan.leader().map(str::to_owned),
        term: plan.term,
        plan: plan.number,
        system: plan.system.map(|system| system.to_string()),
        is_current: view.is_some_and(|view| view.is_current),
        paused: view.is_some_and(|view| view.paused),
        pause: pause_word(plan.licence.pause).to_owned(),
        acks: plan.sync.acks as u64,
        acks_of: plan.sync.names.iter().cloned().collect(),
        risk: plan.risk.map(words::risk),
        differs: differences(database, known),
        write: database.doors.write.map(|bind| bind.to_string()),
        read: database.doors.read.map(|bind| bind.to_string()),
        failovers: view.map(|view| view.failovers.iter().map(failover_told).collect()).unwrap_or_default(),
        ..DatabaseStatus::default()
    };
    let end = end(&plan, view);
    status.members = database
        .members
        .iter()
        .map(|member| {
            let seen = view.and_then(|view| view.members.iter().find(|seen| seen.node == member.node));
            let mut described = described(database.engine, seen, &plan, end);
            described.node.clone_from(&member.node);
            described.address = member.address.to_string();
            described.here = member.node == known.me;
            (described.priority, described.zone) = (member.priority, member.zone.clone());
            described.acknowledges = plan.sync.acks > 0 && plan.sync.names.contains(&member.node);
            let told = known.told.get(&member.node).and_then(|groups| groups.get(&database.name));
            let own = if described.here {
                view.and_then(|view| view.own.as_ref())
            } else {
                told.and_then(|it| it.own.as_ref())
            };
            if let Some(own) = own {
                (described.action, described.error) = (own.action.clone(), own.error.clone());
                let rung = |rung: &mainstay_failover::group::board::Rung| RungStatus {
                    name: rung.name.clone(),
                    missing: rung.missing.clone(),
                };
                described.rungs = own.rungs.iter().map(rung).collect();
            }
            described
        })
        .collect();
    status.obstacle = view.and_then(|view| obstacle(database, view, known));
    judge(&mut status, &plan);
    status.promises = words::promises(database, &status);
    status
}

fn phase_word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Founding { .. } => "founding",
        Phase::Serving { .. } => "serving",
        Phase::Yielding { .. } => "yielding",
        Phase::Electing { .. } => "electing",
        Phase::Promoting { .. } => "promoting",
    }
}

fn pause_word(pause: Pause) -> &'static str {
    match pause {
        Pause::Off => "off",
        Pause::Asked => "asked",
        Pause::On => "on",
        Pause::Ending => "ending",
    }
}

/// The greatest position that the primary was seen at, or else anybody.
fn end(plan: &Plan, view: Option<&View>) -> Option<u64> {
    let reports = || view.into_iter().flat_map(|view| &view.members).filter_map(|it| Some((it, it.report.as_ref()?)));
    let of_primary =
        reports().filter(|(member, _)| plan.source() == Some(&member.node)).map(|(_, report)| report.position);
    // Of one that is gone only those who saw it know, and what the others have says nothing of it.
    let seen = view.and_then(|view| view.end);
    of_primary.max().max(seen).or_else(|| reports().map(|(_, report)| report.position).max())
}

fn described(engine: Engine, seen: Option<&Member>, plan: &Plan, end: Option<u64>) -> GroupMember {
    let Some(seen) = seen.filter(|seen| seen.alive) else {
        return GroupMember { role: "none".to_owned(), state: "away".to_owned(), ..GroupMember::default() };
    };
    let Some(report) = &seen.report else {
        return GroupMember { role: "none".to_owned(), state: "silent".to_owned(), ..GroupMember::default() };
    };
    let (role, state) = role_and_state(report, plan);
    let has_data = report.server != Server::Empty;
    let upstream = match &report.server {
        Server::Replica { upstream } => upstream.clone(),
        Server::Empty | Server::Stopped { .. } | Server::Starting | Server::Primary | Server::Unknown => None,
    };
    GroupMember {
        role: role.to_owned(),
        state: state.to_owned(),
        upstream,
        timeline: (has_data && engine == Engine::Postgres).then_some(report.timeline),
        position: has_data.then_some(report.position),
        position_text: has_data.then(|| position(engine, report.position)),
        lag_bytes: end.filter(|_| role == "replica").map(|end| end.saturating_sub(report.position)),
        ..GroupMember::default()
    }
}

fn role_and_state(report: &Report, plan: &Plan) -> (&'static str, &'static str) {
    match &report.server {
        Server::Empty => ("none", "empty"),
        Server::Stopped { .. } => ("none", "stopped"),
        Server::Starting => ("none", "starting"),
        Server::Unknown => ("none", "unknown"),
        Server::Replica { upstream: Some(_) } if report.stalled => ("replica", "stalled"),
        Server::Replica { upstream: Some(_) } => ("replica", "streaming"),
        Server::Replica { upstream: None } => ("replica", "detached"),
        Server::Primary if report.led == Some(plan.term) || matches!(plan.phase, Phase::Yielding { .. }) => {
            ("primary", "running")
        }
        // One that ran before there was a group has no term yet.
        Server::Primary if report.led.is_none() && matches!(plan.phase, Phase::Founding { .. }) => {
            ("primary", "running")
        }
        Server::Primary => ("primary", "outdated"),
    }
}

/// A position as the server writes it.
fn position(engine: Engine, position: u64) -> String {
    match engine {
        Engine::Postgres => format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF),
        Engine::Redis => position.to_string(),
    }
}

/// What the planner would see from here. How long something has lasted is not known to every node, and taken to be long.
pub(super) fn observation(view: &View, request: Option<Request>) -> Observation {
    let member = |member: &Member| database::Member {
        node: member.node.clone(),
        alive: member.alive,
        gone_for: if member.alive { Duration::ZERO } else { LONG },
        report: member.report.clone(),
    };
    Observation {
        members: view.members.iter().map(member).collect(),
        phase_for: LONG,
        unwell_for: Duration::ZERO,
        end: end(&view.plan, Some(view)),
        paused: view.paused,
        request,
        ..Observation::default()
    }
}

/// Why nobody is promoted: by the planner's word if it is here, else as far as it can be told from here.
fn obstacle(database: &Database, view: &View, known: &Known<'_>) -> Option<ObstacleStatus> {
    match &view.plan.phase {
        Phase::Electing { .. } => {
            let seen = observation(view, None);
            let found = database::obstacle(&database.policy(known.guard), &seen, &view.plan);
            let told = view.obstacle.clone();
            match found {
                Some(found) => {
                    let own = words::obstacle(database, &found);
                    Some(ObstacleStatus { text: told.unwrap_or(own.text), ..own })
                }
                None => told.map(|text| ObstacleStatus {
                    code: "gathering".to_owned(),
                    text,
                    next: "wait, this ends by itself".to_owned(),
                }),
            }
        }
        Phase::Founding { by: None } => Some(founding(view)),
        Phase::Founding { by: Some(_) } | Phase::Serving { .. } | Phase::Yielding { .. } | Phase::Promoting { .. } => {
            None
        }
    }
}

/// Why nobody has become the first primary.
fn founding(view: &View) -> ObstacleStatus {
    let names = |wanted: &dyn Fn(&Member) -> bool| {
        let found = view.members.iter().filter(|member| wanted(member)).map(|member| member.node.as_str());
        found.collect::<Vec<_>>()
    };
    let answer =
        |code: &str, text: String, next: &str| ObstacleStatus { code: code.to_owned(), text, next: next.to_owned() };
    let unheard = names(&|member| !member.alive || member.report.is_none());
    if !unheard.is_empty() {
        let text = format!("{} must be heard first: one of them may have the data", unheard.join(", "));
        return answer("founding", text, "start Mainstay there, with this [[database]] in its configuration");
    }
    let server = |member: &Member| member.report.as_ref().map(|report| report.server.clone());
    let primaries = names(&|member| server(member) == Some(Server::Primary));
    if primaries.len() > 1 {
        let text = format!("{} all take writes: they are separate databases", primaries.join(", "));
        return answer(
            "two-databases",
            text,
            "decide which one it is, stop the others and empty their data directories",
        );
    }
    let systems: std::collections::BTreeSet<Option<u64>> = view
        .members
        .iter()
        .filter_map(|member| member.report.as_ref())
        .filter(|report| report.server != Server::Empty)
        .map(|report| report.system)
        .collect();
    if systems.len() > 1 {
        let text = "the members have different databases: their system identifiers differ".to_owned();
        return answer(
            "two-databases",
            text,
            "decide which one it is, stop the others and empty their data directories",
        );
    }
    answer("founding", "the first primary is being chosen".to_owned(), "wait, this ends by itself")
}

/// The verdict, and what is next.
fn judge(status: &mut DatabaseStatus, plan: &Plan) {
    let member = |name: &str| status.members.iter().find(|member| member.node == name);
    let (state, verdict, next) = match &plan.phase {
        _ if status.phase == "unknown" => (
            "warning",
            "nothing is known of it here yet".to_owned(),
            Some("wait until this node has a lease".to_owned()),
        ),
        Phase::Founding { by: Some(by) } => ("warning", format!("{by} becomes the first primary"), None),
        Phase::Founding { by: None } => ("warning", "it has no primary yet".to_owned(), None),
        Phase::Yielding { from, to, .. } => ("warning", format!("{from} hands over to {to}"), None),
        Phase::Electing { from, .. } => ("bad", format!("NO PRIMARY: an election goes on after {from}"), None),
        Phase::Promoting { primary } => ("bad", format!("NO PRIMARY: {primary} is being promoted"), None),
        Phase::Serving { primary } => match member(primary).map(|member| member.state.as_str()) {
            Some("running") => followed(status, primary),
            state => {
                let state = state.unwrap_or("no member of this configuration");
                let next = if status.paused {
                    format!(
                        "`mainstay database failover {}` makes another one primary, `resume` lets that happen",
                        status.name
                    )
                } else {
                    "wait, it comes back or another one takes over by itself".to_owned()
                };
                ("bad", format!("{primary} is primary and does not take writes: it is {state}"), Some(next))
            }
        },
    };
    let obstacle = status.obstacle.as_ref();
    let mut verdict = match obstacle {
        Some(obstacle) => format!("{verdict}: {}", obstacle.text),
        None => verdict,
    };
    let mut state = state;
    if let Some(text) = paused(status, plan) {
        verdict.push_str(&text);
        state = if state == "bad" { "bad" } else { "warning" };
    }
    if !status.is_current && status.phase != "unknown" {
        verdict.push_str("; seen last before this node lost its lease");
        state = if state == "bad" { "bad" } else { "warning" };
    }
    if !status.differs.is_empty() && state == "good" {
        state = "warning";
    }
    let resume = || format!("`mainstay database resume {}` once the work is done", status.name);
    status.next = obstacle.map(|it| it.next.clone()).or(next).or_else(|| status.paused.then(resume));
    (status.state, status.verdict) = (state.to_owned(), verdict);
}

/// How far a pause is.
fn paused(status: &DatabaseStatus, plan: &Plan) -> Option<String> {
    let primary = plan.serving().unwrap_or("the primary");
    Some(match (plan.licence.pause, status.paused) {
        (Pause::Off, false) => return None,
        (Pause::On, _) => {
            format!(
                "; PAUSED: nothing is changed over by itself, and {primary} runs on whether or not its node has a lease"
            )
        }
        (Pause::Ending, _) => {
            format!(
                "; RESUMED, of which {primary} has not been heard to know: the end of its lease does not say yet that it stopped"
            )
        }
        (Pause::Off | Pause::Asked, _) => {
            format!(
                "; PAUSED: nothing is changed over by itself; NOT IN FORCE until {primary} has been heard to know of it"
            )
        }
    })
}

/// What is said while somebody takes writes.
fn followed(status: &DatabaseStatus, primary: &str) -> (&'static str, String, Option<String>) {
    let replicas: Vec<&GroupMember> = status.members.iter().filter(|member| member.node != primary).collect();
    let following = replicas.iter().filter(|it| it.state == "streaming").count();
    let verdict = format!("{primary} takes writes, {following} of {} replicas follow", replicas.len());
    let in_step = replicas.iter().filter(|it| it.acknowledges && it.state == "streaming").count() as u64;
    if in_step < status.acks {
        return (
            "bad",
            format!("{verdict}; COMMITS WAIT: {in_step} of {} needed replicas are in step", status.acks),
            away(&replicas),
        );
    }
    match away(&replicas) {
        None => ("good", verdict, None),
        next => ("warning", verdict, next),
    }
}

/// The first replica that does not follow, and what is known of it.
fn away(replicas: &[&GroupMember]) -> Option<String> {
    let missing = replicas.iter().find(|it| it.state != "streaming")?;
    let why = missing.error.clone().or_else(|| missing.action.clone());
    Some(match (missing.state.as_str(), why) {
        (_, Some(why)) => format!("{}: {why}", missing.node),
        ("away", None) => format!("start {} and Mainstay on it", missing.node),
        (state, None) => format!("{} is {state}; its log says more", missing.node),
    })
}

/// Where other nodes' configuration is not this one's.
fn differences(database: &Database, known: &Known<'_>) -> Vec<String> {
    let own = database.agreed();
    let mut found = Vec::new();
    for (node, groups) in known.told.iter().filter(|(node, _)| node.as_str() != known.me) {
        let Some(theirs) = groups.get(&database.name) else { continue };
        for (key, value) in &own {
            match theirs.config.get(key) {
                Some(other) if other != value => found.push(format!("`{key}` is {other} on {node}, and {value} here")),
                Some(_) | None => {}
            }
        }
    }
    found
}
