//! Candidates for a role: each believes to have it for no longer than its lease lives at least. No two may ever believe that
//! at the same time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use mainstay_cluster::coordinator::{Compare, LeaseId, Operation, Transaction};
use mainstay_core::random::Rng;
use tokio::time::{Instant, sleep};

use crate::clients::Around;
use crate::site::NODES;

const ROLE: &str = "roles/one";

/// A time for which a candidate believed to have the role.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    holder: u64,
    token: u64,
    from: Instant,
    until: Instant,
}

/// The beliefs of all candidates.
pub(crate) type Terms = Rc<RefCell<Vec<Term>>>;

/// Campaigns for the role, holds it for a while, gives it up or loses it, and again.
pub(crate) async fn campaign(around: Around, number: u64, mut rng: Rng, terms: Terms) {
    let mut node = rng.below(NODES);
    while !around.over.get() {
        if term(&around, number, &mut node, &mut rng, &terms).await.is_none() {
            node = rng.below(NODES);
        }
        sleep(Duration::from_millis(1 + rng.below(20) as u64)).await;
    }
}

async fn term(around: &Around, number: u64, node: &mut usize, rng: &mut Rng, terms: &Terms) -> Option<()> {
    let (ttl, mut sent) = (around.site.ttl(), Instant::now());
    let lease = around.ask(*node, |store| async move { store.grant(ttl).await }).await.ok()?.ok()?;
    let claim = Transaction::when([Compare::absent(ROLE)], [Operation::put(ROLE, number.to_string(), Some(lease.id))]);
    let reply = around.ask(*node, |store| async move { store.transact(claim).await }).await.ok()?.ok()?;
    let from = Instant::now();
    if !reply.succeeded || from >= sent + lease.ttl {
        return revoke(around, *node, lease.id).await;
    }
    let index = {
        let mut terms = terms.borrow_mut();
        terms.push(Term { holder: number, token: reply.revision, from, until: sent + lease.ttl });
        terms.len() - 1
    };
    // Some hold it for several times its life, some for less.
    let leave = from + ttl.mul_f64(rng.unit() * 4.0);
    loop {
        sleep(ttl / 5).await;
        let (now, until) = (Instant::now(), terms.borrow()[index].until);
        if now >= until {
            return None;
        }
        if now >= leave {
            terms.borrow_mut()[index].until = now;
            return revoke(around, *node, lease.id).await;
        }
        sent = now;
        match around.ask(*node, |store| async move { store.keep_alive(lease.id).await }).await {
            Ok(Ok(renewed)) if Instant::now() < until => terms.borrow_mut()[index].until = sent + renewed.ttl,
            // It was over before the answer came.
            Ok(Ok(_late)) => return None,
            Ok(Err(mainstay_cluster::coordinator::Error::LeaseNotFound(_))) => {
                terms.borrow_mut()[index].until = Instant::now().min(until);
                return None;
            }
            // Another node may still be able to renew it.
            Ok(Err(_)) | Err(_) => *node = rng.below(NODES),
        }
    }
}

async fn revoke(around: &Around, node: usize, lease: LeaseId) -> Option<()> {
    around.ask(node, |store| async move { store.revoke(lease).await }).await.ok()?.ok()
}

/// Checks that no two had it at once, and that later holders have greater tokens.
///
/// # Errors
/// Two terms that contradict each other.
pub(crate) fn check(terms: &[Term]) -> Result<(), String> {
    let mut terms = terms.to_vec();
    terms.sort_by_key(|term| term.from);
    for pair in terms.windows(2) {
        let (first, second) = (&pair[0], &pair[1]);
        if second.from < first.until {
            let both = first.until - second.from;
            return Err(format!(
                "{} and {} both held the role for {both:?}: {first:?}, {second:?}",
                first.holder, second.holder
            ));
        }
        if second.token <= first.token {
            return Err(format!("a later holder has a smaller token: {first:?}, {second:?}"));
        }
    }
    Ok(())
}
