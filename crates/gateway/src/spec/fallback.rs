//! What a client gets in place of an error.

use std::path::PathBuf;

use mainstay_core::fallback::Policy;

/// What a route answers when it cannot answer as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// When, and by which forms.
    pub policy: Policy,
    /// The service that gets one attempt; there is one exactly if the policy has the form.
    pub service: Option<String>,
    /// The fixed answer; there is one exactly if the policy has one.
    pub answer: Option<Answer>,
}

/// An answer that the configuration spells out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its media type.
    pub content_type: String,
    /// Its body.
    pub content: Content,
}

/// The body of an [`Answer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// There is none.
    None,
    /// This text.
    Text(String),
    /// What the file holds when the configuration is applied, at most [`CONTENT_BYTES_MAX`].
    File(PathBuf),
}

/// Bytes of a fixed answer's body: it stays in memory.
pub const CONTENT_BYTES_MAX: u64 = 1024 * 1024;
