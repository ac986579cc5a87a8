//! Names in a hash table, with the lengths that occur, to find the longest one that begins or ends another.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::random::mix;

/// Values by name.
#[derive(Clone, Debug)]
pub(super) struct ByLength<T> {
    names: HashMap<Box<[u8]>, T, BuildHasherDefault<Fnv>>,
    /// Lengths of the names, each once, the longest first.
    lengths: Vec<usize>,
}

impl<T> Default for ByLength<T> {
    fn default() -> Self {
        Self { names: HashMap::default(), lengths: Vec::new() }
    }
}

impl<T: Default> ByLength<T> {
    /// The value of `name`, made if there is none.
    pub(super) fn entry(&mut self, name: &str) -> &mut T {
        if let Err(at) = self.lengths.binary_search_by(|length| name.len().cmp(length)) {
            self.lengths.insert(at, name.len());
        }
        self.names.entry(name.as_bytes().into()).or_default()
    }
}

impl<T> ByLength<T> {
    /// The value of this very name.
    pub(super) fn get(&self, name: &[u8]) -> Option<&T> {
        if self.lengths.is_empty() { None } else { self.names.get(name) }
    }

    /// The values of names that `host` ends with and does not equal, the longest first. A name that does not begin with a
    /// dot is not found, for it could end a label in its middle.
    pub(super) fn suffixes_of<'a>(&'a self, host: &'a [u8]) -> impl Iterator<Item = &'a T> {
        self.lengths.iter().filter_map(move |length| {
            let start = host.len().checked_sub(*length).filter(|start| *start > 0)?;
            if host.get(start) == Some(&b'.') { self.names.get(&host[start..]) } else { None }
        })
    }

    /// The values of names whose segments `path` begins with, the longest first. The empty name begins every path, also
    /// the `*` of an OPTIONS request.
    pub(super) fn prefixes_of<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = &'a T> {
        self.lengths.iter().filter_map(move |length| {
            let at_boundary = *length == 0 || path.len() == *length || path.get(*length) == Some(&b'/');
            if at_boundary { self.names.get(path.get(..*length)?) } else { None }
        })
    }
}

/// FNV-1a. The names come from the configuration, so nobody can choose them to collide.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        mix(self.0)
    }
}
