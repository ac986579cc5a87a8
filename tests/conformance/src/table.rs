//! The table in `docs/conformance.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::case::Case;
use crate::proxy::Kind;
use crate::run::Outcome;

/// Where the table stands.
pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md"))
}

const HEAD: &str = include_str!("head.md");

/// What each group is about, in the order of the names.
const GROUPS: &[(&str, &str)] = &[
    ("expect", "Expect"),
    ("forwarding", "Forwarding"),
    ("framing", "Framing of requests"),
    ("hop", "Headers of one hop"),
    ("host", "Host and target"),
    ("interim", "Interim responses"),
    ("oversize", "Oversized heads"),
    ("proxyproto", "PROXY protocol"),
    ("reframe", "Framing towards the other side"),
    ("response", "Hostile responses"),
    ("reuse", "Reuse of connections"),
    ("trailers", "Trailers"),
    ("upgrade", "Upgrade"),
];

/// What is run against one proxy, and what came of it.
pub type Column = (Kind, Vec<Outcome>);

/// The document: totals, then one table a group.
///
/// # Panics
/// If a case belongs to no known group.
pub fn document(cases: &[Case], columns: &[Column]) -> String {
    let mut text = HEAD.to_owned();
    totals(&mut text, cases, columns);
    let groups: BTreeSet<&str> = cases.iter().map(Case::group).collect();
    for group in groups {
        let title = GROUPS.iter().find(|(name, _title)| *name == group);
        let (_name, title) = title.unwrap_or_else(|| panic!("group `{group}` has no title"));
        let names: String = columns.iter().map(|(kind, _outcomes)| format!(" {} |", kind.name())).collect();
        let rule = "---|".repeat(columns.len());
        let _fits = write!(text, "\n## {title}\n| case | what is asked | section |{names}\n|---|---|---|{rule}\n");
        for (index, case) in cases.iter().enumerate().filter(|(_index, case)| case.group() == group) {
            let _fits = write!(text, "{}", row(case));
            for (_kind, outcomes) in columns {
                let _fits = write!(text, " {} |", word(&outcomes[index]));
            }
            text.push('\n');
        }
    }
    text
}

fn totals(text: &mut String, cases: &[Case], columns: &[Column]) {
    let _fits =
        write!(text, "{} cases.\n\n| proxy | version | pass | FAIL | n/a |\n|---|---|---|---|---|\n", cases.len());
    for (kind, outcomes) in columns {
        let count = |wanted: &str| outcomes.iter().filter(|outcome| word(outcome) == wanted).count();
        let (pass, fail, not) = (count("pass"), count("**FAIL**"), count("n/a"));
        let _fits = writeln!(text, "| {} | {} | {pass} | {fail} | {not} |", kind.name(), kind.version());
    }
}

/// What a row says before its outcomes, which the tests hold against the scripts.
pub fn row(case: &Case) -> String {
    format!("| [{name}](../tests/conformance/{name}.vtc) | {} | {} |", case.asks, case.section, name = case.name)
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail(_log) => "**FAIL**",
        Outcome::NotApplicable => "n/a",
    }
}
