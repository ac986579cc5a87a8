//! Labels: what an alert is called and what it is about.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::random;

/// Labels of an alert, at most. Further ones are left out.
pub const LABELS_MAX: usize = 12;
/// Bytes of a label's name, at most; what is longer is cut.
pub const NAME_BYTES_MAX: usize = 32;
/// Bytes of a label's value, at most; what is longer is cut.
pub const VALUE_BYTES_MAX: usize = 96;

/// Names and values, by name. A label without a value is the same as none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

/// Which alert it is: a hash of its labels, the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Fingerprint {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl Labels {
    /// No labels.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// These labels, and one more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a label, within the bounds. An empty value takes it away.
    pub fn set(&mut self, name: &str, value: &str) {
        let cut = |text: &str, max: usize| text[..text.floor_char_boundary(max)].to_owned();
        let name = cut(name, NAME_BYTES_MAX);
        if value.is_empty() {
            self.0.remove(&name);
        } else if self.0.len() < LABELS_MAX || self.0.contains_key(&name) {
            self.0.insert(name, cut(value, VALUE_BYTES_MAX));
        }
    }

    /// The value of a label; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Those with these names.
    #[must_use]
    pub fn only(&self, names: &[String]) -> Self {
        Self(self.0.iter().filter(|(name, _value)| names.contains(name)).map(|(n, v)| (n.clone(), v.clone())).collect())
    }

    /// Those without this name.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut rest = self.clone();
        rest.0.remove(name);
        rest
    }

    /// Which alert has these labels.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut bytes = Vec::with_capacity(256);
        for (name, value) in &self.0 {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0xff);
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0xff);
        }
        Fingerprint(random::hash(&bytes))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}
