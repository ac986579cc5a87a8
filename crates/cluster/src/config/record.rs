//! What stands below `config/`.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mainstay_core::release::{Release, Subject, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) const PREFIX: &str = "config/";
pub(super) const CURRENT: &str = "config/current";
pub(super) const RELEASE: &str = "config/release";
pub(super) const ABORT: &str = "config/abort";
pub(super) const VERSIONS: &str = "config/versions/";
pub(super) const TEXTS: &str = "config/texts/";
pub(super) const VOTES: &str = "config/votes/";
pub(super) const REPORTS: &str = "config/reports/";
pub(super) use crate::keys::NODES;

/// Keys sort as their versions do.
pub(super) fn version_key(version: Version) -> String {
    format!("{VERSIONS}{version:012}")
}

pub(super) fn text_key(version: Version) -> String {
    format!("{TEXTS}{version:012}")
}

pub(super) fn votes_of(version: Version) -> String {
    format!("{VOTES}{version:012}/")
}

pub(super) fn vote_key(version: Version, node: &str) -> String {
    format!("{}{node}", votes_of(version))
}

pub(super) fn report_key(node: &str) -> String {
    format!("{REPORTS}{node}")
}

/// The version that all nodes serve unless a release says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// Its number.
    pub version: Version,
}

/// What is known of a version besides its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Its number.
    pub version: Version,
    /// Who wrote it, as they said.
    pub author: String,
    /// When, in milliseconds since 1970, by the clock of the node that took it.
    pub written_unix_ms: u64,
    /// Why, as they said.
    pub note: String,
    /// Of its text, in hexadecimal.
    pub sha256: String,
    /// Of its text.
    pub bytes: u64,
    /// How its release ended; `None` while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// A release and its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How far it is.
    pub release: Release,
    /// When it was asked for, in milliseconds since 1970.
    pub begun_unix_ms: u64,
    /// When it changed last, likewise.
    pub changed_unix_ms: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The version that it serves; 0: what it has without the cluster.
    pub serves: Version,
    /// The release that the rest is about, by its version; 0: none.
    pub about: Version,
    /// Why it cannot serve what it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Requests a second.
    pub rate: f64,
    /// What its clients saw before the canary had the version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Subject>,
    /// And since then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub since: Vec<Subject>,
}

/// Values are JSON, so that `etcdctl get` shows something that a person can read.
pub(super) fn encode(value: &impl Serialize) -> Bytes {
    // Names, numbers and lists of them always have a form in JSON.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// What stands in a key; `None`, with a line in the log, for what another version of this program may have written.
pub(super) fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Option<T> {
    serde_json::from_slice(value)
        .inspect_err(|error| tracing::warn!(key, %error, "a value in the coordinator cannot be read"))
        .ok()
}

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Text cut to a number of characters, so that nothing that an operator or a node says grows without end.
pub(super) fn clipped(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

/// SHA-256 in hexadecimal.
pub(super) fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
