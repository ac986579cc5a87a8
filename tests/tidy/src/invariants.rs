//! Every invariant in ARCHITECTURE.md names the test that holds it, and that test exists.
//!
//! An invariant is a paragraph with `**Invariant` in it. A test is named in backticks, by a file or folder and the name
//! of the function: `crates/core/tests/balance.rs::weights_are_kept`.

use crate::Finding;
use crate::tree::Source;
use proc_macro2::{TokenStream, TokenTree};

/// Invariants without a test, and names of tests that do not exist.
pub fn check(document: &str, text: &str, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut invariants = 0;
    for (line, paragraph) in paragraphs(text) {
        let named = test_names(&paragraph);
        if paragraph.contains("**Invariant") {
            invariants += 1;
            if named.is_empty() {
                findings.push(Finding::new(document, line, "this invariant names no test that holds it"));
            }
        }
        for name in named {
            if !exists(&name, sources) {
                findings.push(Finding::new(document, line, format!("there is no test `{name}`")));
            }
        }
    }
    if invariants == 0 {
        findings.push(Finding::new(document, 0, "states no **Invariant**: the check would hold nothing"));
    }
    findings
}

/// Paragraphs with the line that each begins at. A list's entry is a paragraph of its own.
fn paragraphs(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (at, line) in text.lines().enumerate() {
        let starts_entry = line.trim_start().starts_with("- ") || line.trim_start().starts_with("| ");
        if line.trim().is_empty() {
            open = false;
            continue;
        }
        match found.last_mut() {
            Some((_, paragraph)) if open && !starts_entry => {
                paragraph.push('\n');
                paragraph.push_str(line);
            }
            _ => found.push((at + 1, line.to_owned())),
        }
        open = true;
    }
    found
}

/// What stands in backticks, begins like a path of this repository and has `::` in it.
fn test_names(paragraph: &str) -> Vec<String> {
    let quoted = paragraph.split('`').skip(1).step_by(2);
    let paths =
        quoted.filter(|it| it.contains("::") && ["crates/", "tests/", "bench/"].iter().any(|at| it.starts_with(at)));
    paths.map(str::to_owned).collect()
}

/// Whether a named test is there: a function of that name, in the file or below the folder, marked as a test.
fn exists(name: &str, sources: &[Source]) -> bool {
    let (Some((path, _)), Some((_, function))) = (name.split_once("::"), name.rsplit_once("::")) else { return false };
    let path = path.trim_end_matches('/');
    let folder = format!("{path}/");
    sources
        .iter()
        .filter(|source| source.path == path || source.path.starts_with(&folder))
        .any(|source| has_test(source.tokens.clone(), function))
}

/// Whether the tokens hold `fn function` with an attribute whose name ends in `test` before it. Tokens, since a property
/// test stands inside a macro.
fn has_test(tokens: TokenStream, function: &str) -> bool {
    let mut marked = false;
    let mut after_fn = false;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if after_fn && ident == function && marked => return true,
            TokenTree::Ident(ident) => after_fn = ident == "fn",
            TokenTree::Group(group) => {
                let text = group.stream().to_string();
                let attribute = text.split('(').next().unwrap_or_default().trim();
                marked |= attribute == "test" || attribute.replace(' ', "").ends_with("::test");
                if group.delimiter() == proc_macro2::Delimiter::Brace {
                    marked = false;
                    if has_test(group.stream(), function) {
                        return true;
                    }
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => marked = false,
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Vec<Source> {
        let text = "#[test]\nfn plain() {}\n#[tokio::test(start_paused = true)]\nasync fn timed() {}\nfn not_a_test() {}\n\
                    mod tests { proptest! {\n#[test]\nfn property(a in 0..9) {} } }";
        vec![Source::parse("crates/a/tests/kept.rs", text).unwrap()]
    }

    fn count(text: &str) -> usize {
        check("ARCHITECTURE.md", text, &sources()).len()
    }

    #[test]
    fn tests_that_exist_are_found() {
        assert_eq!(count("**Invariant:** kept, by `crates/a/tests/kept.rs::plain`."), 0);
        assert_eq!(count("- **Invariant:** kept, by\n  `crates/a/tests/kept.rs::timed`."), 0);
        assert_eq!(count("**Invariant:** kept, by `crates/a::tests::property`."), 0);
    }

    #[test]
    fn an_invariant_without_a_test_is_found() {
        assert_eq!(count("**Invariant:** hoped for."), 1);
        assert_eq!(count("**Invariant:** a `crates/a/tests/kept.rs::plain`\n\n**Invariant:** hoped for."), 1);
        assert_eq!(count("- **Invariant:** a `crates/a/tests/kept.rs::plain`\n- **Invariant:** hoped for."), 1);
    }

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        assert_eq!(count("**Invariant:** kept, by `crates/a/tests/kept.rs::gone`."), 1);
        assert_eq!(count("**Invariant:** kept, by `crates/a/tests/kept.rs::not_a_test`."), 1);
        assert_eq!(count("**Invariant:** kept, by `crates/b/tests/kept.rs::plain`."), 1);
    }

    #[test]
    fn a_document_without_invariants_is_found() {
        assert_eq!(count("Nothing to see."), 1);
    }
}
