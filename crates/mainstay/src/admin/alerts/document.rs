//! What `/api/v1/alerts`, `/api/v1/silences` and `/api/v1/receivers` take and answer.

use mainstay_core::alert::Labels;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The alerts as they stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertsAnswer {
    /// The node that evaluates them, as far as is known.
    pub evaluator: Option<String>,
    /// The alerts, the gravest first.
    pub items: Vec<AlertStatus>,
    /// There is never more: alerts are few.
    pub next: Option<String>,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertStatus {
    /// Which: a hash of its labels.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// `P1` to `P4`.
    pub severity: String,
    /// `pending`, `firing` or `resolved`.
    pub state: String,
    /// Since when it fires (or is pending).
    pub since_at: String,
    /// When it ended.
    pub resolved_at: Option<String>,
    /// The particulars.
    pub summary: String,
    /// What it means in general.
    pub meaning: String,
    /// What it is about.
    #[schema(value_type = Object)]
    pub labels: Labels,
    /// The silence that holds it back.
    pub silenced_by: Option<String>,
    /// The alert that explains it.
    pub inhibited_by: Option<String>,
    /// Who takes care of it.
    pub acknowledged: Option<AcknowledgedStatus>,
    /// The page that says what to do.
    pub runbook: String,
    /// The view of the dashboard that shows it.
    pub view: String,
    /// Who was told.
    pub notifications: Vec<NotificationStatus>,
}

/// Somebody takes care of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AcknowledgedStatus {
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
    /// What they say.
    pub note: String,
}

/// What a receiver was told of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NotificationStatus {
    /// Who.
    pub receiver: String,
    /// When something last arrived.
    pub at: Option<String>,
    /// `delivered`, `failed` (it is tried again) or `waiting`.
    pub outcome: String,
    /// Why it failed.
    pub detail: String,
}

/// A silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SilenceStatus {
    /// Which.
    pub id: String,
    /// It is about alerts of which all of these are true.
    pub matchers: Vec<MatcherStatus>,
    /// From when.
    pub starts_at: String,
    /// Until when.
    pub ends_at: String,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// `pending`, `active` or `expired`.
    pub state: String,
    /// Its version, for `If-Match`.
    #[serde(default)]
    pub etag: String,
}

/// A condition on a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MatcherStatus {
    /// The label's name.
    #[schema(pattern = "^[A-Za-z0-9_]{1,32}$")]
    pub name: String,
    /// The value, or a pattern.
    pub value: String,
    /// Whether it is a pattern.
    #[serde(default)]
    pub is_regex: bool,
    /// Whether it must match, rather than must not.
    #[serde(default = "yes")]
    pub is_equal: bool,
}

fn yes() -> bool {
    true
}

/// A silence that is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SilenceRequest {
    /// It is to be about alerts of which all of these are true.
    #[schema(min_items = 1, max_items = 16)]
    pub matchers: Vec<MatcherStatus>,
    /// For how long, from now.
    #[schema(minimum = 1)]
    pub seconds: u64,
    /// Why.
    #[schema(pattern = "\\S", max_length = 1024)]
    pub comment: String,
    /// Who wants it.
    #[serde(default)]
    pub created_by: String,
}

/// What somebody says who takes care of an alert.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcknowledgeRequest {
    /// For the others.
    #[serde(default)]
    pub note: String,
    /// Who.
    #[serde(default)]
    pub by: String,
}

/// All silences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SilencesAnswer {
    /// Those that hold or will, then those that are over.
    pub items: Vec<SilenceStatus>,
    /// There is never more.
    pub next: Option<String>,
}

/// Everybody who is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiversAnswer {
    /// By name.
    pub items: Vec<ReceiverStatus>,
    /// There is never more.
    pub next: Option<String>,
}

/// Somebody who is told of alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiverStatus {
    /// Its name.
    pub name: String,
    /// By which way.
    pub kind: String,
    /// Messages that are due or under way.
    pub waiting: u64,
    /// Messages that arrived, of those that this node sent.
    pub delivered: u64,
    /// Tries of this node that failed.
    pub failed: u64,
    /// Why the last one failed; none since something has arrived.
    pub last_error: Option<String>,
}
