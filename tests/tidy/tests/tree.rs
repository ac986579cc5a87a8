//! Every check, over this repository.

use mainstay_tidy::tree::{Source, read, root};
use mainstay_tidy::{Finding, calls, invariants, layers, length, names, rules};

fn none(findings: Vec<Finding>) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

fn each(check: fn(&Source) -> Vec<Finding>) {
    let sources = read(&root()).expect("the sources can be read");
    assert!(sources.len() > 10, "only {} files were found", sources.len());
    none(sources.iter().flat_map(check).collect());
}

#[test]
fn crates_import_only_lower_layers() {
    none(layers::check(&layers::read(&root()).unwrap()));
}

#[test]
fn core_reaches_no_runtime_and_no_socket() {
    none(layers::check_core(&layers::read(&root()).unwrap()));
    each(calls::check_core);
}

#[test]
fn files_and_functions_are_short() {
    none(length::check(&read(&root()).unwrap(), length::LIMITS));
}

#[test]
fn names_say_what_is_inside() {
    each(names::check);
}

#[test]
fn no_test_is_ignored() {
    each(calls::check_ignored);
}

#[test]
fn nothing_unwraps_outside_tests() {
    each(calls::check_unwrap);
}

#[test]
fn unsafe_stands_only_in_named_files() {
    none(calls::check_unsafe(&read(&root()).unwrap(), rules::UNSAFE));
}

#[test]
fn only_runtime_starts_tasks_and_threads() {
    each(calls::check_spawn);
}

#[test]
fn invariants_name_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    none(invariants::check("ARCHITECTURE.md", &text, &read(&root()).unwrap()));
}
