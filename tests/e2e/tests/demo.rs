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
    assert!((Duration::from_secs(8)..Duration::from_secs(40)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let last = text.trim().lines().last().unwrap_or_default();
    let report: serde_json::Value =
        serde_json::from_str(text.trim()).or_else(|_lines| serde_json::from_str(last)).expect("a report in JSON");
    let shown = report.to_string();
    assert!(shown.contains("availability"), "{shown}");
    assert!(shown.contains("notice"), "how long each fault took to be noticed: {shown}");
}
