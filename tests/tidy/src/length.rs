//! How long files and functions may be. What matters is the tail: a median takes care of itself.

use crate::tree::{Source, is_test_attribute};
use crate::{Finding, rules};
use std::collections::BTreeSet;
use syn::spanned::Spanned;
use syn::visit::Visit;

/// The limits and their exceptions, passed in so that the red tests can bring their own.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Lines of a file without its inline tests.
    pub file: usize,
    /// Lines of a file with everything.
    pub file_hard: usize,
    /// Lines of a function.
    pub function: usize,
    /// Files that may be longer: path, most lines, reason.
    pub long_files: &'a [(&'a str, usize, &'a str)],
    /// Functions that may be longer: file, function, most lines, reason.
    pub long_functions: &'a [(&'a str, &'a str, usize, &'a str)],
}

/// The limits of this repository.
pub const LIMITS: Limits<'static> = Limits {
    file: rules::FILE_LINES,
    file_hard: rules::FILE_LINES_HARD,
    function: rules::FUNCTION_LINES,
    long_files: rules::LONG_FILES,
    long_functions: rules::LONG_FUNCTIONS,
};

/// Files and functions over their limits, and exceptions that nothing needs any more.
pub fn check(sources: &[Source], limits: Limits<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources {
        check_file(source, limits, &mut used, &mut findings);
        let mut functions = Functions { source, limits, used: &mut used, findings: &mut findings };
        functions.visit_file(&source.syntax);
    }
    let files = limits.long_files.iter().map(|(path, _, _)| (path.to_string(), String::new()));
    let functions = limits.long_functions.iter().map(|(path, name, _, _)| (path.to_string(), name.to_string()));
    for (path, name) in files.chain(functions) {
        if !used.contains(&(path.clone(), name.clone())) {
            findings.push(Finding::new(&path, 0, format!("the exception {name} is not needed any more: remove it")));
        }
    }
    findings
}

fn check_file(source: &Source, limits: Limits<'_>, used: &mut Used, findings: &mut Vec<Finding>) {
    let all = source.text.lines().count();
    let without_tests = all - inline_test_lines(source);
    let exception = limits.long_files.iter().find(|(path, _, _)| *path == source.path);
    let (soft, hard) = match exception {
        Some((_, lines, _)) => (*lines, *lines),
        None => (limits.file, limits.file_hard),
    };
    if exception.is_some() && (without_tests > limits.file || all > limits.file_hard) {
        used.insert((source.path.clone(), String::new()));
    }
    if without_tests > soft {
        findings.push(Finding::new(&source.path, 0, format!("{without_tests} lines without tests, at most {soft}")));
    } else if all > hard {
        findings.push(Finding::new(&source.path, 0, format!("{all} lines, at most {hard}: move the tests out")));
    }
}

/// Lines of the modules inside a file that only tests compile.
fn inline_test_lines(source: &Source) -> usize {
    let modules = source.syntax.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_some() && module.attrs.iter().any(is_test_attribute) => {
            Some(module)
        }
        _ => None,
    });
    modules.map(|module| lines(module.span())).sum()
}

fn lines(span: proc_macro2::Span) -> usize {
    span.end().line + 1 - span.start().line
}

/// The exceptions that were needed: file, and function if it is one.
type Used = BTreeSet<(String, String)>;

struct Functions<'a> {
    source: &'a Source,
    limits: Limits<'a>,
    used: &'a mut Used,
    findings: &'a mut Vec<Finding>,
}

impl Functions<'_> {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let length = block.span().end().line + 1 - first;
        if length <= self.limits.function {
            return;
        }
        let name = signature.ident.to_string();
        let exception =
            self.limits.long_functions.iter().find(|(path, it, _, _)| *path == self.source.path && *it == name);
        let most = exception.map_or(self.limits.function, |(_, _, lines, _)| *lines);
        if exception.is_some() {
            self.used.insert((self.source.path.clone(), name.clone()));
        }
        if length > most {
            let what = format!("`fn {name}` has {length} lines, at most {most}");
            self.findings.push(Finding::new(&self.source.path, first, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits<'static> = Limits { file: 5, file_hard: 8, function: 3, long_files: &[], long_functions: &[] };

    fn findings(text: &str, limits: Limits<'_>) -> Vec<String> {
        let source = Source::parse("crates/a/src/lib.rs", text).unwrap();
        check(&[source], limits).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_long_file_is_found() {
        let found = findings("//\n//\n//\n//\n//\n//\n", SMALL);
        assert_eq!(found, ["crates/a/src/lib.rs: 6 lines without tests, at most 5"]);
    }

    #[test]
    fn inline_tests_count_only_for_the_hard_limit() {
        assert!(findings("//\n#[cfg(test)]\nmod tests {\n//\n//\n}\n", SMALL).is_empty());
        let found = findings("//\n#[cfg(test)]\nmod tests {\n//\n//\n//\n//\n//\n//\n}\n", SMALL);
        assert_eq!(found, ["crates/a/src/lib.rs: 10 lines, at most 8: move the tests out"]);
    }

    #[test]
    fn a_long_function_is_found_wherever_it_stands() {
        let plain = findings("fn a() {\n//\n//\n}\n", SMALL);
        assert_eq!(plain, ["crates/a/src/lib.rs:1: `fn a` has 4 lines, at most 3"]);
        assert_eq!(findings("impl A {\nfn b() {\n//\n\n}}", SMALL).len(), 1);
        assert_eq!(findings("trait A {\nfn c() {\n//\n\n}}", SMALL).len(), 1);
        assert_eq!(findings("mod m {\nfn d() {\n//\n\n}}", SMALL).len(), 1);
        assert!(findings("fn a() {\n//\n}\n", SMALL).is_empty());
    }

    #[test]
    fn exceptions_hold_to_their_own_limit_and_go_when_unused() {
        let functions = &[("crates/a/src/lib.rs", "a", 4, "a table")][..];
        let limits = Limits { long_functions: functions, ..SMALL };
        assert!(findings("fn a() {\n//\n//\n}\n", limits).is_empty());
        assert_eq!(findings("fn a() {\n//\n//\n//\n}", limits).len(), 1);
        assert!(findings("fn a() {}\n", limits)[0].contains("not needed any more"));

        let limits = Limits { long_files: &[("crates/a/src/lib.rs", 6, "a table")], ..SMALL };
        assert!(findings("//\n//\n//\n//\n//\n//\n", limits).is_empty());
        assert_eq!(findings("//\n//\n//\n//\n//\n//\n//\n", limits).len(), 1);
        assert!(findings("//\n", limits)[0].contains("not needed any more"));
    }
}
