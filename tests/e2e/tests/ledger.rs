//! The availability ledger and incidents: a scripted history of faults, and what the node makes of it.

use std::fs;
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::{Mainstay, Origin, eventually, free};
use serde_json::Value;

/// Whoever has died refuses at once; a slow answer of somebody else is none on a busy machine.
const CHECK: &str =
    "health = { http = \"/health\", interval = \"600ms\", timeout = \"550ms\", unhealthy = 1, healthy = 1 }\n";
/// What a check, the look at services, and two noisy cores may add to either end of an outage.
const LATE: f64 = 2.5;
const LONG: Duration = Duration::from_secs(20);

fn json(gateway: &Mainstay, arguments: &[&str]) -> Value {
    let output = gateway.command(&[arguments, &["--json"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {told}"))
}

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn figure(report: &Value, name: &str) -> f64 {
    report["figures"][name].as_f64().unwrap_or_else(|| panic!("{name} in {report}"))
}

fn stands(gateway: &Mainstay, verdict: &str) -> bool {
    let incidents = json(gateway, &["incidents"]);
    let latest = &incidents["items"][0];
    match verdict {
        "up" => latest["ended_at"].is_string(),
        "down" => latest["ended_at"].is_null() && latest["level"] == "down",
        _degraded => latest["ended_at"].is_null() && latest["level"] == "degraded",
    }
}

#[test]
fn the_figures_of_a_scripted_history_are_the_scripts() {
    let mut origins = Origin::several(2);
    let all: Vec<_> = origins.iter().map(Origin::address).collect();
    let mut gateway = Mainstay::start_with("data_dir = \"data\"\n", &simple(free(), &all, CHECK));
    // One of two dies: degraded. Both: down. Both are back.
    origins[0].kill();
    eventually("degraded", LONG, || stands(&gateway, "degraded"));
    origins[1].kill();
    let down_since = Instant::now();
    eventually("down", LONG, || stands(&gateway, "down"));
    assert_eq!(gateway.metric("mainstay_incidents_open", &[]), 1.0);
    let page = text(&gateway.command(&["status"]));
    assert!(page.contains("incident, not over: app: down"), "{page}");
    std::thread::sleep(Duration::from_secs(2));
    origins.iter_mut().for_each(Origin::restart);
    let down = down_since.elapsed().as_secs_f64();
    eventually("up", LONG, || stands(&gateway, "up"));

    let report = json(&gateway, &["ledger", "--service", "app", "--since", "1h"]);
    assert_eq!((figure(&report, "failures"), figure(&report, "planned")), (1.0, 0.0), "{report}");
    let found = figure(&report, "down_seconds");
    assert!((found - down).abs() < LATE, "{down} s by the script, {found} s by the ledger: {report}");
    assert!(figure(&report, "partial_seconds") > 0.0, "{report}");
    let (up, observed) = (figure(&report, "up_seconds"), figure(&report, "observed_seconds"));
    assert!((figure(&report, "availability_percent") - 100.0 * up / observed).abs() < 1e-6);
    assert_eq!(figure(&report, "mtbf_seconds"), up, "one failure");
    assert!(figure(&report, "coverage_percent") < 50.0, "an hour was asked for: {report}");

    let incidents = json(&gateway, &["incidents", "--service", "app"]);
    let incident = &incidents["items"][0];
    assert_eq!(incidents["items"].as_array().map(Vec::len), Some(1), "{incidents}");
    let cause = incident["cause"].as_str().unwrap();
    assert!(cause.contains("2 of 2 endpoints amiss") && cause.contains("connection refused"), "{cause}");
    assert!((incident["unavailable_seconds"].as_f64().unwrap() - found).abs() < 0.01, "{incident} {report}");
    let whole = json(&gateway, &["incidents", incident["id"].as_str().unwrap()]);
    let taken_out = |endpoint: &str| {
        let entries = whole["entries"].as_array().unwrap().iter();
        let about =
            entries.filter(|it| it["subject"]["name"] == endpoint && it["part"] == "action" && it["to"] == "down");
        about.count()
    };
    for endpoint in &all {
        assert_eq!(taken_out(&endpoint.to_string()), 1, "{whole}");
        assert!(gateway.stderr().contains("endpoint is down"), "as the log says");
    }

    // Killed and started again: what was is known, and what nobody saw is not counted.
    gateway.kill_and_restart();
    let again = json(&gateway, &["ledger", "--service", "app", "--since", "1h"]);
    assert_eq!(figure(&again, "failures"), 1.0, "{again}");
    assert!((figure(&again, "down_seconds") - found).abs() < 1e-6, "{again}");
    // The same for whoever looks at the status or scrapes, a little later.
    let of = ["kind=\"service\"", "name=\"app\""];
    let metrics = || gateway.admin("/metrics").text();
    eventually("the metrics know", LONG * 3, || metrics().contains("mainstay_failures_28d{"));
    assert_eq!(gateway.metric("mainstay_failures_28d", &of), 1.0);
    let mttr = gateway.metric("mainstay_mttr_28d_seconds", &of);
    assert!((mttr - found).abs() < 1e-6, "{mttr} {found}");
    let share = gateway.metric("mainstay_availability_28d_ratio", &of);
    assert!(share > 0.0 && share < 1.0, "{share}");
    let shown = text(&gateway.command(&["status"]));
    assert!(
        shown.contains("available over 28 days, as this node saw it: app ") && shown.contains(", 1 failure of "),
        "{shown}"
    );
    let page = gateway.dir().join("report.html");
    json(&gateway, &["ledger", "--service", "app", "--html", &page.display().to_string()]);
    assert!(fs::read_to_string(&page).unwrap().contains("<svg"));
}

#[test]
fn a_drain_is_planned_and_a_changed_byte_is_found() {
    let origin = Origin::start();
    let gateway = Mainstay::start_with("data_dir = \"data\"\n", &simple(free(), &[origin.address()], CHECK));
    let service = || json(&gateway, &["ledger", "--service", "app", "--since", "1h"]);
    let endpoint = format!("app/{}", origin.address());
    // Only what was seen up can be down.
    eventually("it is up", LONG, || {
        let known = gateway.command(&["ledger", "--service", "app"]).status.success();
        known && figure(&service(), "up_seconds") > 0.0
    });
    assert!(gateway.command(&["drain", &endpoint]).status.success());
    eventually("the drain", LONG, || figure(&service(), "planned_seconds") > 0.2);
    let report = service();
    assert_eq!((figure(&report, "failures"), figure(&report, "planned")), (0.0, 1.0), "{report}");
    assert_eq!(figure(&report, "unplanned_availability_percent"), 100.0);

    let verdict = json(&gateway, &["ledger", "verify"]);
    assert_eq!(verdict["intact"], true, "{verdict}");
    let file = gateway.dir().join("data/ledger/ledger-00000001.jsonl");
    let mut bytes = fs::read(&file).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    bytes[second + 200] ^= 1;
    fs::write(&file, bytes).unwrap();
    let output = gateway.command(&["ledger", "verify"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("DAMAGED: ledger-00000001.jsonl, line 2"), "{told}");
}
