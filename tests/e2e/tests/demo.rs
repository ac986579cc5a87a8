//! The demo runs by itself and reports what it measured.

use std::process::Command;
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::built;

#[test]
fn the_demo_reports_what_it_measured() {
    let begun = Instant::now();
    let output =
        Command::new(built("mainstay")).args(["demo", "--duration", "10s", "--json"]).output().expect("it starts");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {text}\n{errors}", output.status);
    assert!((Duration::from_secs(8)..Duration::from_secs(120)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let last = text.trim().lines().last().unwrap_or_default();
    let report: serde_json::Value =
        serde_json::from_str(text.trim()).or_else(|_lines| serde_json::from_str(last)).expect("a report in JSON");
    let shown = report.to_string();
    assert!(shown.contains("availability"), "{shown}");
    assert!(shown.contains("notice"), "how long each fault took to be noticed: {shown}");
}

/// The holder of the address is killed, frozen and cut off. How long that takes depends on the machine; that never two
/// listen, that another node answers each time and that nothing that was confirmed is lost does not.
#[test]
fn three_nodes_of_the_demo_take_over_from_each_other() {
    let arguments = ["demo", "--nodes", "3", "--duration", "24s", "--json"];
    let output = Command::new(built("mainstay")).args(arguments).output().expect("it starts");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {text}\n{errors}", output.status);
    let report: serde_json::Value = serde_json::from_str(&text).expect("a report in JSON");
    let nodes = &report["nodes"];
    assert_eq!(nodes["count"], 3, "{report:#}");
    assert_eq!(nodes["holders"]["several"], 0, "{report:#}");
    assert_eq!(nodes["holders"]["unreadable"], 0, "{report:#}");
    assert!(nodes["holders"]["looks"].as_u64() > Some(100), "{report:#}");
    assert!(nodes["holders"]["nobody"].as_u64() > Some(0), "the probe sees the time between two holders: {report:#}");
    let faults = report["faults"].as_array().expect("faults");
    let of_nodes: Vec<_> = faults.iter().filter(|fault| fault["node"].is_string()).collect();
    assert!(!of_nodes.is_empty(), "{report:#}");
    for fault in of_nodes {
        assert!(fault["noticed_after_seconds"].is_number(), "another node answers: {report:#}");
        assert!(fault["longest_gap_seconds"].is_number(), "nobody answers meanwhile: {report:#}");
    }
    assert_eq!((&report["orders"]["lost"], &report["orders"]["executed_twice"]), (&0.into(), &0.into()), "{report:#}");
}

/// A machine dies, a server is killed, a primary hands over, while clients write. How long each takes depends on the machine; that
/// no acknowledged row is gone, and that each change is measured by phase and by what it has cost, does not.
#[test]
fn databases_of_the_demo_lose_no_acknowledged_row_and_measure_each_change() {
    let output = Command::new(built("mainstay")).args(["demo", "--databases", "--json"]).output().expect("it starts");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {text}\n{errors}", output.status);
    let report: serde_json::Value = serde_json::from_str(&text).expect("a report in JSON");
    assert!(report["rows"]["acknowledged"].as_u64() > Some(50), "{report:#}");
    assert_eq!(report["rows"]["lost"], 0, "{report:#}");
    assert!(report["keys"]["acknowledged"].as_u64() > Some(50), "{report:#}");
    // Seconds without a primary are bad ones of the objective, and there were good ones.
    let (all, bad) = (report["objective"]["all"].as_u64(), report["objective"]["bad"].as_u64());
    assert!(bad > Some(0) && all > bad, "{report:#}");
    let changes = report["changes"].as_array().expect("changes");
    let databases: Vec<_> = changes.iter().map(|change| change["database"].as_str().unwrap_or_default()).collect();
    assert_eq!(databases, ["orders", "cache", "orders"], "{report:#}");
    for change in changes {
        let failover = &change["failover"];
        let parts = failover["parts"].as_array().into_iter().flatten();
        let phases: Vec<_> = parts.map(|part| part["name"].as_str().unwrap_or_default()).collect();
        assert_eq!(phases, ["lease", "detect", "fence", "elect", "promote", "route"], "{report:#}");
        assert!(failover["routed_by"].is_string(), "a client was led to the new primary: {report:#}");
        assert_eq!(failover["loss"]["measured"], true, "{report:#}");
    }
}
