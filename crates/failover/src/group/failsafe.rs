//! Asks every member directly whether the primary may go on, while its node's lease is not renewed.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::session::{Session, Standing};
use mainstay_core::database::Plan;
use mainstay_core::database::failsafe::{Answer, Question, Round, asks_from};
use mainstay_core::lease::{Policy, Term};
use mainstay_core::time::Moment;
use mainstay_runtime::task::{Kind, spawn_local};
use tokio::sync::{mpsc, watch};

use super::promises::Vows;

/// The way to other members, past the store.
pub trait Ask: Send + Sync {
    /// Asks a member's node; `None`: it did not answer within the limit, or does not know of the group.
    fn ask(&self, node: &str, question: Question, limit: Duration) -> Asked;
}

/// An answer that is waited for.
pub type Asked = Pin<Box<dyn Future<Output = Option<Answer>>>>;

/// What a member needs to promise something, and to ask for it.
#[derive(Clone)]
pub struct Failsafe {
    /// What it has promised itself.
    pub vows: Arc<Vows>,
    /// The way to the others.
    pub ask: Arc<dyn Ask>,
}

impl fmt::Debug for Failsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failsafe").field("vows", &self.vows).finish_non_exhaustive()
    }
}

/// For how long everybody has confirmed the primary of which term; and who has not, when it was asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Confirmed {
    pub(super) term: Option<(u64, Term)>,
    pub(super) missing: Vec<String>,
}

/// Asks for as long as this member is primary by the plan.
pub(super) struct Asker {
    pub(super) session: Session,
    pub(super) group: String,
    pub(super) times: Policy,
    pub(super) ask: Arc<dyn Ask>,
    /// The plan that the member goes by.
    pub(super) plans: watch::Receiver<Arc<Plan>>,
    pub(super) tell: watch::Sender<Confirmed>,
}

impl Asker {
    /// Until the plans end.
    pub(super) async fn run(mut self) {
        loop {
            let plan = Arc::clone(&self.plans.borrow_and_update());
            let until = self.asks_from(&plan);
            let now = self.session.now();
            if until <= now {
                self.round(&plan, now).await;
            }
            // A round each time that a renewal is due.
            let next = if until <= now { now.after(self.times.renew) } else { until };
            let clock = self.session.clock().clone();
            let mut standing = self.session.follow();
            tokio::select! {
                biased;
                changed = self.plans.changed() => if changed.is_err() { return },
                () = clock.sleep_until(next) => {}
                // A lease that has come, or was renewed, moves the time at which it begins to ask.
                _changed = standing.changed(), if until > now => {}
            }
        }
    }

    fn asks_from(&self, plan: &Plan) -> Moment {
        if Round::begin(plan, self.session.node(), Moment::ZERO).is_none() {
            return Moment::NEVER;
        }
        match self.session.standing() {
            Standing::Held(term) => asks_from(&term, &self.times),
            Standing::Without => Moment::ZERO,
            Standing::Closed => Moment::NEVER,
        }
    }

    async fn round(&self, plan: &Plan, now: Moment) {
        let me = self.session.node();
        let Some(mut round) = Round::begin(plan, me, now) else { return };
        let for_ms = u64::try_from(self.times.ttl.as_millis()).unwrap_or(u64::MAX);
        let question = Question { group: self.group.clone(), primary: me.to_owned(), term: plan.term, for_ms };
        let (tell, mut answers) = mpsc::channel(round.missing().len().max(1));
        let mut asked = BTreeMap::new();
        for node in round.missing() {
            let (answer, tell) = (self.ask.ask(node, question.clone(), self.times.rpc), tell.clone());
            let name = node.clone();
            let work = async move {
                let answer = answer.await;
                // Whoever asked may have given up.
                let _gone = tell.send((name, answer)).await;
            };
            asked.insert(node.clone(), spawn_local(Kind::Control, work).abort_on_drop());
        }
        drop(tell);
        while let Some((node, answer)) = answers.recv().await {
            if let Some(answer) = answer {
                round.hear(&node, answer);
            }
        }
        let term = round.term(&self.times);
        let missing: Vec<String> = round.missing().iter().cloned().collect();
        self.tell.send_modify(|confirmed| {
            if confirmed.missing != missing && !missing.is_empty() {
                let missing = missing.join(", ");
                tracing::warn!(
                    group = self.group,
                    missing,
                    "databases: members do not confirm the primary; without a lease it stops"
                );
            }
            confirmed.term = term.map(|term| (plan.term, term)).or(confirmed.term);
            confirmed.missing = missing;
        });
    }
}
