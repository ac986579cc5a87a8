//! The Rust files of the repository, each read and parsed once.

use crate::rules;
use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One source file.
pub struct Source {
    /// Relative to the repository's root, with slashes.
    pub path: String,
    /// The text.
    pub text: String,
    /// The tokens of the text.
    pub tokens: TokenStream,
    /// The parsed file.
    pub syntax: syn::File,
    /// Whether all of it is test code: a file below a `tests` directory, or a module that only tests compile.
    pub is_test: bool,
}

impl Source {
    /// Parses one file. The red tests make their inputs with it.
    pub fn parse(path: &str, text: &str) -> Result<Source> {
        let tokens: TokenStream = text.parse().map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        let syntax = syn::parse_file(text).with_context(|| format!("cannot parse {path}"))?;
        let is_test = path
            .rsplit_once('/')
            .is_some_and(|(folder, _)| folder.split('/').any(|part| part == "tests" || part == "benches"));
        Ok(Source { path: path.to_owned(), text: text.to_owned(), tokens, syntax, is_test })
    }

    /// The crate's folder, such as `crates/core` or `bench`.
    pub fn package(&self) -> &str {
        let end = self.path.find("/src/").or_else(|| self.path.find("/tests/")).unwrap_or(self.path.len());
        &self.path[..end]
    }
}

/// The repository's root, two levels above this crate.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Reads every Rust file below the directories of [`rules::SOURCES`], in order of their paths.
pub fn read(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for directory in rules::SOURCES {
        let mut found = Vec::new();
        walk(&root.join(directory), &mut found)?;
        for file in found {
            let path = file.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {path}"))?;
            sources.push(Source::parse(&path, &text)?);
        }
    }
    mark_test_modules(&mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// All Rust files below a directory, save what was built or found by fuzzing.
fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "corpus" | "artifacts" | "work") && !name.starts_with('.') {
                walk(&path, found)?;
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Marks the files that are modules behind `#[cfg(test)] mod name;` of another file, and everything below them.
fn mark_test_modules(sources: &mut [Source]) {
    let mut roots = BTreeSet::new();
    for source in sources.iter() {
        for item in &source.syntax.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && module.attrs.iter().any(is_test_attribute)
            {
                roots.insert(format!("{}/{}", children(&source.path), module.ident));
            }
        }
    }
    for source in sources {
        let stem = source.path.trim_end_matches(".rs");
        source.is_test |= roots.iter().any(|root| stem == root || stem.starts_with(&format!("{root}/")));
    }
}

/// The folder that holds the modules which a file declares.
fn children(path: &str) -> &str {
    let stem = path.trim_end_matches(".rs");
    match stem.rsplit_once('/') {
        Some((folder, "lib" | "main")) => folder,
        _ => stem,
    }
}

/// Whether an attribute makes an item part of the tests only: `#[test]`, `#[tokio::test]`, `#[cfg(test)]` and the like.
pub fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    let path = attribute.path();
    if path.segments.last().is_some_and(|segment| segment.ident == "test") {
        return true;
    }
    let syn::Meta::List(list) = &attribute.meta else { return false };
    path.is_ident("cfg") && is_test_condition(list.tokens.clone())
}

/// Whether the inside of `cfg(...)` asks for tests.
pub fn is_test_condition(tokens: TokenStream) -> bool {
    let mut words = Vec::new();
    flatten(tokens, &mut words);
    words.iter().any(|word| word == "test") && !words.iter().any(|word| word == "not")
}

fn flatten(tokens: TokenStream, words: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => words.push(ident.to_string()),
            TokenTree::Group(group) => flatten(group.stream(), words),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_line_test_modules_are_tests() {
        let mut sources = vec![
            Source::parse("crates/a/src/lib.rs", "#[cfg(test)] mod model; mod real;").unwrap(),
            Source::parse("crates/a/src/model.rs", "").unwrap(),
            Source::parse("crates/a/src/model/deep.rs", "").unwrap(),
            Source::parse("crates/a/src/real.rs", "").unwrap(),
        ];
        mark_test_modules(&mut sources);
        assert_eq!(sources.iter().map(|source| source.is_test).collect::<Vec<_>>(), [false, true, true, false]);
    }

    #[test]
    fn conditions_that_ask_for_tests() {
        assert!(is_test_condition("test".parse().unwrap()));
        assert!(is_test_condition("all(test, unix)".parse().unwrap()));
        assert!(!is_test_condition("not(test)".parse().unwrap()));
        assert!(!is_test_condition("unix".parse().unwrap()));
    }

    #[test]
    fn the_package_of_a_file() {
        assert_eq!(Source::parse("crates/core/src/a/b.rs", "").unwrap().package(), "crates/core");
        assert_eq!(Source::parse("tests/e2e/tests/kill.rs", "").unwrap().package(), "tests/e2e");
        assert_eq!(Source::parse("bench/src/main.rs", "").unwrap().package(), "bench");
    }
}
