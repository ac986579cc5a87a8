//! What a primary acts on while its node has no lease: a pause that is in force, or what every member has confirmed.

use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::session::Session;
use mainstay_core::database::{Pause, Plan};
use mainstay_core::lease::{Policy, Term};
use mainstay_core::time::Moment;
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use tokio::sync::watch;

use super::failsafe::{Asker, Confirmed, Failsafe};

/// Stands in the place of a lease's number while the group is paused.
const PAUSED: i64 = -1;

/// Why a primary acts without a lease, for people.
pub(super) const WHY_PAUSED: &str = "runs without a lease, because the group is paused";
pub(super) const WHY_CONFIRMED: &str = "runs without a lease, because every member confirms it";

pub(super) struct Extension {
    me: String,
    times: Policy,
    /// The plan that is gone by, for whoever asks.
    plans: watch::Sender<Arc<Plan>>,
    confirmed: watch::Receiver<Confirmed>,
    /// While it is paused, when the present term was begun: the guard beside the server is told of one after the other, so that
    /// it ends what a frozen node leaves all the same.
    paused: Option<(Moment, Term)>,
    /// The number of the plan that allowed something last, and when that is over.
    given: Option<(u64, Moment)>,
    _asker: Option<AbortOnDrop>,
}

impl Extension {
    pub(super) fn new(session: &Session, group: &str, times: Policy, failsafe: Option<&Failsafe>) -> Self {
        let plans = watch::Sender::new(Arc::new(Plan::default()));
        let tell = watch::Sender::new(Confirmed::default());
        let confirmed = tell.subscribe();
        let asker = failsafe.map(|failsafe| {
            let (session, group, ask) = (session.clone(), group.to_owned(), Arc::clone(&failsafe.ask));
            let asker = Asker { session, group, times, ask, plans: plans.subscribe(), tell };
            spawn_local(Kind::Control, asker.run()).abort_on_drop()
        });
        Self { me: session.node().to_owned(), times, plans, confirmed, paused: None, given: None, _asker: asker }
    }

    /// The plan is this one from now on.
    pub(super) fn note(&mut self, plan: &Plan) {
        self.plans.send_replace(Arc::new(plan.clone()));
    }

    /// Until when the primary may act without a lease, as of now, and why; `None`: it may not.
    pub(super) fn term(&mut self, plan: &Plan, now: Moment) -> Option<(Term, &'static str)> {
        if plan.serving() != Some(self.me.as_str()) {
            return None;
        }
        let (term, why) = if plan.licence.pause == Pause::On {
            let begun = self.paused.filter(|(since, _)| now.since(*since) < self.times.renew);
            let (since, term) = begun.unwrap_or_else(|| (now, self.times.term(PAUSED, now, self.times.ttl)));
            self.paused = Some((since, term));
            (term, WHY_PAUSED)
        } else {
            let (of, term) = self.confirmed.borrow().term.filter(|_| plan.licence.asked().is_some())?;
            (of == plan.term && now < term.deadline).then_some((term, WHY_CONFIRMED))?
        };
        self.given = Some((plan.licence.since, term.expiry));
        Some((term, why))
    }

    /// What the member says that it goes by. `is_bound`: whoever ends the server from outside has been told of the node's lease
    /// since, and of nothing longer.
    pub(super) fn heeds(&self, plan: &Plan, is_bound: bool, now: Moment) -> u64 {
        match self.given {
            Some((since, until)) if since != plan.licence.since && now < until && !is_bound => since,
            Some(_) | None => plan.licence.since,
        }
    }

    /// Waits until there may be more time than there was.
    pub(super) fn news(&self, plan: &Plan) -> impl Future<Output = ()> + use<> {
        let mut confirmed = self.confirmed.clone();
        // What there is was looked at just before.
        confirmed.mark_unchanged();
        let pause = plan.licence.pause == Pause::On && plan.serving() == Some(self.me.as_str());
        let renew: Duration = self.times.renew;
        async move {
            let asked = async {
                if confirmed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let again = async {
                if pause {
                    tokio::time::sleep(renew).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = asked => {}
                () = again => {}
            }
        }
    }
}
