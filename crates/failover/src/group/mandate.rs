//! What allows a member to act: the node's session, the latest plan, and whoever ends the server when its driver cannot.

use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::coordinator::{Coordinator, Error, LeaseId};
use mainstay_cluster::session::{Kept, Session, Standing};
use mainstay_core::database::{Plan, Report};
use mainstay_core::lease::{Policy, Term};
use mainstay_core::time::Moment;
use tokio::sync::watch;

use super::board::Rung;
use super::extension::Extension;
use super::failsafe::Failsafe;
use super::follow::within;
use super::keys;
use super::member::Seat;
use super::stored::{Stored, decode, encode};

/// Ends the server at the session's end when the driver does not.
pub trait Warden {
    /// Asked before anything that leads, and at each renewal of the session.
    ///
    /// # Errors
    /// Why there is nobody; nothing leads then.
    fn protect(&mut self, term: Term) -> Result<(), String>;

    /// Nothing leads any more.
    fn release(&mut self);

    /// Whether what leads may be left alone until the node's next process has a lease of its own.
    ///
    /// # Errors
    /// Why not.
    fn may_wait(&self) -> Result<(), String>;

    /// What there is of it, for people.
    fn rungs(&self) -> Vec<Rung>;
}

/// What ended an action before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The session must not be acted on any more.
    Deadline,
    /// The plan is another one.
    Plan,
}

/// How long a new session's beginning is waited for before it is tried anew.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Mandate {
    pub(super) session: Session,
    coordinator: Arc<dyn Coordinator>,
    standing: watch::Receiver<Standing>,
    feed: watch::Receiver<Arc<Stored>>,
    group: String,
    /// The latest plan that was read. An older one is never acted on.
    plan: Plan,
    /// The lease on which the report stood before the plan was read: since then the planner has counted with this member.
    begun: Option<i64>,
    kept: Option<Kept>,
    warden: Option<Box<dyn Warden>>,
    /// For which lease, and until when, the warden has agreed.
    guarded: Option<(i64, Moment)>,
    /// The warden was told once that nothing leads: what an earlier process of the node has left is no order any more.
    released: bool,
    /// Why it has not.
    pub(super) unguarded: Option<String>,
    /// What is acted on without a session.
    extension: Extension,
    /// The term of the plan that the process before this one has led by, and until when it might have. The wards that it told of it
    /// stand until then.
    inherited: Option<(u64, Term)>,
    failsafe: Option<Failsafe>,
    times: Policy,
    /// Why it was acted on without a session last.
    pub(super) without: Option<&'static str>,
}

impl Mandate {
    pub(super) fn new(seat: Seat) -> Self {
        let Seat { session, coordinator, feed, group, warden, times, failsafe, handed, .. } = seat;
        let standing = session.follow();
        let extension = Extension::new(&session, &group, times, failsafe.as_ref());
        let mut mandate = Self {
            session,
            coordinator,
            standing,
            feed,
            group,
            plan: Plan::default(),
            begun: None,
            kept: None,
            warden,
            guarded: None,
            released: false,
            unguarded: None,
            extension,
            inherited: None,
            failsafe,
            times,
            without: None,
        };
        if let Some(handed) = handed {
            mandate.take(&handed.plan);
            mandate.inherited = handed.until().map(|until| (handed.plan.term, until));
        }
        mandate
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn coordinator(&self) -> Arc<dyn Coordinator> {
        Arc::clone(&self.coordinator)
    }

    pub(super) fn stored(&self) -> Arc<Stored> {
        Arc::clone(&self.feed.borrow())
    }

    /// Takes over a later plan, if there is one.
    pub(super) fn follow(&mut self) {
        let stored = Arc::clone(&self.feed.borrow_and_update());
        if let Some(plan) = &stored.plan {
            self.take(plan);
        }
    }

    fn take(&mut self, plan: &Plan) {
        let is_admitted = || self.failsafe.as_ref().is_none_or(|failsafe| failsafe.vows.admits(plan));
        if plan.number > self.plan.number && is_admitted() {
            self.plan = plan.clone();
            self.extension.note(plan);
        }
    }

    /// What may be acted on now: the session, once it has begun, or what stands in for it.
    fn acting(&mut self) -> Option<Term> {
        if let Some(term) = self.term().filter(|term| self.begun == Some(term.lease)) {
            self.without = None;
            return Some(term);
        }
        let extended = self.extension.term(&self.plan, self.session.now());
        self.without = extended.map(|(_, why)| why);
        extended.map(|(term, _)| term).or_else(|| self.inherited())
    }

    /// What is left of the time of the process before this one, as long as nobody leads with another term.
    fn inherited(&self) -> Option<Term> {
        let (term, until) = self.inherited?;
        (term == self.plan.term && self.session.now() < until.deadline).then_some(until)
    }

    /// Nothing but what the process before has left allows the server to lead.
    pub(super) fn is_inherited(&mut self) -> bool {
        let inherited = self.inherited();
        inherited.is_some() && self.acting() == inherited
    }

    /// The number for [`Report::licence`].
    pub(super) fn heeds(&self) -> u64 {
        let is_bound = self.guarded.is_some_and(|(lease, _)| Some(lease) == self.begun);
        self.extension.heeds(&self.plan, is_bound, self.session.now())
    }

    fn term(&self) -> Option<Term> {
        match *self.standing.borrow() {
            Standing::Held(term) if self.session.now() < term.deadline => Some(term),
            Standing::Held(_) | Standing::Without | Standing::Closed => None,
        }
    }

    /// A session whose beginning has not been told of and asked about yet.
    pub(super) fn new_lease(&self) -> Option<i64> {
        self.term().map(|term| term.lease).filter(|lease| self.begun != Some(*lease))
    }

    /// Says what there is.
    pub(super) fn say(&mut self, node: &str, report: &Report) {
        let value = encode(report);
        match &self.kept {
            Some(kept) => kept.set(value),
            None => match self.session.keep(keys::report(&self.group, node), value) {
                Ok(kept) => self.kept = Some(kept),
                Err(error) => tracing::error!(%error, group = self.group, "databases: the member cannot be heard of"),
            },
        }
    }

    /// Begins with a new session. The report has to stand in the store before the plan is read: a planner that promotes somebody
    /// else because this member is gone has written an election before, which is either read here, or was written by one that
    /// counts with what stands there.
    pub(super) async fn begin(&mut self, lease: i64) -> Result<(), Error> {
        let mut standing = self.standing.clone();
        let is_over = |standing: &Standing| !matches!(standing, Standing::Held(term) if term.lease == lease);
        let Some(kept) = &self.kept else { return Err(Error::Unavailable("nothing was said yet".to_owned())) };
        let limit = match self.inherited() {
            Some(term) => term.deadline.since(self.session.now()).min(self.times.renew),
            // What stands in for a session has to be looked at again soon.
            None if self.without.is_some() => self.times.renew,
            None => BEGIN_WITHIN,
        };
        tokio::select! {
            biased;
            _over = standing.wait_for(is_over) => return Err(Error::LeaseNotFound(LeaseId(lease))),
            stands = tokio::time::timeout(limit, kept.stands_on(LeaseId(lease))) => {
                stands.map_err(|_elapsed| Error::Unknown("the report was not written in time".to_owned()))?;
            }
        }
        let late = |_elapsed| Error::Unknown("the plan was not read in time".to_owned());
        tokio::time::timeout(limit, self.read()).await.map_err(late)??;
        self.begun = Some(lease);
        Ok(())
    }

    /// Reads the plan as it is now, and answers whether it is later than what was known.
    pub(super) async fn read(&mut self) -> Result<bool, Error> {
        let entry = within(self.coordinator.get(&keys::plan(&self.group))).await?;
        let plan = entry.map_or_else(|| Some(Plan::default()), |entry| decode(&entry.value));
        let plan = plan.ok_or_else(|| Error::Invalid("the plan is of a later version of Mainstay".to_owned()))?;
        // Nobody may lead by a plan that is later than what stands in the store: it was made anew, perhaps from a backup.
        if plan.number < self.plan.number {
            return Err(Error::Invalid(format!(
                "the plan in the store has the number {}, and {} was seen before: the store has forgotten something",
                plan.number, self.plan.number
            )));
        }
        let is_later = plan.number > self.plan.number;
        self.take(&plan);
        Ok(is_later)
    }

    /// Until when the session may be acted on. Whoever leads, or is to, needs a warden's agreement to that.
    pub(super) fn deadline(&mut self, leads: bool) -> Option<Moment> {
        let term = self.acting()?;
        if !leads {
            return Some(term.deadline);
        }
        if self.guarded != Some((term.lease, term.expiry))
            && let Some(warden) = &mut self.warden
        {
            match warden.protect(term) {
                Ok(()) => (self.guarded, self.unguarded) = (Some((term.lease, term.expiry)), None),
                Err(why) => {
                    (self.guarded, self.unguarded) = (None, Some(why));
                    return self.inherited().map(|term| term.deadline);
                }
            }
        }
        Some(term.deadline)
    }

    /// The warden's part of the fencing ladder.
    pub(super) fn rungs(&self) -> Vec<Rung> {
        self.warden.as_ref().map(|warden| warden.rungs()).unwrap_or_default()
    }

    /// Whether what leads may be left alone until the node's next process has a lease of its own.
    pub(super) fn may_wait(&self) -> Result<(), String> {
        self.warden.as_ref().map_or(Ok(()), |warden| warden.may_wait())
    }

    /// Nothing leads any more.
    pub(super) fn release(&mut self) {
        let is_first = !std::mem::replace(&mut self.released, true);
        if (self.guarded.take().is_some() || is_first)
            && let Some(warden) = &mut self.warden
        {
            warden.release();
        }
    }

    /// Waits until what is being done by the present plan must not go on. What leads is `bound` to the session.
    pub(super) async fn cut(&mut self, bound: bool) -> Cut {
        let (term, phase) = (self.plan.term, self.plan.phase.clone());
        let mut standing = self.standing.clone();
        let mut feed = self.feed.clone();
        loop {
            self.follow();
            if self.plan.term != term || self.plan.phase != phase {
                return Cut::Plan;
            }
            let until = if bound { self.deadline(true) } else { Some(Moment::NEVER) };
            let now = self.session.now();
            let Some(until) = until.filter(|until| now < *until) else { return Cut::Deadline };
            let news = self.extension.news(&self.plan);
            tokio::select! {
                biased;
                () = self.session.clock().sleep_until(until) => {}
                () = changed(&mut standing) => {}
                () = changed(&mut feed) => {}
                () = news => {}
            }
        }
    }

    /// Waits for the next renewal of what the server leads by, and tells the warden of it: whoever takes over has as much time then
    /// as there can be. `None`: the server must not lead any more.
    pub(super) async fn renewed(&mut self) -> Option<Term> {
        let first = self.acting()?;
        let late = self.session.now().after(self.times.renew + self.times.rpc);
        let mut standing = self.standing.clone();
        loop {
            let deadline = self.deadline(true)?;
            let term = self.acting()?;
            let is_told = self.warden.is_none() || self.guarded == Some((term.lease, term.expiry));
            let is_late = self.session.now() >= late;
            if is_late || (is_told && term.expiry > first.expiry) {
                return is_told.then_some(term);
            }
            let news = self.extension.news(&self.plan);
            tokio::select! {
                biased;
                () = news => {}
                () = self.session.clock().sleep_until(late.min(deadline)) => {}
                () = changed(&mut standing) => {}
            }
        }
    }

    /// Waits for another plan or report, or another standing than the present one; renewals are none.
    pub(super) async fn changed(&mut self, leads: bool) {
        let mut feed = self.feed.clone();
        let mut standing = self.standing.clone();
        let before = self.term().map(|term| term.lease);
        loop {
            let until = if leads { self.deadline(true) } else { Some(Moment::NEVER) };
            let Some(until) = until else { return };
            let news = self.extension.news(&self.plan);
            tokio::select! {
                biased;
                () = news => {}
                () = self.session.clock().sleep_until(until) => return,
                () = changed(&mut standing) => if self.term().map(|term| term.lease) != before { return },
                () = changed(&mut feed) => return,
            }
        }
    }
}

/// Waits for the next change; for ever if there will be none.
async fn changed<T>(follow: &mut watch::Receiver<T>) {
    if follow.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
