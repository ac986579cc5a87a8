//! A member's driver: beside a local server, it says what there is, and carries out what the plan makes of it.

mod copying;
mod departure;
mod handover;
mod loss;
mod paused;
mod seat;
mod trouble;
mod work;

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use mainstay_core::backoff;
use mainstay_core::database::agent::{Action, Local, Stop, conforms, step};
use mainstay_core::database::{Phase, Report, Server};
use mainstay_core::random::Rng;
use mainstay_core::time::Moment;

use super::board::{Board, Engine, Own, Rung};
use super::handover::Handed;
use super::mandate::Mandate;
use super::words::{describe, describe_error, leads};
use crate::Executor;
use paused::Paused;
use work::Work;

pub use departure::Departure;
pub use seat::Seat;

/// How often the server is asked what it does while nothing changes.
const LOOK: Duration = Duration::from_millis(500);
/// The same while something does.
const LOOK_CLOSELY: Duration = Duration::from_millis(50);
/// How often it is seen whether the server's process is there.
const GLANCE: Duration = Duration::from_millis(50);
/// Positions alone are told no more often than this while nothing changes.
const TELL: Duration = Duration::from_millis(250);
/// A primary whose session was lost is started again for reading only when the session has been away so long: one that comes
/// back earlier finds it as it was.
const READ_ONLY_AFTER: Duration = Duration::from_secs(3);
/// Waits after what failed.
const RETRY: backoff::Policy = backoff::Policy { base: Duration::from_millis(200), cap: Duration::from_secs(30) };

/// Keeps the server in its role until `leave` is over, and then leaves as that says. What the next process of the node has to
/// know if the server runs on for it; `None`: the role was handed over and the server is stopped.
pub async fn run<E: Executor>(seat: Seat, executor: E, leave: impl Future<Output = Departure>) -> Option<Handed> {
    let mut member = Member {
        me: seat.session.node().to_owned(),
        group: seat.group.clone(),
        engine: seat.engine,
        executor,
        board: seat.board.clone(),
        said: 0,
        local: None,
        told: None,
        work: Work { rng: Rng::seeded(seat.seed), ..Work::default() },
        stopped_at: None,
        is_copied: false,
        returning: loss::Returning::default(),
        pause: Paused::default(),
        doing: None,
        mandate: Mandate::new(seat),
    };
    tokio::pin!(leave);
    let departure = tokio::select! {
        biased;
        departure = &mut leave => departure,
        never = member.live() => match never {},
    };
    let handed = match departure {
        Departure::HandOver => member.hand_over().await,
        Departure::Leave => None,
    };
    if handed.is_none() {
        member.depart().await;
    }
    handed
}

struct Member<E> {
    me: String,
    group: String,
    engine: Engine,
    mandate: Mandate,
    executor: E,
    board: Board,
    /// The term that it said last that its server conforms to.
    said: u64,
    local: Option<Local>,
    told: Option<(Report, Moment)>,
    work: Work,
    /// When the server was stopped because there is no session.
    stopped_at: Option<Moment>,
    /// The data was made anew because an operator wanted it, who may not be known to have been told yet.
    is_copied: bool,
    /// What it had that its successor has not, until that is noted.
    returning: loss::Returning,
    /// What the server did while the group was paused.
    pause: Paused,
    /// What it was told last to do all the time.
    doing: Option<String>,
}

impl<E: Executor> Member<E> {
    async fn live(&mut self) -> Infallible {
        loop {
            // What is known suffices to stop: a server that hangs is not asked first.
            if self.is_leading()
                && let Action::Stop(stop) = self.decide()
            {
                self.act(Action::Stop(stop)).await;
            }
            self.look().await;
            self.note_return().await;
            self.turn().await;
        }
    }

    /// Does one thing, or waits for something to change.
    async fn turn(&mut self) {
        let action = self.decide();
        if !matches!(action, Action::Stop(_))
            && let Some(lease) = self.mandate.new_lease()
        {
            return self.begin(lease).await;
        }
        let now = self.mandate.session.now();
        let action = self.or_leave(action);
        self.tell_of_it();
        match self.or_copy(action) {
            // It is as the process before has left it; what else there is to do needs a session.
            action if self.mandate.is_inherited() && !matches!(action, Action::Stop(_)) => {
                self.rest(LOOK_CLOSELY).await
            }
            Action::Wait => self.rest(self.pace()).await,
            Action::GiveUp => {
                self.fails("its data cannot be made the primary's: see the log, then `mainstay database reinit`");
                self.rest(LOOK).await;
            }
            action if self.work.last.as_ref() == Some(&action) && now < self.work.not_before => {
                self.rest(self.work.not_before.since(now).min(LOOK)).await;
            }
            Action::StartReplica { of: None } if self.may_lead_again(now) => self.rest(LOOK_CLOSELY).await,
            action => self.act(action).await,
        }
    }

    /// As far as it is known.
    fn is_leading(&self) -> bool {
        self.local.as_ref().is_some_and(|local| local.leads)
    }

    /// Whether what goes on must end with the session. A primary that nobody has taken over yet goes on without one. Whoever is to
    /// lead is bound as well: its warden has been told, and ends the server unless it hears of each renewal.
    fn is_bound(&mut self) -> bool {
        let is_leader = self.mandate.plan().leader() == Some(&self.me);
        (self.is_leading() || is_leader) && self.mandate.deadline(true).is_some()
    }

    /// It led until its session was lost, which may come back.
    fn may_lead_again(&self, now: Moment) -> bool {
        self.mandate.plan().leader() == Some(&self.me)
            && self.stopped_at.is_some_and(|stopped| now.since(stopped) < READ_ONLY_AFTER)
    }

    fn pace(&self) -> Duration {
        match self.mandate.plan().phase {
            Phase::Serving { .. } | Phase::Founding { .. } => LOOK,
            Phase::Yielding { .. } | Phase::Electing { .. } | Phase::Promoting { .. } => LOOK_CLOSELY,
        }
    }

    /// Asks the server what it does, and says it. Whoever leads must be able to stop meanwhile.
    async fn look(&mut self) {
        let looked = if self.is_bound() {
            tokio::select! {
                biased;
                _cut = self.mandate.cut(true) => None,
                looked = self.executor.observe(self.said) => Some(looked),
            }
        } else {
            Some(self.executor.observe(self.said).await)
        };
        self.mandate.follow();
        match looked {
            Some(Ok(local)) => {
                self.local = Some(local);
                self.note_trouble();
            }
            Some(Err(error)) => {
                self.fails(&describe_error(&error));
                self.blind(false);
            }
            None => self.blind(false),
        }
        self.say();
    }

    /// Nothing is known of the server but what was known before.
    fn blind(&mut self, may_lead: bool) {
        let local = self.local.get_or_insert_with(|| Local {
            engine: self.engine,
            report: Report::new(Server::Unknown),
            leads: true,
            hung: false,
            rewinds: 0,
            clones: 0,
            upstream: None,
            stuck_at: None,
        });
        local.report.server = Server::Unknown;
        local.hung = false;
        local.leads |= may_lead;
    }

    fn say(&mut self) {
        let Some(local) = &mut self.local else { return };
        local.report.term = self.said;
        self.said = conforms(&self.me, local, self.mandate.plan());
        local.report.term = self.said;
        local.report.licence = self.mandate.heeds();
        let now = self.mandate.session.now();
        let is_calm = matches!(self.mandate.plan().phase, Phase::Serving { .. });
        let is_due = self.told.as_ref().is_none_or(|(told, at)| {
            let moved = Report { position: local.report.position, ..told.clone() };
            moved != local.report || (*told != local.report && (!is_calm || now.since(*at) >= TELL))
        });
        if is_due {
            self.mandate.say(&self.me, &local.report);
            self.told = Some((local.report.clone(), now));
        }
    }

    async fn begin(&mut self, lease: i64) {
        match self.mandate.begin(lease).await {
            Ok(()) => {
                self.stopped_at = None;
                self.tell(None);
            }
            Err(error) => {
                self.fails(&format!("the session cannot be begun: {}", describe_error(&error)));
                self.rest(LOOK_CLOSELY).await;
            }
        }
    }

    fn decide(&mut self) -> Action {
        let Some(local) = &self.local else { return Action::Wait };
        let is_leader = self.mandate.plan().leader() == Some(&self.me);
        let deadline = self.mandate.deadline(local.leads || is_leader);
        // The watchdog of a node that is cut off need not restart a machine on which nothing leads any more.
        let has_ended = !local.leads && local.report.server != Server::Unknown;
        if has_ended && !(is_leader && deadline.is_some()) {
            self.mandate.release();
        }
        let (plan, stored) = (self.mandate.plan(), self.mandate.stored());
        let source = plan.source().and_then(|source| stored.report(source));
        step(&self.me, local, plan, source, deadline, self.mandate.session.now())
    }

    async fn act(&mut self, action: Action) {
        self.tell(Some(describe(&action)));
        match action {
            Action::Stop(stop) => self.stop(stop).await,
            action => self.carry_out(action).await,
        }
        self.tell(None);
    }

    async fn stop(&mut self, stop: Stop) {
        let is_bound = self.is_bound();
        if self.is_leading() && !is_bound {
            self.stopped_at = Some(self.mandate.session.now());
        }
        self.stops_itself();
        tracing::info!(group = self.group, ?stop, term = self.mandate.plan().term, "databases: the server is stopped");
        let is_cut = match stop {
            Stop::Fast => tokio::select! {
                biased;
                _cut = self.mandate.cut(is_bound) => true,
                () = self.executor.stop(stop) => false,
            },
            Stop::Immediate => {
                self.executor.stop(stop).await;
                false
            }
        };
        if is_cut {
            self.executor.stop(Stop::Immediate).await;
        }
        // A look tells whether it has.
        self.blind(false);
        if let Some(local) = &mut self.local {
            local.leads = false;
        }
    }

    async fn carry_out(&mut self, action: Action) {
        let is_bound = leads(&action) || self.is_bound();
        if self.work.last.as_ref() != Some(&action) {
            tracing::info!(group = self.group, ?action, "databases: the server");
        }
        self.work.under_way = Some(action.clone());
        let done = tokio::select! {
            biased;
            cut = self.mandate.cut(is_bound) => Err(cut),
            done = self.executor.carry_out(&action) => Ok(done),
        };
        self.work.under_way = None;
        self.note_discarded(&action);
        let now = self.mandate.session.now();
        let is_same = self.work.last.as_ref() == Some(&action);
        match done {
            Ok(Ok(())) => {
                if matches!(action, Action::Clone { .. }) {
                    self.copied().await;
                }
                self.work.failures = 0;
                self.work.error = None;
                // What has to be done again at once waits for something else: replicas that catch up.
                if is_same {
                    self.work.not_before = now.after(LOOK_CLOSELY);
                }
            }
            Ok(Err(error)) => {
                self.work.failures = if is_same { self.work.failures.saturating_add(1) } else { 1 };
                let pause = backoff::delay(&RETRY, self.work.failures, &mut self.work.rng).max(RETRY.base / 2);
                self.work.not_before = now.after(pause);
                self.fails(&describe_error(&error));
            }
            Err(cut) => {
                self.blind(leads(&action));
                self.end_what_was_cut(cut).await;
            }
        }
        self.work.last = Some(action);
    }

    /// Waits for something to change, or for the end of the server's process.
    async fn rest(&mut self, limit: Duration) {
        let is_bound = self.is_bound();
        let executor = &mut self.executor;
        let runs = executor.process().is_some();
        let ended = async {
            while executor.process().is_some() == runs {
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::select! {
            biased;
            () = self.mandate.changed(is_bound) => {}
            () = ended => {}
            () = tokio::time::sleep(limit) => {}
        }
        self.mandate.follow();
    }

    /// Says what went wrong, once.
    fn fails(&mut self, error: &str) {
        if self.work.error.as_deref() != Some(error) {
            tracing::warn!(group = self.group, error, "databases: the server is not as it should be");
            self.work.error = Some(error.to_owned());
        }
        self.tell(None);
    }

    fn tell(&self, action: Option<String>) {
        let agent = Rung { name: "agent".to_owned(), missing: None };
        let rungs = [agent].into_iter().chain(self.mandate.rungs()).collect();
        let unguarded = || self.mandate.unguarded.as_ref().map(|why| format!("it must not lead: {why}"));
        let action = action.or_else(|| self.doing());
        let without_lease = self.mandate.without.filter(|_| self.is_leading()).map(str::to_owned);
        let own = Own { action, error: self.work.error.clone().or_else(unguarded), without_lease, rungs };
        self.board.update(&self.group, |view| view.own = Some(own));
    }
}
