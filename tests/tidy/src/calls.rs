//! What sources may not call or contain: `unwrap` outside tests, `unsafe` outside named files, tasks and threads outside
//! `runtime`, ignored tests, and in `core` anything that touches the world.
//!
//! The checks read tokens and not syntax, since a parser does not look inside of macros such as `select!`.

use crate::tree::{Source, is_test_condition};
use crate::{Finding, rules};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// `unwrap()` outside tests.
pub fn check_unwrap(source: &Source) -> Vec<Finding> {
    if source.is_test || is_tool(source) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    each_place(source.tokens.clone(), true, &mut |tokens| {
        if is_punct(tokens, 0, '.') && is_ident(tokens, 1, "unwrap") && group_is_empty(tokens, 2) == Some(true) {
            let what = "`unwrap` outside tests: handle the error, or `expect` with the proof that there is none";
            findings.push(Finding::new(&source.path, line(&tokens[0]), what));
        }
    });
    findings
}

/// Tests that are not run.
pub fn check_ignored(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    each_place(source.tokens.clone(), false, &mut |tokens| {
        let Some(TokenTree::Group(group)) = tokens.get(1) else { return };
        if !is_punct(tokens, 0, '#') || group.delimiter() != Delimiter::Bracket {
            return;
        }
        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
        let conditional = is_ident(&inner, 0, "cfg_attr") && group.stream().to_string().contains("ignore");
        if is_ident(&inner, 0, "ignore") || conditional {
            let what = "an ignored test holds nothing: run it, or remove it";
            findings.push(Finding::new(&source.path, line(&tokens[0]), what));
        }
    });
    findings
}

/// `unsafe` outside the files named in `allowed`, and names that nothing needs any more.
pub fn check_unsafe(sources: &[Source], allowed: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = Vec::new();
    for source in sources {
        each_place(source.tokens.clone(), false, &mut |tokens| {
            if !is_ident(tokens, 0, "unsafe") {
                return;
            }
            if allowed.iter().any(|(path, _)| *path == source.path) {
                used.push(source.path.as_str());
            } else {
                let what = "`unsafe` outside the files named in rules::UNSAFE";
                findings.push(Finding::new(&source.path, line(&tokens[0]), what));
            }
        });
    }
    for (path, _) in allowed {
        if !used.contains(path) {
            findings.push(Finding::new(path, 0, "named in rules::UNSAFE, but has no `unsafe`: remove the name"));
        }
    }
    findings
}

/// Tasks and threads started outside `runtime`. Test code and the tools of the repository may do as they like.
pub fn check_spawn(source: &Source) -> Vec<Finding> {
    if source.is_test || is_tool(source) || source.package() == "crates/runtime" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    each_place(source.tokens.clone(), true, &mut |tokens| {
        if starts_task(tokens) {
            let what = "only `mainstay-runtime` starts tasks and threads: each has an owner and a stop policy there";
            findings.push(Finding::new(&source.path, line(&tokens[0]), what));
        }
    });
    // An import may be found both as a statement and as a path.
    findings.dedup();
    findings
}

/// Names in tokio that start something, or hold what was started without an owner.
const STARTERS: &[&str] = &["spawn", "spawn_local", "spawn_blocking", "JoinSet", "LocalSet"];

fn starts_task(tokens: &[TokenTree]) -> bool {
    // A command's `spawn()` starts a process and takes nothing; those of a runtime or a scope take what is to run.
    let by_method =
        is_punct(tokens, 0, '.') && is_ident(tokens, 1, "spawn") && group_is_empty(tokens, 2) == Some(false);
    let by_thread = path_goes_to(tokens, 0, "thread", &["spawn", "Builder", "scope"]);
    let by_tokio = path_goes_to(tokens, 0, "tokio", STARTERS)
        || (is_ident(tokens, 0, "tokio") && path_goes_to(tokens, 3, "task", STARTERS));
    by_method || by_thread || by_tokio || imports_starter(tokens)
}

/// `use tokio::...` with one of the starters in it, or with the whole module that has them.
fn imports_starter(tokens: &[TokenTree]) -> bool {
    if !is_ident(tokens, 0, "use") || !is_ident(tokens, 1, "tokio") {
        return false;
    }
    let end = tokens.iter().position(|token| matches!(token, TokenTree::Punct(it) if it.as_char() == ';'));
    let statement: String = tokens[..end.unwrap_or(tokens.len())].iter().map(|token| format!("{token} ")).collect();
    let words: Vec<&str> = statement.split(|sign: char| !sign.is_alphanumeric() && sign != '_').collect();
    let whole = statement.split(['{', ',', '}']).map(str::trim).any(|part| part.ends_with("task"));
    words.iter().any(|word| STARTERS.contains(word)) || whole || statement.replace(' ', "").contains("task::{self")
}

/// `owner::name` for one of the names.
fn path_goes_to(tokens: &[TokenTree], at: usize, owner: &str, names: &[&str]) -> bool {
    is_ident(tokens, at, owner)
        && is_punct(tokens, at + 1, ':')
        && is_punct(tokens, at + 2, ':')
        && names.iter().any(|name| is_ident(tokens, at + 3, name))
}

/// In `core`: paths that lead to a clock, a file, a socket, a thread or the environment.
pub fn check_core(source: &Source) -> Vec<Finding> {
    if source.package() != "crates/core" || source.is_test {
        return Vec::new();
    }
    let mut findings = Vec::new();
    each_place(source.tokens.clone(), true, &mut |tokens| {
        for path in rules::CORE_NEVER_PATHS {
            let whole = path
                .iter()
                .enumerate()
                .all(|(at, part)| is_ident(tokens, at * 3, part) && (at == 0 || is_punct(tokens, at * 3 - 1, ':')));
            if whole {
                let what =
                    format!("`{}` in core: decisions take time, randomness and facts as arguments", path.join("::"));
                findings.push(Finding::new(&source.path, line(&tokens[0]), what));
            }
        }
    });
    findings
}

/// The test crates and the benchmark are programs that only this repository runs.
fn is_tool(source: &Source) -> bool {
    ["tests/", "bench/", "fuzz/"].iter().any(|folder| source.path.starts_with(folder))
}

/// Calls `look` with the tokens from each place on to the end of its group, leaving out test items if asked to.
fn each_place(stream: TokenStream, skip_tests: bool, look: &mut dyn FnMut(&[TokenTree])) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        if skip_tests && starts_test_item(&tokens[at..]) {
            at = end_of_item(&tokens, at);
            continue;
        }
        look(&tokens[at..]);
        if let TokenTree::Group(group) = &tokens[at] {
            each_place(group.stream(), skip_tests, look);
        }
        at += 1;
    }
}

/// `#[cfg(test)]`, `#[test]`, `#[tokio::test]`.
fn starts_test_item(tokens: &[TokenTree]) -> bool {
    let Some(TokenTree::Group(group)) = tokens.get(1) else { return false };
    if !is_punct(tokens, 0, '#') || group.delimiter() != Delimiter::Bracket {
        return false;
    }
    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
    match (inner.first(), inner.get(1)) {
        (Some(TokenTree::Ident(name)), Some(TokenTree::Group(condition))) if name == "cfg" => {
            is_test_condition(condition.stream())
        }
        _ => {
            let last_ident = inner.iter().rev().find_map(|token| match token {
                TokenTree::Ident(ident) => Some(ident.to_string()),
                TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => None,
            });
            last_ident.as_deref() == Some("test")
        }
    }
}

/// The place after the item that starts here: after its braces, or after its semicolon if that comes first.
fn end_of_item(tokens: &[TokenTree], start: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    };
    tokens[start..].iter().position(ends).map_or(tokens.len(), |length| start + length + 1)
}

fn is_ident(tokens: &[TokenTree], at: usize, name: &str) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == name)
}

fn is_punct(tokens: &[TokenTree], at: usize, sign: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Whether the parentheses at a place are empty; nothing if there are none.
fn group_is_empty(tokens: &[TokenTree], at: usize) -> Option<bool> {
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => Some(group.stream().is_empty()),
        _ => None,
    }
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::parse(path, text).unwrap()
    }

    fn lines(findings: Vec<Finding>) -> Vec<usize> {
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unwrap_is_found_outside_tests_and_inside_macros() {
        let text = "fn a() {\nb.unwrap();\nselect! { x = y => x.unwrap() }\nb.unwrap_or(1); }";
        assert_eq!(lines(check_unwrap(&source("crates/a/src/a.rs", text))), [2, 3]);
        let test = "#[cfg(test)]\nmod tests { fn a() { b.unwrap(); } }\n#[test]\nfn c() { d.unwrap() }";
        assert!(check_unwrap(&source("crates/a/src/a.rs", test)).is_empty());
        assert!(check_unwrap(&source("crates/a/tests/a.rs", text)).is_empty());
        let after = "#[cfg(test)]\nuse a::b;\nfn a() {\nb.unwrap(); }";
        assert_eq!(lines(check_unwrap(&source("crates/a/src/a.rs", after))), [4]);
    }

    #[test]
    fn ignored_tests_are_found() {
        let check = |text| lines(check_ignored(&source("tests/e2e/tests/a.rs", text)));
        assert_eq!(check("#[test]\n#[ignore]\nfn a() {}"), [2]);
        assert_eq!(check("#[test]\n#[ignore = \"slow\"]\nfn a() {}"), [2]);
        assert_eq!(check("#[test]\n#[cfg_attr(unix, ignore)]\nfn a() {}"), [2]);
        assert_eq!(check("proptest! {\n#[test]\n#[ignore]\nfn a() {} }"), [3]);
        assert!(check("#[test]\nfn ignore() { ignore() }").is_empty());
    }

    #[test]
    fn unsafe_is_found_outside_named_files() {
        let sources = [source("crates/a/src/a.rs", "fn a() {\nunsafe { b() } }"), source("crates/a/src/c.rs", "")];
        assert_eq!(lines(check_unsafe(&sources, &[])), [2]);
        assert!(check_unsafe(&sources, &[("crates/a/src/a.rs", "a call")]).is_empty());
        let stale = check_unsafe(&sources, &[("crates/a/src/a.rs", "a call"), ("crates/a/src/c.rs", "nothing")]);
        assert_eq!(stale.len(), 1);
        assert_eq!(stale[0].place, "crates/a/src/c.rs");
    }

    #[test]
    fn tasks_and_threads_are_found_outside_runtime() {
        let text = "use tokio::spawn;\nuse tokio::{net, task};\nfn a() {\ntokio::spawn(b);\nstd::thread::spawn(c);\n\
                    tokio::task::spawn_local(d);\nset.spawn(e);\nstd::thread::Builder::new();\n\
                    tokio::task::JoinSet::new(); }";
        assert_eq!(lines(check_spawn(&source("crates/gateway/src/a.rs", text))), [1, 2, 4, 5, 6, 7, 8, 9]);
        assert!(check_spawn(&source("crates/runtime/src/a.rs", text)).is_empty());
        assert!(check_spawn(&source("crates/gateway/tests/a.rs", text)).is_empty());
    }

    #[test]
    fn processes_and_tasks_of_the_runtime_pass() {
        let text = "use tokio::{net::TcpStream, task::yield_now};\nuse mainstay_runtime::task;\n\
                    fn a() { Command::new(\"true\").spawn()?; respawn(x); task::spawn_local(Kind::Probe, b); }";
        assert!(check_spawn(&source("crates/mainstay/src/a.rs", text)).is_empty());
    }

    #[test]
    fn the_world_is_found_in_core() {
        let text =
            "use std::fs;\nuse std::time::{Duration, SystemTime};\nfn a() {\nInstant::now(); }\nuse std::net::IpAddr;";
        assert_eq!(lines(check_core(&source("crates/core/src/a.rs", text))), [1, 2, 4]);
        assert!(check_core(&source("crates/gateway/src/a.rs", text)).is_empty());
    }
}
