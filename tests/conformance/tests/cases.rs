//! Every case against our own binary, and the table in the documentation against the cases.

use std::collections::BTreeSet;

use mainstay_conformance::{Kind, Outcome, case, run, table};

#[test]
fn ours_passes_every_case() {
    let cases = case::all();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let outcomes = run(Kind::Mainstay, &cases, 2);
    let mut failed = Vec::new();
    for (case, outcome) in cases.iter().zip(outcomes) {
        match outcome {
            Outcome::Pass => {}
            Outcome::Fail(log) => failed.push(format!("{}: {} ({})\n{log}", case.name, case.asks, case.section)),
            Outcome::NotApplicable => failed.push(format!("{}: was not run", case.name)),
        }
    }
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn the_table_lists_exactly_the_cases() {
    let text = std::fs::read_to_string(table::path()).expect("docs/conformance.md is there: `make conformance`");
    let listed = text.lines().filter(|line| line.starts_with("| [")).filter_map(|line| {
        let cells: Vec<&str> = line.split('|').collect();
        Some(format!("|{}|{}|{}|", cells.get(1)?, cells.get(2)?, cells.get(3)?))
    });
    let listed: BTreeSet<String> = listed.collect();
    let cases: BTreeSet<String> = case::all().iter().map(table::row).collect();
    let missing: Vec<_> = cases.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&cases).collect();
    assert!(missing.is_empty() && stale.is_empty(), "run `make conformance`; missing: {missing:#?}, stale: {stale:#?}");
}
