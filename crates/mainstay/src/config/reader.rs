//! Reading a parsed document by hand rather than by derive, so that one pass finds every problem, not only the first.
//!
//! A [`Section`] is a table, an [`Item`] a value, a [`Field`] what came of reading one key. Whoever reads gets a usable
//! value in any case and goes on; what was wrong is with the [`Reader`].

mod item;

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_observe::secret::Secret;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Keys};
use super::problem::{self, Fault, Problem, Severity};
use super::source::Source;
pub(super) use item::{Item, clip, word_of};

/// Collects what is wrong.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    file: &'t str,
    base_dir: &'t Path,
    source: Source<'t>,
    problems: RefCell<Vec<Problem>>,
    authorities: RefCell<Vec<(Place, PathBuf)>>,
    secrets: RefCell<Vec<(Place, Secret)>>,
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) span: Range<usize>,
}

impl Place {
    /// The place of something inside.
    pub(super) fn below(&self, key: &str, span: Range<usize>) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { path, span }
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(file: &'t str, base_dir: &'t Path, source: Source<'t>) -> Self {
        Self {
            file,
            base_dir,
            source,
            problems: RefCell::default(),
            authorities: RefCell::default(),
            secrets: RefCell::default(),
        }
    }

    /// The document names this secret there.
    pub(super) fn named(&self, place: Place, secret: Secret) {
        self.secrets.borrow_mut().push((place, secret));
    }

    /// All secrets that were named, and where.
    pub(super) fn secrets(&self) -> Vec<(Place, Secret)> {
        self.secrets.borrow().clone()
    }

    pub(super) fn error(&self, place: &Place, fault: Fault) {
        self.report(Severity::Error, place, fault);
    }

    /// An error only if the document parsed as a whole: else what seems to be missing may not have been understood.
    pub(super) fn error_if_whole(&self, place: &Place, fault: Fault) {
        if !self.source.is_recovered() {
            self.error(place, fault);
        }
    }

    pub(super) fn warn(&self, place: &Place, fault: Fault) {
        if !self.source.is_recovered() {
            self.report(Severity::Warning, place, fault);
        }
    }

    fn report(&self, severity: Severity, place: &Place, fault: Fault) {
        if place.path.is_empty() && place.span == (0..0) {
            self.problems.borrow_mut().push(Problem { severity, ..problem::of_file(self.file, fault) });
            return;
        }
        let position = self.source.position(place.span.start);
        self.problems.borrow_mut().push(Problem {
            severity,
            file: self.file.to_owned(),
            line: position.line,
            column: position.column,
            path: place.path.clone(),
            message: fault.message,
            hint: fault.hint,
            excerpt: self.source.excerpt(&place.span),
        });
    }

    /// A path, taken from the configuration's folder if it is relative.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.base_dir.join(path)
    }

    /// The line of a place, for messages that name another one.
    pub(super) fn line(&self, place: &Place) -> usize {
        self.source.position(place.span.start).line
    }

    /// The files of authorities that [`Section::authorities`] has read, and where they are named.
    pub(super) fn authorities(&self) -> Vec<(Place, PathBuf)> {
        self.authorities.borrow().clone()
    }

    /// What was found, in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}

/// A table whose keys are known.
#[derive(Clone, Debug)]
pub(super) struct Section<'r> {
    pub(super) reader: &'r Reader<'r>,
    pub(super) place: Place,
    table: &'r DeTable<'r>,
}

/// What came of a key.
#[derive(Clone, Debug)]
pub(super) struct Field<T> {
    /// What was read, or the default.
    pub(super) value: T,
    /// Where it stands, or where it would.
    pub(super) place: Place,
    /// Whether the key is there.
    pub(super) is_given: bool,
    /// Whether it could be read, if it is there. Relations to a value that could not are not worth a word.
    pub(super) is_good: bool,
}

impl<'r> Section<'r> {
    /// A file of authorities by which others are believed. It is tried where files are.
    pub(super) fn authorities(&self, key: &str) -> Field<Option<PathBuf>> {
        let field = self.field(key, None, |item| item.path().map(Some));
        if let Some(file) = &field.value {
            self.reader.authorities.borrow_mut().push((field.place.clone(), file.clone()));
        }
        field
    }

    /// The document.
    pub(super) fn root(reader: &'r Reader<'r>, table: &'r DeTable<'r>) -> Self {
        Self::checked(reader, table, Place { path: String::new(), span: 0..0 }, &keys::ROOT)
    }

    pub(super) fn checked(reader: &'r Reader<'r>, table: &'r DeTable<'r>, place: Place, keys: &Keys) -> Self {
        for key in table.keys() {
            if !keys.names.contains(&key.get_ref().as_ref()) {
                reader.error(&place.below(key.get_ref(), key.span()), unknown(key.get_ref(), keys));
            }
        }
        Self { reader, place, table }
    }

    /// The value of a key.
    pub(super) fn item(&self, key: &str) -> Option<Item<'r>> {
        let value = self.table.get(key)?;
        Some(Item { reader: self.reader, place: self.place.below(key, value.span()), value })
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &str, hint: &str) -> Option<Item<'r>> {
        let item = self.item(key);
        if item.is_none() {
            let fault = Fault::new(format!("`{key}` is missing"));
            self.reader.error_if_whole(&self.place, if hint.is_empty() { fault } else { fault.hint(hint) });
        }
        item
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reads a key by `read`, which reports what is wrong.
    pub(super) fn field<T>(&self, key: &str, default: T, read: impl FnOnce(&Item<'r>) -> Option<T>) -> Field<T> {
        let Some(item) = self.item(key) else {
            return Field { value: default, place: self.place.clone(), is_given: false, is_good: true };
        };
        let value = read(&item);
        Field { is_good: value.is_some(), value: value.unwrap_or(default), place: item.place, is_given: true }
    }

    pub(super) fn duration(&self, key: &str, default: Duration, bounds: RangeInclusive<Duration>) -> Field<Duration> {
        self.field(key, default, |item| item.duration(&bounds))
    }

    pub(super) fn integer(&self, key: &str, default: u64, bounds: RangeInclusive<u64>) -> Field<u64> {
        self.field(key, default, |item| item.integer(&bounds))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Field<bool> {
        self.field(key, default, Item::flag)
    }

    /// The tables under a key that may be there many times: `[[key]]`, or an array of inline tables.
    pub(super) fn sections(&self, key: &str, keys: &Keys) -> Vec<Section<'r>> {
        let Some(item) = self.item(key) else { return Vec::new() };
        match item.value.get_ref() {
            DeValue::Array(_) => item.list().iter().filter_map(|entry| entry.section(keys)).collect(),
            DeValue::Table(table) => {
                let last = item.place.path.rsplit('.').next().unwrap_or(key);
                let hint = format!("write [[{last}]] with two brackets: there may be several");
                self.reader.error(&item.place, Fault::new("one table where a list of tables belongs").hint(hint));
                vec![Self::checked(self.reader, table, item.place, keys)]
            }
            _scalar => {
                item.wrong_type("a list of tables", &format!("write [[{key}]] and its keys below it"));
                Vec::new()
            }
        }
    }

    /// The entries of a table whose keys are free, in the order of the file.
    pub(super) fn free_entries(item: &Item<'r>, at_most: usize) -> Vec<(&'r str, Range<usize>, Item<'r>)> {
        let DeValue::Table(table) = item.value.get_ref() else {
            item.wrong_type("a table", "write { name = \"value\" }");
            return Vec::new();
        };
        if table.len() > at_most {
            item.error(
                Fault::new(format!("{} entries are too many", table.len()))
                    .hint(format!("at most {at_most} are allowed")),
            );
            return Vec::new();
        }
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| {
                let place = item.place.below(key.get_ref(), value.span());
                (key.get_ref().as_ref(), key.span(), Item { reader: item.reader, place, value })
            })
            .collect();
        entries.sort_by_key(|(_key, span, _item)| span.start);
        entries
    }
}

fn unknown(key: &str, keys: &Keys) -> Fault {
    let fault = Fault::new("unknown key");
    if let Some(meant) = keys::meant(key, keys) {
        return fault.hint(format!("did you mean `{meant}`?"));
    }
    match keys::home_of(key, keys) {
        Some(section) => fault.hint(format!("`{key}` belongs to `{section}`")),
        None => fault.hint(format!("known here: {}", keys.names.join(", "))),
    }
}
