//! The admin API as its OpenAPI document describes it, with what schemathesis makes up: nothing fails, what is valid is taken,
//! what is not is refused, and every answer has a form that is described.

use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::{Mainstay, Origin, free, soak};

use super::token;

/// Seconds that it goes on; with `MAINSTAY_SOAK` the second.
const SECONDS: [&str; 2] = ["18", "400"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemathesis")
}

#[test]
fn what_the_document_says_holds_for_whatever_is_sent() {
    let fuzzer = folder().join(".venv/bin/schemathesis");
    assert!(fuzzer.is_file(), "{} is not there: run `make schemathesis`", fuzzer.display());
    let origin = Origin::start();
    let objective = "[[objective]]\nname = \"good\"\nservice = \"app\"\ntarget = \"99%\"\n";
    let config = format!("[access]\n{}{objective}", simple(free(), &[origin.address()], ""));
    let mut gateway = Mainstay::start_with("name = \"lb1\"\ndata_dir = \"data\"\nexplain = 64", &config);
    let token = token(&gateway, &["fuzz", "--role", "admin"]);

    // Without the ways to log in: the fuzzer would make tokens up, and ten wrong ones in a minute have the node refuse all that come
    // from there. Who may do what is tested by the table of endpoints.
    let mut document = gateway.admin("/api/v1/openapi.json").json();
    document["components"].as_object_mut().expect("components").remove("securitySchemes").expect("ways to log in");
    let operations = document["paths"].as_object_mut().expect("paths").values_mut();
    operations.flat_map(|path| path.as_object_mut().expect("operations").values_mut()).for_each(|operation| {
        operation.as_object_mut().expect("an operation").remove("security").expect("who may");
    });
    let file = gateway.dir().join("openapi.json");
    std::fs::write(&file, document.to_string()).expect("the document");

    let is_soak = soak::is_on();
    // In CI the same is sent each time; a soak says what it began with.
    let (seconds, phases) =
        if is_soak { (SECONDS[1], "coverage,fuzzing,stateful") } else { (SECONDS[0], "coverage,fuzzing") };
    let mut command = Command::new(fuzzer);
    command.arg("--config-file").arg(folder().join("schemathesis.toml")).arg("run").arg(&file);
    command.args(["--url", &format!("http://{}", gateway.admin_address())]);
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    command.args(["--phases", phases, "--max-time", seconds, "--request-timeout", "30", "--workers", "1"]);
    command.args(["--continue-on-failure", "--no-shrink", "--max-examples", if is_soak { "200" } else { "5" }]);
    if !is_soak {
        command.args(["--seed", "1"]);
    }
    // It leaves a folder with what it found out where it runs.
    let output = command.env("NO_COLOR", "1").current_dir(gateway.dir()).output().expect("the fuzzer");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    let cases = said.lines().find_map(made);
    assert!(cases.is_some_and(|cases| cases > 0), "nothing was sent: {said}");
    let log = gateway.stderr();
    assert!(!log.contains("panicked"), "{log}");
    assert!(gateway.process().is_running(), "{log}");
    assert!(
        gateway.command(&["audit-log", "verify"]).status.success(),
        "what was sent is in the trail, which is whole"
    );
}

/// How many requests a line of the summary speaks of (`1906 generated, ...`).
fn made(line: &str) -> Option<u64> {
    line.trim().split_once(" generated")?.0.parse().ok()
}
