//! Which node holds which role, and how long this node's lease has yet.

use std::time::Duration;

use mainstay_cluster::coordinator::{Consistency, Entry, Range};
use mainstay_cluster::keys;
use mainstay_cluster::role::Holder;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ClusterStatus;
use crate::cluster::Handle;

/// Roles in one answer, at most; there are a handful.
const ROLES_MAX: usize = 64;
/// What this node has seen is at hand; only etcd is asked over the network, and may be gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// What `/api/v1/cluster` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClusterAnswer {
    /// The node's part in its cluster.
    #[serde(flatten)]
    pub status: ClusterStatus,
    /// The lease on which everything rests that this node holds; absent if it has none.
    pub session: Option<LeaseStatus>,
    /// Who holds what, as far as this node has seen.
    pub roles: Vec<RoleStatus>,
}

/// A node's lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeaseStatus {
    /// How long it may be relied on unless it is renewed.
    pub seconds_left: f64,
}

/// A role, which one node has at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoleStatus {
    /// Its name.
    pub role: String,
    /// The node that holds it.
    pub node: Option<String>,
    /// The fencing token.
    pub token: u64,
    /// How long it is held unless the lease is renewed; only the holder itself knows.
    pub seconds_left: Option<f64>,
}

/// The status with the roles, read from what this node has seen.
pub(super) async fn with_roles(status: ClusterStatus, handle: &Handle) -> ClusterAnswer {
    let session = handle.session();
    let roles = match handle.parts() {
        Ok(parts) => {
            let range = Range::prefix(keys::ROLES);
            let read = parts.coordinator.range(range, None, ROLES_MAX, Consistency::Local);
            let found = tokio::time::timeout(PATIENCE, read).await;
            found.ok().and_then(Result::ok).map(|listing| listing.entries).unwrap_or_default()
        }
        Err(_not_open) => Vec::new(),
    };
    ClusterAnswer {
        roles: roles.iter().map(|entry| role(entry, session)).collect(),
        session: session.map(|(_lease, left)| LeaseStatus { seconds_left: seconds(left) }),
        status,
    }
}

fn role(entry: &Entry, session: Option<(i64, Duration)>) -> RoleStatus {
    let own = session.filter(|(lease, _left)| entry.lease.is_some_and(|held| held.0 == *lease));
    RoleStatus {
        role: entry.key.strip_prefix(keys::ROLES).unwrap_or(&entry.key).to_owned(),
        node: Holder::from_bytes(&entry.value).map(|holder| holder.node),
        token: entry.created,
        seconds_left: own.map(|(_lease, left)| seconds(left)),
    }
}

/// With one decimal: more would only flicker.
fn seconds(left: Duration) -> f64 {
    (left.as_secs_f64() * 10.0).round() / 10.0
}
