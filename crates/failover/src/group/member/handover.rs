//! How a member's server is left to the next process of its node.

use std::time::Duration;

use mainstay_core::database::{Phase, Server};

use super::Member;
use crate::Executor;
use crate::group::handover::Handed;
use crate::group::words::leads;

/// How long it may take until nothing is under way with the server.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);

impl<E: Executor> Member<E> {
    /// Leaves the server as it is, with as much time as there can be for the next process; `None`: it is not as the plan has it, or
    /// must not lead any more.
    pub(super) async fn hand_over(&mut self) -> Option<Handed> {
        if let Some(action) = self.work.under_way.take() {
            // It was broken off: a look tells what came of it.
            self.blind(leads(&action));
        }
        let settles = async {
            while !self.is_settled() {
                self.look().await;
                if !self.is_settled() {
                    self.turn().await;
                }
            }
        };
        let _late = tokio::time::timeout(SETTLES_WITHIN, settles).await;
        if self.is_leading()
            && let Err(why) = self.mandate.may_wait()
        {
            tracing::info!(group = self.group, why, "databases: the server is not left to the next process");
            return None;
        }
        let until = if self.is_leading() { Some(self.mandate.renewed().await?) } else { None };
        // The plan may be another one by now.
        self.mandate.follow();
        self.is_settled().then(|| {
            tracing::info!(group = self.group, "databases: the server runs on for the next process");
            Handed::new(self.mandate.plan(), until)
        })
    }

    /// The server is what the plan says, and nothing is being done to it.
    fn is_settled(&self) -> bool {
        let (Some(local), plan) = (&self.local, self.mandate.plan()) else { return false };
        let Phase::Serving { primary } = &plan.phase else { return false };
        let is_in_place = match &local.report.server {
            Server::Primary => *primary == self.me && local.report.led == Some(plan.term),
            Server::Replica { .. } => *primary != self.me && !local.leads,
            Server::Empty | Server::Stopped { .. } | Server::Starting | Server::Unknown => false,
        };
        is_in_place && self.work.under_way.is_none()
    }
}
