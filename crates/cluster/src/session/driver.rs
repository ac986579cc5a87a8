//! The loop that feeds the machines and does what they say. Everything that depends on the lease is in one task, so that a
//! loss reaches all roles before anything else is looked at.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mainstay_core::lease::{self, Policy, Reason, Term, Token, holding, renewal};
use mainstay_core::time::Moment;
use mainstay_core::transition::Word;
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use tokio::sync::mpsc;

use super::kept::Place;
use super::{Shared, Standing, told};
use crate::coordinator::{Coordinator, Entry, Error, LeaseId, Revision};
use crate::election::{self, News};
use crate::role::{self, Stops};

/// News of watches that wait for the driver; a watch waits for room.
const NEWS_MAX: usize = 64;

type Call = Pin<Box<dyn Future<Output = Answer>>>;

/// What came back of a call.
enum Answer {
    Session(renewal::Input),
    Role(u64, holding::Input),
    /// A role could not be campaigned for since the lease is not there.
    NoLease(u64, holding::Input, i64),
    Kept(u64, Result<Result<Revision, Option<Entry>>, Error>),
    Nothing,
}

struct Seat {
    id: u64,
    shared: Arc<role::Shared>,
    machine: lease::Role,
    expiry: Moment,
    _observer: AbortOnDrop,
}

pub(super) struct Driver {
    coordinator: Arc<dyn Coordinator>,
    policy: Policy,
    shared: Arc<Shared>,
    machine: lease::Session,
    seats: Vec<Seat>,
    /// Roles and registrations that there ever were.
    made: u64,
    seed: u64,
    kept: Vec<Place>,
    term: Option<Term>,
    /// The lease that was stepped down from, until all roles have stopped.
    lost: Option<i64>,
    calls: FuturesUnordered<Call>,
    tell: mpsc::Sender<(u64, News)>,
    news: mpsc::Receiver<(u64, News)>,
}

impl Driver {
    pub(super) fn new(coordinator: Arc<dyn Coordinator>, policy: Policy, seed: u64, shared: Arc<Shared>) -> Self {
        let (tell, news) = mpsc::channel(NEWS_MAX);
        Self {
            coordinator,
            policy,
            shared,
            machine: lease::Session::new(policy, seed),
            seats: Vec::new(),
            made: 0,
            seed,
            kept: Vec::new(),
            term: None,
            lost: None,
            calls: FuturesUnordered::new(),
            tell,
            news,
        }
    }

    pub(super) async fn run(mut self) {
        let driver = Arc::clone(&self.shared.driver);
        let clock = self.shared.clock.clone();
        self.session(clock.now(), renewal::Input::Timeout);
        while !self.machine.is_closed() {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = clock.sleep_until(deadline) => self.session(clock.now(), renewal::Input::Timeout),
                Some(answer) = self.calls.next(), if !self.calls.is_empty() => self.answered(clock.now(), answer),
                () = driver.notified() => self.wishes(clock.now()),
                Some((id, news)) = self.news.recv() => {
                    self.role(clock.now(), id, holding::Input::Seen(news.seen()));
                }
            }
        }
        // The lease's end is on its way: it is given the time of one message.
        let _late = tokio::time::timeout(self.policy.rpc, async { while self.calls.next().await.is_some() {} }).await;
        self.shared.standing.send_replace(Standing::Closed);
    }

    fn deadline(&self) -> Moment {
        let roles = self.seats.iter().filter_map(|seat| seat.machine.deadline());
        let lease = self.term.map(|term| term.lease);
        let kept = self.kept.iter().filter_map(|place| place.deadline(lease?));
        self.machine.deadline().into_iter().chain(roles).chain(kept).min().unwrap_or(Moment::NEVER)
    }

    fn answered(&mut self, now: Moment, answer: Answer) {
        match answer {
            Answer::Session(input) => {
                let counts = &self.shared.counts;
                match input {
                    renewal::Input::Renewed { .. } => add(&counts.renewed),
                    renewal::Input::Granted { .. } => add(&counts.granted),
                    renewal::Input::Failed { .. } => add(&counts.failed),
                    _ => {}
                }
                self.session(now, input);
            }
            Answer::Role(id, input) => self.role(now, id, input),
            Answer::NoLease(id, input, lease) => {
                self.session(now, renewal::Input::Gone { lease });
                self.role(now, id, input);
            }
            Answer::Kept(id, written) => {
                if let Some(place) = self.kept.iter_mut().find(|place| place.id == id) {
                    place.done(written, now.after(self.policy.renew));
                }
                self.session(now, renewal::Input::Timeout);
            }
            Answer::Nothing => {}
        }
    }

    /// Steps the session, and then everything else, so that a deadline that has passed is known everywhere.
    fn session(&mut self, now: Moment, input: renewal::Input) {
        self.machine.step(now, input);
        self.settle(now);
    }

    fn role(&mut self, now: Moment, id: u64, input: holding::Input) {
        // The session first: it may have been lost while nobody looked.
        self.session(now, renewal::Input::Timeout);
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.id == id) {
            seat.machine.step(now, input);
        }
        self.settle(now);
    }

    /// Does what the machines say until they have nothing more to say.
    fn settle(&mut self, now: Moment) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.perform(now, output);
            }
            for index in 0..self.seats.len() {
                self.seats[index].machine.step(now, holding::Input::Timeout);
                self.perform_role(now, index);
            }
            let stopping = self.seats.iter().any(|seat| seat.machine.stopping().is_some());
            let Some(lease) = self.lost.take_if(|_| !stopping) else { break };
            self.machine.step(now, renewal::Input::Stopped { lease });
        }
        self.forget_dropped();
        self.write_kept(now);
    }

    fn perform(&mut self, now: Moment, output: renewal::Output) {
        let (coordinator, ttl) = (Arc::clone(&self.coordinator), self.policy.ttl);
        match output {
            renewal::Output::Grant { attempt } => {
                self.call(self.policy.rpc, renewal::Input::Failed { attempt }, async move {
                    let lease = coordinator.grant(ttl).await?;
                    Ok(renewal::Input::Granted { attempt, lease: lease.id.0, ttl: lease.ttl })
                })
            }
            // A late answer is of use until what it allows is over, which counts from the sending; others are sent meanwhile.
            renewal::Output::Renew { attempt, lease } => {
                self.call(ttl, renewal::Input::Failed { attempt }, async move {
                    match coordinator.keep_alive(LeaseId(lease)).await {
                        Ok(renewed) => Ok(renewal::Input::Renewed { attempt, ttl: renewed.ttl }),
                        Err(Error::LeaseNotFound(_)) => Ok(renewal::Input::Gone { lease }),
                        Err(error) => Err(error),
                    }
                })
            }
            renewal::Output::Revoke { lease } => {
                let limit = self.policy.rpc;
                self.calls.push(Box::pin(async move {
                    let revoke = tokio::time::timeout(limit, coordinator.revoke(LeaseId(lease)));
                    if let Ok(Err(error)) = revoke.await {
                        tracing::debug!(lease, %error, "the lease was not ended, and will end by itself");
                    }
                    Answer::Nothing
                }));
            }
            renewal::Output::Held(term) => {
                self.term = Some(term);
                if self.shared.standing.send_replace(Standing::Held(term)) == Standing::Without {
                    told::session(&self.shared.journal, Word::Held, "", false);
                }
                self.seats.iter_mut().for_each(|seat| seat.machine.step(now, holding::Input::Session(term)));
            }
            renewal::Output::StepDown { term, reason } => self.step_down(now, term, reason),
        }
    }

    fn step_down(&mut self, now: Moment, term: Term, reason: Reason) {
        self.term = None;
        self.lost = (reason != Reason::Gone).then_some(term.lease);
        self.shared.standing.send_replace(Standing::Without);
        self.seats.iter_mut().for_each(|seat| seat.machine.step(now, holding::Input::SessionLost));
        let lease = term.lease;
        match reason {
            Reason::Closed => {
                told::session(&self.shared.journal, Word::Absent, "the node leaves", true);
                tracing::info!(lease, "the node leaves its session");
            }
            Reason::Expired | Reason::Gone | Reason::ClockWentBack => {
                add(&self.shared.counts.lost);
                told::session(&self.shared.journal, Word::Lost, told::why_lost(reason), false);
                tracing::warn!(lease, ?reason, "the session is lost: everything that depends on it stops");
            }
        }
    }

    fn call(
        &mut self,
        limit: Duration,
        failed: renewal::Input,
        request: impl Future<Output = Result<renewal::Input, Error>> + 'static,
    ) {
        self.calls.push(Box::pin(async move {
            match tokio::time::timeout(limit, request).await {
                Ok(Ok(input)) => Answer::Session(input),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the session was not granted or renewed");
                    Answer::Session(failed)
                }
                Err(_elapsed) => Answer::Session(failed),
            }
        }));
    }

    fn perform_role(&mut self, now: Moment, index: usize) {
        while let Some(output) = self.seats[index].machine.poll_output() {
            let (id, shared) = (self.seats[index].id, Arc::clone(&self.seats[index].shared));
            let coordinator = Arc::clone(&self.coordinator);
            match output {
                holding::Output::Campaign { attempt, lease } => {
                    let failed = holding::Input::Failed { attempt };
                    self.call_role(id, lease, failed, async move {
                        let (key, value) = (&shared.key, shared.value.clone());
                        let news = election::campaign(&*coordinator, key, value, LeaseId(lease)).await?;
                        Ok(holding::Input::Answer { attempt, seen: news.seen() })
                    });
                }
                holding::Output::Resign { attempt, token, lease } => {
                    let failed = holding::Input::Failed { attempt };
                    self.call_role(id, lease, failed, async move {
                        election::resign(&*coordinator, &shared.key, token, LeaseId(lease)).await?;
                        Ok(holding::Input::Resigned { attempt })
                    });
                }
                holding::Output::Hold { token, term } => {
                    self.seats[index].expiry = term.expiry;
                    let (before, _idle) =
                        shared.standing.send_replace((role::Standing::Holding { token, term }, false));
                    told::held(&self.shared.journal, &shared.key, before, token);
                }
                holding::Output::Stop { token, why } => {
                    tracing::info!(key = shared.key, token, ?why, "the role is given up");
                    told::stopped(&self.shared.journal, &shared.key, why);
                    let expiry = self.seats[index].expiry;
                    shared.standing.send_replace((role::Standing::Stopping { token, why, expiry }, false));
                    if shared.stops != Stops::Reported || shared.wish().dropped {
                        self.seats[index].machine.step(now, holding::Input::Stopped { token });
                    }
                }
            }
        }
        self.tell_outside(index);
    }

    /// A role that is neither held nor stopping is said to be outside.
    fn tell_outside(&self, index: usize) {
        let Seat { machine, shared, .. } = &self.seats[index];
        let idle = machine.is_idle();
        let outside = !machine.is_holding() && machine.stopping().is_none();
        shared.standing.send_if_modified(|told| {
            let next = (if outside { role::Standing::Outside } else { told.0 }, idle);
            let differs = *told != next;
            *told = next;
            differs
        });
    }

    fn call_role(
        &mut self,
        id: u64,
        lease: i64,
        failed: holding::Input,
        request: impl Future<Output = Result<holding::Input, Error>> + 'static,
    ) {
        let limit = self.policy.rpc;
        self.calls.push(Box::pin(async move {
            match tokio::time::timeout(limit, request).await {
                Ok(Ok(input)) => Answer::Role(id, input),
                Ok(Err(Error::LeaseNotFound(_))) => Answer::NoLease(id, failed, lease),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a role was not campaigned for, or not given back");
                    Answer::Role(id, failed)
                }
                Err(_elapsed) => Answer::Role(id, failed),
            }
        }));
    }

    /// Takes up what handles ask for.
    fn wishes(&mut self, now: Moment) {
        let (roles, kept, close) = {
            let mut wishes = self.shared.wishes();
            (std::mem::take(&mut wishes.roles), std::mem::take(&mut wishes.kept), wishes.close)
        };
        for shared in roles {
            let guard = if shared.stops == Stops::Fenced { Duration::ZERO } else { self.policy.guard };
            let mut machine = lease::Role::new(
                Policy { guard, ..self.policy },
                self.seed ^ mainstay_core::random::hash(shared.key.as_bytes()),
            );
            if let Some(term) = self.term {
                machine.step(now, holding::Input::Session(term));
            }
            self.made += 1;
            let id = self.made;
            let _observer = self.observe(id, shared.key.clone());
            self.seats.push(Seat { id, shared, machine, expiry: now, _observer });
        }
        for shared in kept {
            self.made += 1;
            self.kept.push(Place::new(self.made, shared));
        }
        self.session(now, if close { renewal::Input::Close } else { renewal::Input::Timeout });
        for seat in &mut self.seats {
            let wish = seat.shared.wish();
            seat.machine.step(now, holding::Input::Want(wish.wanted && !close));
            // What acted is gone with the handle.
            let stopped = |token: &Token| wish.dropped || *token <= wish.stopped;
            if let Some(token) = seat.machine.stopping().filter(stopped) {
                seat.machine.step(now, holding::Input::Stopped { token });
            }
        }
        self.settle(now);
    }

    fn forget_dropped(&mut self) {
        let before = self.seats.len() + self.kept.len();
        self.seats.retain(|seat| !(seat.shared.wish().dropped && seat.machine.is_idle()));
        self.kept.retain(|place| !place.shared.is_dropped());
        let gone = before - self.seats.len() - self.kept.len();
        if gone > 0 {
            self.shared.wishes().handles -= gone;
        }
    }

    fn observe(&self, id: u64, key: String) -> AbortOnDrop {
        let (coordinator, tell, pause) = (Arc::clone(&self.coordinator), self.tell.clone(), self.policy.renew);
        let pause = pause.max(Duration::from_millis(100));
        let observer = async move {
            election::observe(&*coordinator, &key, pause, async |news| {
                // The driver ends its observers before it goes.
                let _driver_is_there = tell.send((id, news)).await;
            })
            .await;
        };
        spawn_local(Kind::Control, observer).abort_on_drop()
    }

    fn write_kept(&mut self, now: Moment) {
        let Some(term) = self.term else { return };
        for place in &mut self.kept {
            let Some(write) = place.due(now, term.lease) else { continue };
            let (id, coordinator, limit) = (place.id, Arc::clone(&self.coordinator), self.policy.rpc);
            self.calls.push(Box::pin(async move {
                let lost = Err(Error::Unknown(format!("no answer within {limit:?}")));
                let written = tokio::time::timeout(limit, write.perform(&*coordinator)).await.unwrap_or(lost);
                Answer::Kept(id, written)
            }));
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
