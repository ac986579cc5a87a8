//! `mainstay address-guard`: the process that takes floating addresses away from a node that is dead or frozen.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use mainstay_cluster::address::guard;
use mainstay_cluster::coordinator::{Coordinator, LeaseId};
use mainstay_runtime::thread;
use serde_json::Value;

use crate::cluster::connect_to_etcd;
use crate::config::etcd::Etcd;
use crate::failure::Failure;

/// How long it is tried to have the dead node's lease ended. By then it has expired.
const TRY_FOR: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
const ATTEMPT: Duration = Duration::from_secs(1);

/// Arguments of `mainstay address-guard`.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The node's process, which has started this one
    parent: u32,
}

/// Guards until the node's end.
///
/// # Errors
/// If the system refuses what a guard needs.
pub fn guard(args: &GuardArgs) -> Result<ExitCode, Failure> {
    guard::serve(args.parent, execute).map_err(|error| Failure::new(format!("cannot guard the node: {error}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Has the lease of the dead node ended, so that others need not wait until it expires.
fn execute(will: Value) {
    let Some(lease) = will.get("lease").and_then(Value::as_i64).map(LeaseId) else { return };
    let Some(etcd) = will.get("etcd").and_then(|etcd| serde_json::from_value::<Etcd>(etcd.clone()).ok()) else {
        return;
    };
    let revoked = thread::run_here(async {
        let etcd = connect_to_etcd(&etcd, ATTEMPT).map_err(|error| error.to_string())?;
        let end = Instant::now() + TRY_FOR;
        loop {
            match etcd.revoke(lease).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= end => return Err(error.to_string()),
                Err(_not_now) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    match revoked {
        Ok(Ok(())) => tracing::warn!("the node is dead; the guard has had its lease ended"),
        Ok(Err(error)) => tracing::warn!(error, "the node is dead; its lease expires by itself"),
        Err(error) => tracing::warn!(%error, "the node is dead; its lease expires by itself"),
    }
}
