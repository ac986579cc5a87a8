//! What a route's configuration changes of headers.

use super::write::field;

/// A route's changes to headers, laid out for writing.
#[derive(Debug, Default)]
pub(crate) struct Ops {
    removed: Vec<String>,
    /// The fields to set, as lines.
    pub(crate) set: Vec<u8>,
}

impl Ops {
    pub(crate) fn new(ops: &crate::spec::HeaderOps) -> Self {
        let mut set = Vec::new();
        for (name, value) in &ops.set {
            field(&mut set, name.as_bytes(), value.as_bytes());
        }
        let removed: Vec<String> = ops
            .remove
            .iter()
            .chain(ops.set.iter().map(|(name, _value)| name))
            .map(|name| name.to_ascii_lowercase())
            .collect();
        Self { removed, set }
    }

    /// Whether all fields stay.
    pub(crate) const fn removes_nothing(&self) -> bool {
        self.removed.is_empty()
    }

    /// Whether fields of this name go.
    pub(crate) fn removes(&self, name: &[u8]) -> bool {
        self.removed.iter().any(|removed| removed.as_bytes().eq_ignore_ascii_case(name))
    }
}
