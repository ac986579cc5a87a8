//! What an old primary had that its successor has not: noted beside the change that replaced it, once it has come back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_cluster::coordinator::{Compare, Operation, Transaction};
use mainstay_core::database::Server;
use mainstay_core::database::agent::Action;
use mainstay_core::time::Moment;

use super::Member;
use crate::group::board::Loss;
use crate::group::follow::within;
use crate::group::keys;
use crate::group::stored::encode;
use crate::group::words::tell_discarded;
use crate::{Discarded, Executor};

/// After the store did not take it.
const PAUSE: Duration = Duration::from_secs(1);

/// What this process has seen of the way back.
#[derive(Debug, Default)]
pub(super) struct Returning {
    /// Data of a former primary was seen that nothing was taken from. If it follows just so, it had nothing more.
    has_led: bool,
    discarded: Option<Discarded>,
    not_before: Moment,
}

impl<E: Executor> Member<E> {
    /// Says what was thrown away for a copy or a rewind, and keeps it until it can be noted.
    pub(super) fn note_discarded(&mut self, action: &Action) {
        if matches!(action, Action::Rewind { .. } | Action::Clone { .. }) {
            self.returning.has_led = false;
        }
        let Some(discarded) = self.executor.discarded() else { return };
        tell_discarded(&self.group, &discarded);
        // A copy that follows a rewind that has failed tells less.
        if self.returning.discarded.as_ref().is_none_or(|known| known.bytes.is_none()) {
            self.returning.discarded = Some(discarded);
        }
    }

    /// Once it follows its successor.
    pub(super) async fn note_return(&mut self) {
        let Some(local) = &self.local else { return };
        if local.leads {
            self.returning = Returning { has_led: true, ..Returning::default() };
            return;
        }
        let follows = matches!(&local.report.server, Server::Replica { upstream: Some(_) });
        self.returning.has_led |= local.report.led.is_some() && !follows;
        if !follows {
            return;
        }
        let (stored, now) = (self.mandate.stored(), self.mandate.session.now());
        // Losses are of the change that replaced it last: it cannot have led since without having come back.
        let last = stored.history.iter().find(|failover| failover.from == self.me);
        let Some(last) = last.filter(|last| !stored.losses.contains_key(&last.term)) else {
            self.returning = Returning::default();
            return;
        };
        // One that has not heard of the change yet follows nobody that came by it.
        let is_early = local.report.term < last.term || now < self.returning.not_before;
        if is_early || self.mandate.session.lease().is_none() {
            return;
        }
        let key = keys::loss(&self.group, last.term);
        let loss = Loss { probe_rows: self.executor.missing_rows().await, ..self.loss() };
        let put = Operation::put(&key, encode(&loss), None);
        let coordinator = self.mandate.coordinator();
        self.returning.not_before = now.after(PAUSE);
        if let Err(error) = within(coordinator.transact(Transaction::when([Compare::absent(&key)], [put]))).await {
            tracing::debug!(%error, group = self.group, "databases: what was lost could not be noted; it is tried again");
        }
    }

    fn loss(&self) -> Loss {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let loss = match &self.returning.discarded {
            Some(discarded) => Loss {
                bytes: discarded.bytes,
                commits: discarded.commits,
                span_ms: discarded.span_ms,
                keys: discarded.keys,
                kept: Some(discarded.kept.display().to_string()),
                ..Loss::default()
            },
            None if self.returning.has_led => Loss::nothing(),
            // An earlier process of this node may have thrown something away.
            None => Loss::default(),
        };
        Loss { at_unix_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX), ..loss }
    }
}
