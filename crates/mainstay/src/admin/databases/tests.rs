//! Groups as they are described, and changes as they are forecast, by boards that were filled by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::database::{Pause, Phase, Plan, Regime, Report, Risk, Server};
use mainstay_failover::group::board::{Engine, Failover, Loss, Member, Own, Routed, Rung, View};

use super::act::{Action, forecast};
use super::describe::{Known, status};
use super::document::{ChangeRequest, DatabaseStatus};
use crate::cluster::groups::{Telling, Tellings};
use crate::config::database::Database;

const GUARD: Duration = Duration::from_millis(200);

fn database(durability: &str) -> Database {
    let text = format!(
        "[node]\nname = \"db1\"\ndata_dir = \"/d\"\n[cluster]\n[[database]]\nname = \"orders\"\nengine = \"postgres\"\n\
         durability = \"{durability}\"\n[[database.member]]\nnode = \"db1\"\naddress = \"10.0.1.1:5432\"\n\
         [[database.member]]\nnode = \"db2\"\naddress = \"10.0.1.2:5432\"\n[[database.member]]\nnode = \"db3\"\n\
         address = \"10.0.1.3:5432\"\npriority = 0\n[database.server]\nreplication_password = {{ env = \"P\" }}\n"
    );
    let config = crate::config::parse(&text, "m.toml", std::path::Path::new("")).expect("it is right");
    config.databases.into_iter().next().expect("a group")
}

fn report(server: Server, term: u64, position: u64) -> Report {
    let led = (server == Server::Primary).then_some(term);
    let text = serde_json::json!({
        "term": term, "server": server, "system": 7, "timeline": 3, "position": position, "led": led, "branches": [],
        "checkpointed": true, "sync": null, "before": null
    });
    serde_json::from_value(text).expect("a report")
}

fn following(of: &str, position: u64) -> Report {
    report(Server::Replica { upstream: Some(of.to_owned()) }, 4, position)
}

/// db1 leads with term 4, db2 is 96 bytes behind, db3 at the end.
fn view(sync: Regime) -> View {
    let member = |node: &str, report: Report| Member {
        node: node.to_owned(),
        address: ([10, 0, 1, 1], 5432).into(),
        alive: true,
        report: Some(report),
    };
    View {
        engine: Engine::Postgres,
        plan: Plan {
            number: 9,
            term: 4,
            system: Some(7),
            phase: Phase::Serving { primary: "db1".to_owned() },
            sync: sync.clone(),
            regimes: vec![sync],
            ..Plan::default()
        },
        is_current: true,
        members: vec![
            member("db1", report(Server::Primary, 4, 0x1_0000_0060)),
            member("db2", following("db1", 0x1_0000_0000)),
            member("db3", following("db1", 0x1_0000_0060)),
        ],
        own: Some(Own { action: None, error: None, rungs: vec![rung("agent"), rung("guard")], ..Own::default() }),
        obstacle: None,
        end: None,
        paused: false,
        failovers: Vec::new(),
    }
}

fn rung(name: &str) -> Rung {
    Rung { name: name.to_owned(), missing: None }
}

fn any_of(acks: usize, names: &[&str]) -> Regime {
    Regime { names: names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), acks }
}

fn told() -> BTreeMap<String, Tellings> {
    BTreeMap::new()
}

fn described(database: &Database, view: &View) -> DatabaseStatus {
    status(database, &Known { me: "db1", view: Some(view), told: &told(), guard: GUARD })
}

#[test]
fn a_group_that_is_well() {
    let status = described(&database("async"), &view(Regime::default()));
    assert_eq!((status.state.as_str(), status.verdict.as_str()), ("good", "db1 takes writes, 2 of 2 replicas follow"));
    assert_eq!((status.phase.as_str(), status.primary.as_deref(), status.term), ("serving", Some("db1"), 4));
    let [first, second, _] = status.members.as_slice() else { panic!("{:?}", status.members) };
    assert_eq!((first.role.as_str(), first.state.as_str(), first.here), ("primary", "running", true));
    assert_eq!((first.position_text.as_deref(), first.lag_bytes), (Some("1/60"), None));
    assert_eq!(
        (second.state.as_str(), second.upstream.as_deref(), second.lag_bytes),
        ("streaming", Some("db1"), Some(96))
    );
    assert!(status.promises[0].contains("more than 1.0 MiB"), "{:?}", status.promises);
    assert!(status.promises[1].contains("by the guard beside it"), "{:?}", status.promises);
    assert_eq!(status.next, None);
}

#[test]
fn what_it_can_promise_depends_on_the_mode_and_the_rungs() {
    let strict = described(&database("sync-strict"), &view(any_of(1, &["db2", "db3"])));
    assert!(strict.promises[0].contains("on 1 of db2, db3: no failover loses any"), "{:?}", strict.promises);
    assert!(strict.promises[1].contains("its replicas have left it"), "{:?}", strict.promises);
    let mut alone = view(any_of(1, &["db2", "db3"]));
    for member in &mut alone.members[1..] {
        member.alive = false;
    }
    let alone = described(&database("sync-strict"), &alone);
    assert_eq!(alone.state, "bad");
    assert!(alone.verdict.contains("COMMITS WAIT: 0 of 1"), "{}", alone.verdict);
    assert!(alone.promises[0].contains("AND ONLY 0 IN STEP"), "{:?}", alone.promises);
    let preferred = described(&database("sync-preferred"), &view(Regime::default()));
    assert!(preferred.promises[0].starts_with("NO REPLICA IS IN STEP"), "{:?}", preferred.promises);
    let mut bare = view(Regime::default());
    bare.own = Some(Own { rungs: vec![rung("agent")], ..Own::default() });
    let of = |view: &View| described(&database("async"), view).promises[1].clone();
    assert!(of(&bare).contains("by NOTHING ELSE"), "{}", of(&bare));
    bare.own = Some(Own { rungs: vec![rung("agent"), rung("port-lease")], ..Own::default() });
    assert!(of(&bare).contains("by port-lease, whatever becomes"), "{}", of(&bare));
    bare.own = None;
    assert!(of(&bare).contains("is not known here"), "{}", of(&bare));
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let database = database("async");
    let mut away = view(Regime::default());
    away.members[0].alive = false;
    let seen = described(&database, &away);
    assert!(seen.verdict.contains("db1 is primary and does not take writes: it is away"), "{}", seen.verdict);
    assert!(seen.next.is_some_and(|next| next.contains("takes over by itself")));
    away.paused = true;
    assert!(described(&database, &away).next.is_some_and(|next| next.contains("database failover orders")));
    // An election that waits for the old primary, which lives.
    let mut electing = view(any_of(1, &["db2", "db3"]));
    electing.plan.term = 5;
    electing.plan.phase = Phase::Electing { from: "db1".to_owned(), forced: None };
    let code = |view: &View| {
        let status = described(&database, view);
        assert_eq!(status.state, "bad");
        let obstacle = status.obstacle.expect("an obstacle");
        assert!(status.verdict.contains(&obstacle.text) && status.next == Some(obstacle.next), "{}", status.verdict);
        obstacle.code
    };
    assert_eq!(code(&electing), "not-fenced");
    electing.members[0].alive = false;
    assert_eq!(code(&electing), "unheard");
    electing.plan.regimes.clear();
    assert_eq!(code(&electing), "unconfirmed");
    // In the founding everybody has to be heard.
    let mut founding = view(Regime::default());
    founding.plan.phase = Phase::Founding { by: None };
    founding.members[2].alive = false;
    let status = described(&database, &founding);
    assert_eq!(status.obstacle.as_ref().map(|it| it.code.as_str()), Some("founding"));
    assert!(status.verdict.contains("db3 must be heard first"), "{}", status.verdict);
    founding.members[2].alive = true;
    founding.members[2].report.as_mut().expect("a report").system = Some(8);
    assert_eq!(described(&database, &founding).obstacle.expect("an obstacle").code, "two-databases");
    let mut paused = view(Regime::default());
    (paused.paused, paused.is_current) = (true, false);
    let status = described(&database, &paused);
    assert!(status.verdict.contains("PAUSED") && status.verdict.contains("lost its lease"), "{}", status.verdict);
    assert_eq!(status.state, "warning");
    assert!(status.verdict.contains("NOT IN FORCE until db1"), "{}", status.verdict);
    paused.plan.licence.pause = Pause::On;
    let status = described(&database, &paused);
    assert!(status.pause == "on" && status.verdict.contains("db1 runs on"), "{}", status.verdict);
    (paused.paused, paused.plan.licence.pause) = (false, Pause::Ending);
    assert!(described(&database, &paused).verdict.contains("RESUMED, of which db1"));
    let nothing = super::describe::status(&database, &Known { me: "db1", view: None, told: &told(), guard: GUARD });
    assert_eq!((nothing.phase.as_str(), nothing.state.as_str(), nothing.members.len()), ("unknown", "warning", 3));
}

#[test]
fn what_other_nodes_say_is_shown() {
    let database = database("async");
    let mut config = database.agreed();
    config.insert("durability".to_owned(), "sync-strict".to_owned());
    let own = Some(Own {
        action: None,
        error: Some("the disk is full".to_owned()),
        rungs: vec![rung("agent")],
        ..Own::default()
    });
    let tellings: Tellings = [("orders".to_owned(), Telling { config, own })].into();
    let told: BTreeMap<String, Tellings> = [("db2".to_owned(), tellings)].into();
    let mut seen = view(Regime::default());
    seen.members[1].report = Some(report(Server::Stopped { clean: None }, 4, 5));
    let known = Known { me: "db1", view: Some(&seen), told: &told, guard: GUARD };
    let status = super::describe::status(&database, &known);
    assert_eq!(status.differs, ["`durability` is sync-strict on db2, and async here"]);
    assert_eq!(status.members[1].error.as_deref(), Some("the disk is full"));
    assert_eq!(status.next.as_deref(), Some("db2: the disk is full"));
    assert_eq!((status.members[1].rungs.len(), status.members[2].rungs.len()), (1, 0));
}

#[test]
fn failovers_are_told_with_their_parts() {
    let failover = Failover {
        from: "db2".to_owned(),
        to: "db1".to_owned(),
        term: 4,
        at_unix_ms: 1_000,
        planned: false,
        cause: "its node was gone".to_owned(),
        detect_ms: Some(2000),
        fence_ms: Some(200),
        elect_ms: Some(300),
        promote_ms: Some(500),
        lease_ms: Some(0),
        risk: Some(Risk::Behind(Some(96))),
        at_most: Some(4096),
        routed: Some(Routed { node: "db3".to_owned(), ms: 40 }),
        loss: None,
    };
    let half = Failover { elect_ms: None, risk: None, routed: None, ..failover.clone() };
    let of = |loss: Loss| Failover { loss: Some(loss), ..failover.clone() };
    let measured = Loss { bytes: Some(8600), commits: Some(3), span_ms: Some(656), ..Loss::default() };
    let failovers = vec![failover.clone(), half, of(measured), of(Loss::default())];
    let view = View { failovers, ..view(Regime::default()) };
    let status = described(&database("async"), &view);
    assert_eq!((status.failovers[0].rto_ms, status.failovers[1].rto_ms), (Some(3040), None));
    assert_eq!(status.failovers[0].routed_by.as_deref(), Some("db3"));
    let losses: Vec<_> = status.failovers.iter().map(|it| (it.loss.bytes, it.loss.text.as_str())).collect();
    let expected = [
        (None, "unknown until db2 comes back; at most about 4.0 KiB"),
        (None, "nothing that was acknowledged; db2 has not come back yet"),
        (Some(8600), "8.4 KiB of the old primary's log were thrown away, 3 committed transactions of 656 ms"),
        (None, "db2 came back, and what it had is not known"),
    ];
    assert_eq!(losses, expected);
    assert!(status.failovers[0].risk.as_deref().is_some_and(|risk| risk.starts_with("96 bytes as far as")));
    assert_eq!(status.failovers[0].at, "1970-01-01T00:00:01.000Z");
}

#[test]
fn changes_are_forecast_or_refused_with_the_reason() {
    let database = database("async");
    let ask = |view: &View, action, node: Option<&str>| {
        let asked = ChangeRequest { node: node.map(str::to_owned), dry_run: true };
        let known = Known { me: "db1", view: Some(view), told: &told(), guard: GUARD };
        forecast(action, &database, &known, &asked).map_err(|refused| refused.why)
    };
    let well = view(Regime::default());
    let answer = ask(&well, Action::Switchover, None).expect("db2 can");
    assert_eq!((answer.to.as_deref(), answer.term, answer.done), (Some("db2"), 4, false));
    assert!(answer.text.contains("No acknowledged write is lost"), "{}", answer.text);
    let refused = |action, node| ask(&well, action, node).expect_err("it is refused");
    assert!(refused(Action::Switchover, Some("db3")).contains("its priority is 0"));
    assert!(refused(Action::Switchover, Some("db1")).contains("is the primary already"));
    assert!(refused(Action::Switchover, Some("nobody")).contains("nobody is no member"));
    assert!(refused(Action::Reinit, Some("db1")).contains("db1 is the primary"));
    assert!(refused(Action::Reinit, Some("db9")).contains("db9 is no member"));
    let forced = ask(&well, Action::Failover, Some("db2")).expect("it is known");
    assert!(forced.text.contains("WHATEVER IT LACKS"), "{}", forced.text);
    assert!(forced.risks[0].contains("db2 lacks 96 bytes of what db1 was seen at (1/60)"), "{:?}", forced.risks);
    let open = ask(&well, Action::Failover, None).expect("somebody can");
    assert!(open.risks[0].contains("switchover` loses nothing"), "{:?}", open.risks);
    let copied = ask(&well, Action::Reinit, Some("db2")).expect("it is a replica");
    assert!(copied.text.starts_with("The data of db2 is deleted"), "{}", copied.text);
    assert_eq!(ask(&well, Action::Pause, None).expect("always").risks.len(), 2);
    let mut electing = well.clone();
    electing.plan.phase = Phase::Electing { from: "db1".to_owned(), forced: None };
    assert!(ask(&electing, Action::Switchover, None).expect_err("there is none").contains("a change is under way"));
    assert!(ask(&electing, Action::Failover, Some("db2")).is_ok(), "whoever is lost must be given up at last");
    assert!(ask(&electing, Action::Reinit, Some("db2")).expect_err("no source").contains("no primary to copy from"));
    let blind = View { is_current: false, ..well };
    assert!(ask(&blind, Action::Pause, None).expect_err("it has no lease").contains("does not know"));
}
