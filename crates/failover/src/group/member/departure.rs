//! How a member leaves its group.

use std::time::Duration;

use mainstay_cluster::coordinator::{Compare, Operation, Transaction};
use mainstay_core::database::agent::Stop;
use mainstay_core::database::{Phase, Request};

use super::Member;
use crate::Executor;
use crate::group::follow::within;
use crate::group::keys;
use crate::group::stored::encode;

/// How long a member that leaves waits for another one to take over.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(5);
/// And how long the server may then take to stop in order.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// How a member's driver leaves its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Its role is handed over to another node, and it is stopped.
    Leave,
    /// It runs on for the next process of the node, if nothing is in the way of that.
    HandOver,
}

impl<E: Executor> Member<E> {
    /// Another one takes over if it can, and the server is stopped in order.
    pub(super) async fn depart(&mut self) {
        let handing = async {
            // While it is paused nothing is changed over: it comes back as the primary that it was.
            let is_held = self.mandate.plan().licence.is_held();
            if self.mandate.plan().serving() == Some(&self.me) && !is_held && self.ask_for_successor().await {
                while self.is_handing_over().await {
                    self.look().await;
                    self.turn().await;
                }
            }
        };
        let _late = tokio::time::timeout(HAND_OVER_WITHIN, handing).await;
        if tokio::time::timeout(STOP_WITHIN, self.stop(Stop::Fast)).await.is_err() {
            self.stop(Stop::Immediate).await;
        }
        self.look().await;
        self.mandate.release();
    }

    async fn ask_for_successor(&self) -> bool {
        if self.mandate.stored().reports.len() < 2 {
            return false;
        }
        let key = keys::request(&self.group);
        let put = Operation::put(&key, encode(&Request::Switchover { to: None }), None);
        let asked =
            within(self.mandate.coordinator().transact(Transaction::when([Compare::absent(&key)], [put]))).await;
        asked.is_ok_and(|reply| reply.succeeded)
    }

    /// The planner has not said no yet, nor is it done. What the planner has done about it is in one revision with the request's
    /// going.
    async fn is_handing_over(&mut self) -> bool {
        self.mandate.follow();
        match &self.mandate.plan().phase {
            Phase::Serving { primary } if *primary == self.me => {
                let asked = within(self.mandate.coordinator().get(&keys::request(&self.group))).await;
                asked.is_ok_and(|request| request.is_some()) || self.mandate.read().await.is_ok_and(|changed| changed)
            }
            Phase::Yielding { .. } | Phase::Electing { .. } | Phase::Promoting { .. } => true,
            Phase::Serving { .. } | Phase::Founding { .. } => false,
        }
    }
}
