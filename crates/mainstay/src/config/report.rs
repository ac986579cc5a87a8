//! How problems and a checked configuration are shown: as text for people, as JSON for programs.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::{Config, Problem, Severity};

/// What `mainstay check` prints for people: each problem with its line, then how many there are; or what is served.
pub fn render_text(file: &Path, result: &Result<Config, Vec<Problem>>) -> String {
    let mut out = String::new();
    let problems = problems_of(result);
    for problem in problems {
        out.push_str(&render_problem(problem));
        out.push('\n');
    }
    match result {
        Ok(config) => {
            let warnings = if problems.is_empty() { String::new() } else { format!(", {}", count_of(problems)) };
            let _infallible = writeln!(out, "ok: {}: {}{warnings}", file.display(), summary(config));
        }
        Err(problems) => {
            let _infallible = writeln!(out, "{}", count_of(problems));
        }
    }
    out
}

/// What `mainstay check --json` prints.
pub fn render_json(file: &Path, result: &Result<Config, Vec<Problem>>) -> String {
    let problems: Vec<Value> = problems_of(result).iter().map(as_json).collect();
    let mut report = json!({ "ok": result.is_ok(), "file": file.display().to_string(), "problems": problems });
    if let Ok(config) = result {
        let spec = &config.spec;
        report["listeners"] = json!(spec.listeners.len());
        report["routes"] = json!(spec.routes.len());
        report["services"] = json!(spec.services.len());
        report["endpoints"] = json!(endpoints(config));
        report["discovered"] = json!(sources(config));
    }
    format!("{report:#}\n")
}

/// One problem, its line of the file and a mark below the part that is meant.
pub fn render_problem(problem: &Problem) -> String {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut out = format!("{severity}: ");
    if !problem.path.is_empty() {
        let _infallible = write!(out, "{}: ", problem.path);
    }
    let _infallible = writeln!(out, "{}", problem.message);
    let number = problem.line.to_string();
    let margin = " ".repeat(number.len());
    if problem.line == 0 {
        let _infallible = writeln!(out, "{margin}--> {}", problem.file);
    } else {
        let _infallible = writeln!(out, "{margin}--> {}:{}:{}", problem.file, problem.line, problem.column);
    }
    if let Some(excerpt) = &problem.excerpt {
        let mark = format!("{}{}", " ".repeat(excerpt.indent), "^".repeat(excerpt.width));
        let _infallible = writeln!(out, "{number} | {}\n{margin} | {mark}", excerpt.line.trim_end());
    }
    if let Some(hint) = &problem.hint {
        let _infallible = writeln!(out, "{margin} = hint: {hint}");
    }
    out
}

/// What is served, in one line: `2 listeners, 3 routes, 1 service with 4 endpoints, 1 database`.
pub fn summary(config: &Config) -> String {
    let spec = &config.spec;
    let discovered = match sources(config) {
        0 => String::new(),
        count => format!(" and {} by DNS", plural(count, "set")),
    };
    let further = [(config.databases.len(), "database"), (config.addresses.len(), "floating address")]
        .into_iter()
        .filter(|(count, _noun)| *count > 0)
        .map(|(count, noun)| format!(", {}", plural(count, noun)))
        .collect::<String>();
    format!(
        "{}, {}, {} with {}{discovered}{further}",
        plural(spec.listeners.len(), "listener"),
        plural(spec.routes.len(), "route"),
        plural(spec.services.len(), "service"),
        plural(endpoints(config), "endpoint")
    )
}

fn sources(config: &Config) -> usize {
    config.spec.services.iter().map(|service| service.sources.len()).sum()
}

fn endpoints(config: &Config) -> usize {
    config.spec.services.iter().map(|service| service.endpoints.len()).sum()
}

fn problems_of(result: &Result<Config, Vec<Problem>>) -> &[Problem] {
    match result {
        Ok(config) => &config.warnings,
        Err(problems) => problems,
    }
}

/// How many errors and warnings there are: `3 errors, 1 warning`.
pub fn count_of(problems: &[Problem]) -> String {
    let warnings = problems.iter().filter(|problem| problem.severity == Severity::Warning).count();
    match (problems.len() - warnings, warnings) {
        (0, warnings) => plural(warnings, "warning"),
        (errors, 0) => plural(errors, "error"),
        (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}

fn plural(count: usize, noun: &str) -> String {
    let ending = if noun.ends_with('s') { "es" } else { "s" };
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}{ending}") }
}

fn as_json(problem: &Problem) -> Value {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let position = |number: usize| if number == 0 { Value::Null } else { json!(number) };
    json!({
        "severity": severity,
        "file": problem.file,
        "line": position(problem.line),
        "column": position(problem.column),
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    })
}
