//! Values: each reading says what is wrong with the value and answers `None` then.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::keys::Keys;
use super::super::problem::{Fault, near};
use super::super::units;
use super::{Place, Reader, Section};

/// A value somewhere in the document.
#[derive(Clone, Debug)]
pub(in crate::config) struct Item<'r> {
    pub(in crate::config) reader: &'r Reader<'r>,
    pub(in crate::config) place: Place,
    pub(in crate::config) value: &'r Spanned<DeValue<'r>>,
}

impl<'r> Item<'r> {
    pub(in crate::config) fn error(&self, fault: Fault) {
        self.reader.error(&self.place, fault);
    }

    pub(in crate::config) fn wrong_type(&self, wanted: &str, hint: &str) {
        let fault = Fault::new(format!("{wanted} is needed here, not {}", article(self.value.get_ref())));
        self.error(if hint.is_empty() { fault } else { fault.hint(hint) });
    }

    /// The number as it is written, if it is one.
    pub(in crate::config) fn number(&self) -> Option<&str> {
        match self.value.get_ref() {
            DeValue::Integer(integer) => Some(integer.as_str()),
            DeValue::Float(float) => Some(float.as_str()),
            _other => None,
        }
    }

    /// The text, if it is one; reports nothing.
    pub(in crate::config) fn word(&self) -> Option<&'r str> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(text),
            _other => None,
        }
    }

    pub(in crate::config) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    pub(in crate::config) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// Whether it is a list of texts, with one at least; reports nothing.
    pub(in crate::config) fn is_list_of_words(&self) -> bool {
        let entries = self.value.get_ref().as_array();
        entries.is_some_and(|entries| !entries.is_empty() && entries.iter().all(|entry| entry.get_ref().is_str()))
    }

    /// The flag, if it is one; reports nothing.
    pub(in crate::config) fn as_flag(&self) -> Option<bool> {
        self.value.get_ref().as_bool()
    }

    pub(in crate::config) fn text(&self) -> Option<&'r str> {
        let word = self.word();
        if word.is_none() {
            self.wrong_type("a string", "");
        }
        word
    }

    /// A text that `parse` understands.
    pub(in crate::config) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        parse(self.text()?).map_err(|fault| self.error(fault)).ok()
    }

    pub(in crate::config) fn path(&self) -> Option<PathBuf> {
        self.parsed(|text| {
            let is_path = !text.is_empty() && !text.contains('\0');
            is_path.then(|| self.reader.resolve(text)).ok_or_else(|| Fault::new("a file's path is needed here"))
        })
    }

    pub(in crate::config) fn flag(&self) -> Option<bool> {
        let flag = self.as_flag();
        if flag.is_none() {
            self.wrong_type("true or false", "");
        }
        flag
    }

    pub(in crate::config) fn integer(&self, bounds: &RangeInclusive<u64>) -> Option<u64> {
        let DeValue::Integer(integer) = self.value.get_ref() else {
            self.wrong_type("a whole number", "");
            return None;
        };
        match i128::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|value| u64::try_from(value).ok()) {
            Some(value) if bounds.contains(&value) => Some(value),
            Some(_) | None => {
                self.error(out_of_bounds(integer.as_str(), &bounds.start().to_string(), &bounds.end().to_string()));
                None
            }
        }
    }

    pub(in crate::config) fn duration(&self, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        if let Some(number) = self.number() {
            self.error(units::duration_without_unit(number));
            return None;
        }
        self.parsed(|text| {
            let value = units::duration(text)?;
            let (low, high) = (units::show_duration(*bounds.start()), units::show_duration(*bounds.end()));
            bounds.contains(&value).then_some(value).ok_or_else(|| out_of_bounds(text, &low, &high))
        })
    }

    pub(in crate::config) fn size(&self, bounds: &RangeInclusive<u64>) -> Option<u64> {
        if let Some(number) = self.number() {
            self.error(units::size_without_unit(number));
            return None;
        }
        self.parsed(|text| {
            let value = units::size(text)?;
            let (low, high) = (units::show_size(*bounds.start()), units::show_size(*bounds.end()));
            bounds.contains(&value).then_some(value).ok_or_else(|| out_of_bounds(text, &low, &high))
        })
    }

    pub(in crate::config) fn share(&self, bounds: &RangeInclusive<f64>) -> Option<f64> {
        if let Some(number) = self.number() {
            self.error(units::share_without_unit(number));
            return None;
        }
        self.parsed(|text| {
            let value = units::share(text)?;
            let (low, high) = (units::show_share(*bounds.start()), units::show_share(*bounds.end()));
            bounds.contains(&value).then_some(value).ok_or_else(|| out_of_bounds(text, &low, &high))
        })
    }

    /// One of a few words.
    pub(in crate::config) fn one_of<T: Clone>(&self, words: &[(&str, T)]) -> Option<T> {
        self.parsed(|text| word_of(text, words))
    }

    pub(in crate::config) fn list(&self) -> Vec<Item<'r>> {
        let DeValue::Array(entries) = self.value.get_ref() else {
            self.wrong_type("a list", "write [ ... ]");
            return Vec::new();
        };
        let entry = |(index, value): (usize, &'r Spanned<DeValue<'r>>)| Item {
            reader: self.reader,
            place: Place { path: format!("{}[{index}]", self.place.path), span: value.span() },
            value,
        };
        entries.iter().enumerate().map(entry).collect()
    }

    /// The entries of a list, or the value itself as the only one.
    pub(in crate::config) fn list_or_one(&self) -> Vec<Item<'r>> {
        if self.is_list() { self.list() } else { vec![self.clone()] }
    }

    pub(in crate::config) fn section(&self, keys: &Keys) -> Option<Section<'r>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            self.wrong_type("a table", "");
            return None;
        };
        Some(Section::checked(self.reader, table, self.place.clone(), keys))
    }
}

/// Reads one of a few words.
pub(in crate::config) fn word_of<T: Clone>(text: &str, words: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_word, value)) = words.iter().find(|(word, _value)| *word == text) {
        return Ok(value.clone());
    }
    let names = || words.iter().map(|(word, _value)| *word);
    let fault = Fault::new(format!("`{}` is not known here", clip(text)));
    Err(match near(text, names()) {
        Some(word) => fault.hint(format!("did you mean \"{word}\"?")),
        None => {
            let quoted: Vec<String> = names().map(|word| format!("\"{word}\"")).collect();
            fault.hint(format!("it is one of {}", quoted.join(", ")))
        }
    })
}

/// A text from the file for use in a message: one line, not long.
pub(in crate::config) fn clip(text: &str) -> String {
    let shown: String = text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if shown.len() < text.len() { format!("{shown}...") } else { shown }
}

fn out_of_bounds(value: &str, low: &str, high: &str) -> Fault {
    Fault::new(format!("{} is out of bounds", clip(value))).hint(format!("it must be between {low} and {high}"))
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
