//! Campaigns for the addresses that belong on this node, holds those that it wins, and gives them up in time.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::select_all;
use mainstay_core::assign::{Address, Policy};
use mainstay_core::time::Moment;
use mainstay_runtime::task::{Kind, Task, spawn_local};
use tokio::sync::{Notify, watch};

pub use super::board::{Board, Doors, Floating, Relief, Settings, State};
use super::holding::Holding;
use super::kernel;
use super::kernel::Kernel;
use super::slot::{Held, Slot};
use super::view::{View, follow};
use crate::assignment::{self, Candidacy};
use crate::coordinator::Coordinator;
use crate::guard::{Order, Part};
use crate::role::{Standing, Stops};
use crate::session::Session;
use crate::{keys, session};

/// How long a node that cannot hold an address leaves it to others before it tries again.
const UNFIT: Duration = Duration::from_secs(10);
/// The guard acts so much before a lease expires, since it needs time, too.
const GUARD_EARLY: Duration = Duration::from_millis(60);
/// While connections are waited for, the state is looked at this often.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// The state is looked at this often even if nothing happens.
const LOOK: Duration = Duration::from_millis(500);

/// Runs until `leave` is over, then gives up what is held; what `leave` answers is dropped after that.
///
/// # Errors
/// If the session has no room for the roles.
pub async fn run<T>(
    session: Session,
    coordinator: Arc<dyn Coordinator>,
    settings: Settings,
    board: Arc<Board>,
    leave: impl Future<Output = T>,
) -> Result<(), session::TooMany> {
    let (tell, mut view) = watch::channel(None);
    let _follows = spawn_local(Kind::Control, follow(Arc::clone(&coordinator), tell)).abort_on_drop();
    let stop_planning = Arc::new(Notify::new());
    let planner = plan(&session, coordinator, &settings, Arc::clone(&stop_planning));
    let mut driver = Driver::new(session, settings, board)?;
    tokio::pin!(leave);
    let _kept = loop {
        let known = view.borrow_and_update().clone();
        let next = driver.step(known.as_ref());
        let wait = next.since(driver.session.now()).min(LOOK);
        let changes = driver.slots.iter_mut().map(|slot| Box::pin(slot.follow.changed()));
        let any_role = async {
            if changes.len() == 0 {
                return std::future::pending().await;
            }
            select_all(changes).await
        };
        tokio::select! {
            biased;
            kept = &mut leave => break kept,
            _ = view.changed() => {}
            _ = any_role => {}
            _ = driver.guards.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    };
    driver.leave().await;
    stop_planning.notify_one();
    planner.await;
    Ok(())
}

/// Takes part in planning, until it is told to stop.
fn plan(session: &Session, coordinator: Arc<dyn Coordinator>, settings: &Settings, stop: Arc<Notify>) -> Task {
    let addresses = settings.addresses.iter().map(|floating| Address {
        ip: floating.address.ip,
        prefer: floating.prefer.clone(),
        preempt: floating.preempt,
    });
    let (session, policy) = (session.clone(), Policy { addresses: addresses.collect() });
    spawn_local(Kind::Control, async move {
        let settings = assignment::Settings::new(policy);
        if let Err(error) = assignment::run(session, coordinator, settings, stop.notified()).await {
            tracing::error!(%error, "addresses: this node does not take part in planning");
        }
    })
}

struct Driver {
    session: Session,
    settings: Settings,
    board: Arc<Board>,
    slots: Vec<Slot>,
    candidacy: session::Kept,
    guard: Part,
    /// Tells of guards that have come up.
    guards: watch::Receiver<u64>,
    kernel: Option<Kernel>,
    /// Renewals that had failed when it was looked last.
    failures: u64,
    /// Since a renewal failed: how many had been confirmed before.
    cut_off: Option<u64>,
    open: BTreeSet<IpAddr>,
}

impl Driver {
    fn new(session: Session, settings: Settings, board: Arc<Board>) -> Result<Self, session::TooMany> {
        let ips = settings.addresses.iter().map(|floating| floating.address.ip).collect();
        let candidacy = Candidacy { ips, spare: settings.spare };
        let candidacy = session.keep(keys::candidate(session.node()), candidacy.to_bytes())?;
        let mut slots = Vec::new();
        for floating in &settings.addresses {
            let role = session.role(keys::holder(&floating.address.ip), Stops::Reported)?;
            slots.push(Slot::new(floating.clone(), role));
        }
        let (guard, guards) = (settings.keeper.part("addresses"), settings.keeper.follow());
        Ok(Self {
            session,
            settings,
            board,
            slots,
            candidacy,
            guard,
            guards,
            kernel: None,
            failures: 0,
            cut_off: None,
            open: BTreeSet::new(),
        })
    }

    /// Does what is due, and answers when something is due next.
    fn step(&mut self, view: Option<&View>) -> Moment {
        let now = self.session.now();
        let healed = self.healed();
        // First who must stop, then the guard for those that will begin, then they.
        self.stop_lost();
        self.tell_guard();
        let mut next = now.after(LOOK);
        for index in 0..self.slots.len() {
            if let Some(due) = self.hold(index, now, healed) {
                next = next.min(due);
            }
        }
        self.set_doors();
        if let Some(view) = view {
            self.wish(view, now);
        }
        self.post_on_board(view);
        if self.slots.iter().any(|slot| slot.relief.is_some()) { next.min(now.after(DRAIN_LOOK)) } else { next }
    }

    /// Whether the coordinator answers again after it did not: neighbours may have missed what was announced.
    fn healed(&mut self) -> bool {
        let (failed, renewed) = (self.session.counts().failed(), self.session.counts().renewed());
        if failed != self.failures {
            self.failures = failed;
            self.cut_off = Some(renewed);
        }
        let healed = self.cut_off.is_some_and(|before| renewed > before);
        if healed {
            self.cut_off = None;
        }
        healed
    }

    /// Ends what may not be held any more, and says so.
    fn stop_lost(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let lost = match slot.follow.standing() {
                Standing::Holding { token, .. } => slot.held.as_ref().filter(|held| held.token_and_term().0 != token),
                Standing::Stopping { .. } | Standing::Outside => slot.held.as_ref(),
            };
            if lost.is_some() {
                self.release(index);
            }
            let slot = &self.slots[index];
            if let (Standing::Stopping { token, .. }, None) = (slot.role.standing(), &slot.held) {
                slot.role.stopped(token);
            }
        }
    }

    fn release(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let (address, held) = (slot.floating.address, slot.held.take());
        match held {
            Some(Held::Interface(_)) => {
                let interface = slot.floating.interface.clone().unwrap_or_default();
                let removed = kernel(&mut self.kernel).and_then(|kernel| Holding::end(kernel, address, &interface));
                match removed {
                    Ok(_) => tracing::info!(%address, interface, "address: given up"),
                    Err(error) => {
                        tracing::error!(%address, interface, %error, "address: not removed; the kernel will when its lifetime ends");
                        // Tried again at the next look, and not reported as stopped before.
                        slot.held = held;
                    }
                }
            }
            Some(Held::Listening(..)) => {
                self.set_doors();
                tracing::info!(%address, "address: listeners closed");
            }
            None => {}
        }
    }

    /// Begins or goes on to hold, and answers when something is due.
    fn hold(&mut self, index: usize, now: Moment, healed: bool) -> Option<Moment> {
        let slot = &mut self.slots[index];
        let Standing::Holding { token, term } = slot.follow.standing() else { return None };
        if now >= term.deadline {
            return None;
        }
        let address = slot.floating.address;
        let Some(interface) = slot.floating.interface.clone() else {
            if slot.held.is_none() {
                slot.taken += 1;
                tracing::info!(%address, token, "address: held, listeners open");
            }
            slot.held = Some(Held::Listening(token, term));
            return None;
        };
        let kept = kernel(&mut self.kernel).and_then(|kernel| match &mut slot.held {
            Some(Held::Interface(holding)) => holding.keep(kernel, address, &interface, term, now, healed),
            _ => {
                slot.held = Some(Held::Interface(Holding::begin(kernel, address, &interface, token, term, now)?));
                slot.taken += 1;
                tracing::info!(%address, interface, token, "address: held");
                Ok(())
            }
        });
        match kept {
            Ok(()) => slot.problem = None,
            Err(error) => self.unfit(index, now, &error),
        }
        match &self.slots[index].held {
            Some(Held::Interface(holding)) => holding.due(),
            Some(Held::Listening(..)) | None => None,
        }
    }

    /// The node cannot hold the address for now: another one shall.
    fn unfit(&mut self, index: usize, now: Moment, error: &kernel::Error) {
        let slot = &mut self.slots[index];
        let problem = std::error::Error::source(error).map_or(error.to_string(), |source| format!("{error}: {source}"));
        tracing::error!(address = %slot.floating.address, problem, "address: cannot be held here; left to other nodes");
        slot.problem = Some(problem);
        slot.unfit_until = now.after(UNFIT);
        slot.role.want(false);
        if slot.held.is_some() {
            self.release(index);
        }
    }

    /// Campaigns for what belongs here, and gives up what belongs elsewhere.
    fn wish(&mut self, view: &View, now: Moment) {
        let fit = |slot: &&Slot| now >= slot.unfit_until;
        let ips: BTreeSet<IpAddr> = self.slots.iter().filter(fit).map(|slot| slot.floating.address.ip).collect();
        self.candidacy.set(Candidacy { ips: ips.clone(), spare: self.settings.spare }.to_bytes());
        for slot in &mut self.slots {
            let ip = slot.floating.address.ip;
            let belongs_here = view.plan.owner(ip) == Some(self.session.node());
            let fit = ips.contains(&ip);
            let drain = slot.drain(view.drains.get(&ip));
            slot.want(belongs_here && fit, fit, now, drain, &*self.settings.doors);
        }
    }

    /// Tells the guard what is held, and what is about to be.
    fn tell_guard(&mut self) {
        let (mut addresses, mut kill_at) = (Vec::new(), None::<u64>);
        for slot in &self.slots {
            let Standing::Holding { term, .. } = slot.role.standing() else { continue };
            let until = term.expiry.as_nanos().saturating_sub(nanos(GUARD_EARLY));
            match &slot.floating.interface {
                Some(interface) => {
                    addresses.push(Order { address: slot.floating.address, interface: interface.clone(), until });
                }
                None => kill_at = Some(kill_at.map_or(until, |at| at.min(until))),
            }
        }
        self.guard.hold(addresses, kill_at);
    }

    fn set_doors(&mut self) {
        let is_open = |slot: &&Slot| matches!(slot.held, Some(Held::Listening(..)));
        let open: BTreeSet<IpAddr> = self.slots.iter().filter(is_open).map(|slot| slot.floating.address.ip).collect();
        if open != self.open {
            if let Err(reason) = self.settings.doors.set(&open) {
                tracing::error!(reason, "address: the listeners are not as they should be");
            }
            self.open = open;
        }
    }

    fn post_on_board(&self, view: Option<&View>) {
        let states = self.slots.iter().map(|slot| {
            let ip = slot.floating.address.ip;
            let state = State {
                floating: slot.floating.clone(),
                held: slot.held.as_ref().map(|held| held.token_and_term().0),
                taken: slot.taken,
                belongs: view.and_then(|view| view.plan.owner(ip)).map(str::to_owned),
                problem: slot.problem.clone(),
            };
            (ip, state)
        });
        *self.board.states.lock().unwrap_or_else(PoisonError::into_inner) = states.collect();
        *self.board.view.lock().unwrap_or_else(PoisonError::into_inner) = view.cloned();
        let until = match self.session.standing() {
            session::Standing::Held(term) => Some(term.deadline),
            session::Standing::Without | session::Standing::Closed => None,
        };
        *self.board.lease.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Gives everything up in order.
    async fn leave(&mut self) {
        self.candidacy.set(Candidacy { ips: BTreeSet::new(), spare: true }.to_bytes());
        for index in 0..self.slots.len() {
            self.slots[index].role.want(false);
            if self.slots[index].held.is_some() {
                self.release(index);
            }
        }
        for slot in &self.slots {
            if let Standing::Holding { token, .. } | Standing::Stopping { token, .. } = slot.role.standing() {
                slot.role.stopped(token);
            }
        }
        for slot in &self.slots {
            slot.role.resign().await;
        }
        self.guard.hold(Vec::new(), None);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The kernel's tables, opened when they are first needed.
fn kernel(place: &mut Option<Kernel>) -> Result<&mut Kernel, kernel::Error> {
    match place {
        Some(kernel) => Ok(kernel),
        None => Ok(place.insert(Kernel::open()?)),
    }
}
