//! Where nodes are, and which ones no longer belong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use super::NodeId;

/// The nodes as this one knows them. All copies are the same one.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<RwLock<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    addresses: BTreeMap<NodeId, String>,
    removed: BTreeSet<NodeId>,
}

impl Directory {
    /// Notes where a node is: HOST:PORT.
    pub fn place(&self, node: NodeId, address: impl Into<String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).addresses.insert(node, address.into());
    }

    /// Notes that a node no longer belongs. Numbers are never given again, so that this is for ever.
    pub fn remove(&self, node: NodeId) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.addresses.remove(&node);
        inner.removed.insert(node);
    }

    /// Where a node is, if it belongs and that is known.
    pub fn address(&self, node: NodeId) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).addresses.get(&node).cloned()
    }

    /// Whether a node was removed. One that was never heard of was not: news of it may still be on the way, and its
    /// certificate says that it was let in.
    pub fn is_removed(&self, node: NodeId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).removed.contains(&node)
    }

    /// All nodes with their addresses.
    pub fn all(&self) -> BTreeMap<NodeId, String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).addresses.clone()
    }
}
