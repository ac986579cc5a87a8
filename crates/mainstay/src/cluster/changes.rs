//! How groups of databases stand and what becomes of changes of primary, for the journal and so for the ledger of each node; and
//! who was the first to lead a client to a new primary, for everybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::coordinator::{Compare, Operation, Transaction};
use mainstay_core::database::Phase;
use mainstay_core::transition::{Aspect, Subject, Transition, Word};
use mainstay_failover::group::board::{Routed, View};
use mainstay_failover::group::keys;
use mainstay_failover::group::stored::encode;

use super::Context;
use crate::admin::databases::cost;

/// Clients connect without the board's being told.
const LOOK: Duration = Duration::from_millis(500);
/// The store is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was told last of a group.
#[derive(Debug, Default)]
struct Told {
    standing: Option<Word>,
    /// The latest change of primary that was known with its loss, or was there when this began.
    settled: Option<u64>,
    /// The term whose first connection stands in the store, or cannot any more.
    routed: u64,
}

pub(super) async fn run(context: Context) {
    if context.handle.groups().configured().is_empty() {
        return;
    }
    let board = context.handle.databases().clone();
    let mut changes = board.follow();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            () = context.left() => return,
            changed = changes.changed() => if changed.is_err() { return },
            _tick = ticks.tick() => {}
        }
        for (group, view) in board.views() {
            let told = told.entry(group.clone()).or_default();
            tell_standing(&context, &group, &view, told);
            tell_loss(&context, &group, &view, told);
            tell_routed(&context, &group, &view, told).await;
        }
    }
}

fn subject(group: &str) -> Subject {
    Subject::Database { name: group.to_owned() }
}

/// Whether it takes writes. A node that does not know how it stands now says so.
fn tell_standing(context: &Context, group: &str, view: &View, told: &mut Told) {
    if !view.is_founded() {
        return;
    }
    let (now, cause, planned) = match (&view.plan.phase, view.writable()) {
        (_, Some(primary)) => (Word::Up, format!("{} takes writes", primary.node), false),
        (_, None) if !view.is_current => (Word::Unknown, "this node has no lease".to_owned(), false),
        (Phase::Yielding { from, to, .. }, None) => (Word::Down, format!("{from} hands over to {to}"), true),
        (Phase::Electing { from, .. }, None) => (Word::Down, format!("{from} is to be replaced"), false),
        (Phase::Serving { primary } | Phase::Promoting { primary }, None) => {
            (Word::Down, format!("{primary} does not take writes"), false)
        }
        (Phase::Founding { .. }, None) => return,
    };
    let before = told.standing.replace(now);
    if before == Some(now) {
        return;
    }
    let from = before.unwrap_or(Word::Unknown);
    // What is down by plan stays so until it is up.
    let change = Transition::new(subject(group), Aspect::Standing, from, now).because(cause).planned(planned);
    context.node.journal().record(change);
}

/// What was lost is told by the node that had it.
fn tell_loss(context: &Context, group: &str, view: &View, told: &mut Told) {
    if !view.is_current {
        return;
    }
    let own = view.failovers.iter().find(|failover| failover.from == context.name);
    let known = own.filter(|failover| failover.loss.is_some()).map_or(0, |failover| failover.term);
    let before = told.settled.replace(known);
    let Some(failover) = own.filter(|_| before.is_some_and(|before| known > before)) else { return };
    let cause = format!("{} came back after term {}: {}", failover.from, failover.term, cost(failover));
    let change = Transition::new(subject(group), Aspect::Holder, Word::Moved, Word::Moved);
    context.node.journal().record(change.because(cause).planned(failover.planned));
}

/// The first node that has led a client to a new primary says so.
async fn tell_routed(context: &Context, group: &str, view: &View, told: &mut Told) {
    let state = context.node.gateway().state();
    let Some(database) = state.databases.iter().find(|database| database.group == group) else { return };
    let Some((term, took)) = database.routed().filter(|(term, _)| *term > told.routed && view.is_current) else {
        return;
    };
    let change = view.failovers.iter().find(|failover| failover.term == term);
    if change.is_some_and(|change| change.routed.is_none()) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (key, value) = (keys::routed(group, term), encode(&Routed { node: context.name.clone(), ms }));
        let first = Transaction::when([Compare::absent(&key)], [Operation::put(&key, value, None)]);
        let coordinator = Arc::clone(&context.coordinator);
        if !matches!(tokio::time::timeout(PATIENCE, coordinator.transact(first)).await, Ok(Ok(_))) {
            return;
        }
    }
    // A plan that is known here has its change beside it: both were written at once.
    if change.is_some() || view.plan.term > term {
        told.routed = term;
    }
}
