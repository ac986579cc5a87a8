//! Names that say what is inside: no `utils`, no `mod.rs`.

use crate::tree::Source;
use crate::{Finding, rules};
use syn::visit::Visit;

/// Files, folders and modules with a forbidden name.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in source.path.split('/') {
        let stem = part.trim_end_matches(".rs");
        if part == "mod.rs" {
            findings.push(Finding::new(&source.path, 0, "mod.rs: put foo.rs beside the folder foo/ instead"));
        } else if rules::EMPTY_NAMES.contains(&stem) {
            findings.push(Finding::new(&source.path, 0, format!("`{stem}` says nothing: name what is inside")));
        }
    }
    Modules { path: &source.path, findings: &mut findings }.visit_file(&source.syntax);
    findings
}

struct Modules<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl<'ast> Visit<'ast> for Modules<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        if rules::EMPTY_NAMES.contains(&name.as_str()) {
            let line = module.ident.span().start().line;
            self.findings.push(Finding::new(
                self.path,
                line,
                format!("`mod {name}` says nothing: name what is inside"),
            ));
        }
        syn::visit::visit_item_mod(self, module);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text).unwrap()).len()
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(count("crates/a/src/pool/mod.rs", ""), 1);
        assert_eq!(count("crates/a/src/utils.rs", ""), 1);
        assert_eq!(count("crates/common/src/lib.rs", ""), 1);
        assert_eq!(count("crates/a/src/lib.rs", "mod inner { mod helpers {} }"), 1);
    }

    #[test]
    fn names_that_say_something_pass() {
        assert_eq!(count("crates/a/src/pool.rs", "mod commons_pool { fn utils() {} }"), 0);
    }
}
