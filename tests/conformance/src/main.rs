//! Runs every case against every proxy and writes `docs/conformance.md`. Words on the command line choose proxies or cases
//! (by a part of their names); then nothing is written, and the log of each failure is shown.

use std::io::Write as _;

use mainstay_conformance::{Kind, Outcome, case, run, table};

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_kind = |kind: &Kind, word: &str| kind.name().eq_ignore_ascii_case(word);
    let chosen = |kind: &Kind| words.iter().any(|word| is_kind(kind, word));
    let parts: Vec<&String> = words.iter().filter(|word| !Kind::ALL.iter().any(|kind| is_kind(kind, word))).collect();
    let mut kinds = Kind::ALL.to_vec();
    if kinds.iter().any(chosen) {
        kinds.retain(chosen);
    }
    let mut cases = case::all();
    if !parts.is_empty() {
        cases.retain(|case| parts.iter().any(|part| case.name.contains(*part)));
    }
    let mut out = std::io::stdout().lock();
    let mut columns = Vec::new();
    for kind in kinds {
        let outcomes = run(kind, &cases, 2);
        for (case, outcome) in cases.iter().zip(&outcomes) {
            if let Outcome::Fail(log) = outcome {
                writeln!(out, "{}: {} failed", kind.name(), case.name)?;
                if !words.is_empty() {
                    writeln!(out, "{log}")?;
                }
            }
        }
        let passed = outcomes.iter().filter(|outcome| **outcome == Outcome::Pass).count();
        writeln!(out, "{} {}: {passed} of {} cases", kind.name(), kind.version(), cases.len())?;
        columns.push((kind, outcomes));
    }
    if words.is_empty() {
        std::fs::write(table::path(), table::document(&cases, &columns))?;
    }
    Ok(())
}
