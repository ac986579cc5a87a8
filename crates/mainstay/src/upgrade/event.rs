//! How an upgrade goes, step by step, as the node tells it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What `POST /api/v1/upgrade` takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// The program to start; the one that the node was started from if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub binary: Option<PathBuf>,
    /// How long the new process may take to get ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// One step. The answer is a line of JSON for each; the last one is [`Event::Done`] or [`Event::Failed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = UpgradeEvent)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The program and the configuration are looked at.
    Checking {
        /// The program.
        #[schema(value_type = String)]
        binary: PathBuf,
        /// The process that serves now.
        pid: u32,
        /// Its version.
        version: String,
    },
    /// The program could serve the configuration.
    Checked {
        /// The program's version.
        version: String,
        /// The file; none if the node runs without.
        #[schema(value_type = Option<String>)]
        configuration: Option<PathBuf>,
    },
    /// The new process runs.
    Started {
        /// Its number.
        pid: u32,
    },
    /// The new process has the sockets and knows the endpoints.
    Ready {
        /// Its number.
        pid: u32,
    },
    /// The new process serves.
    Done(Done),
    /// The old process goes on as before.
    Failed {
        /// Why.
        error: String,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        /// What the new process wrote last.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        log: Vec<String>,
    },
}

impl Event {
    /// Whether nothing comes after it.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Failed { .. })
    }
}

/// What an upgrade came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// The process that served before.
    pub old_pid: u32,
    /// Its version.
    pub old_version: String,
    /// The process that serves now.
    pub new_pid: u32,
    /// Its version.
    pub new_version: String,
    /// Connections that the old process still serves.
    pub connections_left: u64,
    /// After so many seconds it cuts those that are left then.
    pub deadline_seconds: u64,
}
