//! The configuration that all nodes share: versions in the coordinator, released in stages.
//!
//! Keys, all below `config/`:
//!
//! | key | value |
//! |---|---|
//! | `current` | the version that was released last as a whole ([`Current`]) |
//! | `release` | the last release and how far it is ([`Record`]): what each node has to serve follows from it |
//! | `versions/N`, `texts/N` | who wrote a version, when and why ([`Meta`]), and its text; never changed once it is there, but for how its release ended |
//! | `votes/N/NODE` | whether a node could serve a version; gone when its release is over |
//! | `reports/NODE` | what a node serves, and what its clients see ([`Report`]) |
//! | `abort` | the version whose release an operator wants to end |
//!
//! On each node a [`Follower`] checks, votes, applies and reports; on the one that holds the role `config` a [`Controller`]
//! plans ([`mainstay_core::release`]). [`desk`] is what an operator's commands come to. The text is opaque here: a [`Host`]
//! knows what it means.

mod controller;
pub mod desk;
mod follower;
mod kept;
mod record;
mod view;

use std::sync::Arc;

use async_trait::async_trait;
use mainstay_core::release::{Subject, Version};

pub use controller::{Controller, Fence};
pub use follower::Follower;
pub use kept::{Kept, KeptError};
pub use record::{Current, Meta, Record, Report};
pub use view::{Feed, View};

/// The name of the role whose holder plans releases.
pub const ROLE: &str = "config";
/// Bytes of a text, at most: half of what a key may hold, since all that is kept has to fit a snapshot.
pub const TEXT_BYTES_MAX: usize = 512 * 1024;
/// Versions that are kept; the oldest goes when one more is written.
pub const VERSIONS_MAX: usize = 20;
/// Characters of a note or an author.
pub const NOTE_CHARS_MAX: usize = 500;
/// Reasons that a node gives, and characters of each.
pub const REASONS_MAX: usize = 20;
/// Characters of a reason.
pub const REASON_CHARS_MAX: usize = 500;
/// Kinds of requests that a report tells of, besides all together.
pub const SUBJECTS_MAX: usize = 64;

/// A node, as far as its configuration goes. All calls come from one task.
#[async_trait]
pub trait Host: Send + Sync {
    /// Whether this node could serve `text`: everything that it names is there and can be used.
    ///
    /// # Errors
    /// All reasons why not.
    async fn check(&self, text: Arc<str>) -> Result<(), Vec<String>>;

    /// Serves `text` from now on; `None` is what the node has without the cluster. If that fails, what was served before is
    /// served on.
    ///
    /// # Errors
    /// Why it failed.
    async fn apply(&self, version: Version, text: Option<Arc<str>>) -> Result<(), String>;

    /// Requests a second that the node has served of late.
    fn rate(&self) -> f64;

    /// Remembers what clients saw of late as what was there before a change.
    fn change_comes(&self);

    /// From here on counts what clients see of the change.
    fn change_is_there(&self);

    /// What clients saw before [`Host::change_comes`], and since [`Host::change_is_there`].
    fn seen(&self) -> (Vec<Subject>, Vec<Subject>);
}
