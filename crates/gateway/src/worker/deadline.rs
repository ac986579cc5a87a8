//! Deadlines of connections, without a timer operation per request.
//!
//! Every wait of a connection has a deadline, and on a busy connection it moves with each request, almost always later.
//! So a connection's [`Slot`] keeps its deadline in a cell, and the worker's [`Wheel`] holds the slot at some earlier or
//! equal tick; when that tick comes and the deadline has moved on, the slot is hung up again. Moving a deadline later costs
//! a store; only moving it earlier costs a push (Varghese and Lauck, 1987, with lazy re-arming).

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay_core::time::Moment;
use mainstay_runtime::clock::Clock;

/// Resolution of deadlines.
const TICK: Duration = Duration::from_millis(TICK_MILLIS);
const TICK_MILLIS: u64 = 10;
/// Ticks that the wheel spans; deadlines beyond are re-armed once a turn.
const SLOTS: usize = 1024;
const UNARMED: u64 = u64::MAX;

/// The deadline came before the awaited thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired;

/// Names a slot without keeping its memory: under many short connections, entries outlive their slots by far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    key: u32,
    /// Told apart from the slot that had the key before.
    generation: u32,
}

/// One connection's place in the wheel.
#[derive(Debug)]
pub(crate) struct Slot {
    wheel: Rc<Wheel>,
    deadline: Cell<Moment>,
    armed: Cell<u64>,
    expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    entry: Entry,
    /// The connection waits for its next request and may be closed without harm.
    pub(crate) idle: Cell<bool>,
    /// The connection is a tunnel, which stays open until the end of a drain.
    pub(crate) tunnel: Cell<bool>,
    /// The connection leads to a server of a database group, or waits for one.
    pub(crate) led: Cell<bool>,
    /// Many requests share the connection, so that it has to be told of a drain even while it is busy.
    pub(crate) multiplexed: Cell<bool>,
}

impl Slot {
    /// Moves the deadline.
    pub(crate) fn set(&self, deadline: Moment) {
        self.deadline.set(deadline);
        self.expired.set(false);
        let tick = self.wheel.tick_of(deadline);
        if tick < self.armed.get() {
            self.wheel.arm(self, tick);
        }
    }

    /// Moves the deadline to an earlier moment, if it is later.
    pub(crate) fn hasten(&self, deadline: Moment) {
        if deadline < self.deadline.get() {
            self.set(deadline);
        }
    }

    /// Forgets the request that it was for. The next one finds it hung up already.
    pub(crate) fn rest(&self) {
        self.deadline.set(Moment::NEVER);
        self.expired.set(false);
        self.tunnel.set(false);
        drop(self.waker.take());
    }

    /// Has the connection look around, although nothing has come and its deadline has not.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.expired.get()
    }

    /// Remembers whom to wake at the deadline. A connection is one task, so the waker seldom changes.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Awaits `future` until the deadline.
    pub(crate) async fn within<F: Future>(&self, future: F) -> Result<F::Output, Expired> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.expired.get() {
                return Poll::Ready(Err(Expired));
            }
            self.register(cx);
            Poll::Pending
        })
        .await
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _slot = self.wheel.members.borrow_mut().try_remove(self.entry.key as usize);
    }
}

/// The deadlines of one worker's connections.
#[derive(Debug)]
pub(crate) struct Wheel {
    clock: Clock,
    origin: Moment,
    /// The last tick that was handled.
    now: Cell<u64>,
    generation: Cell<u32>,
    /// The tick that the driver sleeps until.
    sleeps_until: Cell<u64>,
    /// Wakes the driver when an earlier tick is armed.
    earlier: tokio::sync::Notify,
    ticks: RefCell<Vec<Vec<Entry>>>,
    members: RefCell<slab::Slab<Weak<Slot>>>,
}

impl Wheel {
    pub(crate) fn new(clock: Clock) -> Rc<Self> {
        Rc::new(Self {
            clock,
            origin: clock.now(),
            now: Cell::new(0),
            generation: Cell::new(0),
            sleeps_until: Cell::new(0),
            earlier: tokio::sync::Notify::new(),
            ticks: RefCell::new((0..SLOTS).map(|_tick| Vec::new()).collect()),
            members: RefCell::new(slab::Slab::new()),
        })
    }

    /// A slot without a deadline, for a new connection.
    pub(crate) fn slot(self: &Rc<Self>) -> Rc<Slot> {
        let mut members = self.members.borrow_mut();
        let place = members.vacant_entry();
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let slot = Rc::new(Slot {
            wheel: Rc::clone(self),
            deadline: Cell::new(Moment::NEVER),
            armed: Cell::new(UNARMED),
            expired: Cell::new(false),
            waker: RefCell::new(None),
            entry: Entry { key: place.key() as u32, generation },
            idle: Cell::new(false),
            tunnel: Cell::new(false),
            led: Cell::new(false),
            multiplexed: Cell::new(false),
        });
        place.insert(Rc::downgrade(&slot));
        slot
    }

    fn find(&self, entry: Entry) -> Option<Rc<Slot>> {
        let slot = self.members.borrow().get(entry.key as usize)?.upgrade()?;
        (slot.entry == entry).then_some(slot)
    }

    /// How many slots there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.members.borrow().len()
    }

    /// Hands every slot to `visit`, which may move its deadline.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Slot)) {
        let members: Vec<Rc<Slot>> = self.members.borrow().iter().filter_map(|(_key, slot)| slot.upgrade()).collect();
        for slot in members {
            visit(&slot);
        }
    }

    /// The first tick at or after `moment`.
    fn tick_of(&self, moment: Moment) -> u64 {
        let tick = TICK.as_nanos() as u64;
        (moment.since(self.origin).as_nanos() as u64).div_ceil(tick).min(UNARMED - 1)
    }

    fn arm(&self, slot: &Slot, tick: u64) {
        let now = self.now.get();
        let tick = tick.clamp(now + 1, now + SLOTS as u64 - 1);
        slot.armed.set(tick);
        if let Some(list) = self.ticks.borrow_mut().get_mut(tick as usize % SLOTS) {
            list.push(slot.entry);
        }
        if tick < self.sleeps_until.get() {
            self.sleeps_until.set(tick);
            self.earlier.notify_one();
        }
    }

    /// Turns the wheel to the present: wakes what has expired, hangs up again what has moved on.
    fn turn(&self) {
        let now = self.clock.now();
        let target = now.since(self.origin).as_nanos() as u64 / TICK.as_nanos() as u64;
        while self.now.get() < target {
            let tick = self.now.get() + 1;
            self.now.set(tick);
            let mut due =
                self.ticks.borrow_mut().get_mut(tick as usize % SLOTS).map(std::mem::take).unwrap_or_default();
            for slot in due.drain(..).filter_map(|entry| self.find(entry)) {
                // An entry that a move to an earlier tick has left behind is void.
                if slot.armed.get() != tick {
                    continue;
                }
                slot.armed.set(UNARMED);
                let deadline = slot.deadline.get();
                if deadline > now {
                    let tick = self.tick_of(deadline);
                    self.arm(&slot, tick);
                } else {
                    slot.expired.set(true);
                    if let Some(waker) = slot.waker.borrow_mut().take() {
                        waker.wake();
                    }
                }
            }
        }
    }

    /// The next tick at which something hangs.
    fn next_armed(&self) -> Option<u64> {
        let ticks = self.ticks.borrow();
        let now = self.now.get();
        (now + 1..now + SLOTS as u64)
            .find(|tick| ticks.get(*tick as usize % SLOTS).is_some_and(|list| !list.is_empty()))
    }

    /// Turns the wheel for as long as the worker lives; sleeps while nothing is due.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            let next = self.next_armed();
            self.sleeps_until.set(next.unwrap_or(UNARMED));
            let wake = match next {
                Some(tick) => self.origin.after(Duration::from_millis(tick.saturating_mul(TICK_MILLIS))),
                None => Moment::NEVER,
            };
            tokio::select! {
                () = self.clock.sleep_until(wake) => {}
                () = self.earlier.notified() => {}
            }
            self.turn();
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_runtime::task::{self, Kind};
    use mainstay_runtime::thread::run_here;

    use super::*;

    fn with_wheel<F: Future>(test: impl FnOnce(Rc<Wheel>, Clock) -> F) -> F::Output {
        let clock = Clock::new();
        run_here(async {
            let wheel = Wheel::new(clock);
            let _turning = task::spawn_local(Kind::Control, Rc::clone(&wheel).run()).abort_on_drop();
            test(wheel, clock).await
        })
        .expect("a runtime")
    }

    #[test]
    fn a_deadline_comes_not_before_its_time() {
        with_wheel(|wheel, clock| async move {
            let slot = wheel.slot();
            let start = clock.now();
            slot.set(start.after(Duration::from_millis(50)));
            assert_eq!(slot.within(std::future::pending::<()>()).await, Err(Expired));
            assert!(clock.now().since(start) >= Duration::from_millis(50));
        });
    }

    #[test]
    fn a_deadline_that_moves_later_or_earlier_is_kept() {
        with_wheel(|wheel, clock| async move {
            let slot = wheel.slot();
            let start = clock.now();
            slot.set(start.after(Duration::from_millis(20)));
            slot.set(start.after(Duration::from_millis(120)));
            assert_eq!(slot.within(std::future::pending::<()>()).await, Err(Expired));
            assert!(clock.now().since(start) >= Duration::from_millis(120));
            slot.set(start.after(Duration::from_secs(3600)));
            slot.hasten(clock.now().after(Duration::from_millis(20)));
            assert_eq!(slot.within(std::future::pending::<()>()).await, Err(Expired));
        });
    }

    #[test]
    fn a_slot_that_rested_knows_nothing_of_the_request_before() {
        with_wheel(|wheel, clock| async move {
            let slot = wheel.slot();
            let tick = Duration::from_millis(20);
            slot.set(clock.now().after(tick));
            slot.tunnel.set(true);
            slot.rest();
            tokio::time::sleep(3 * tick).await;
            assert!(!slot.has_expired() && !slot.tunnel.get());
            // Its entry of before must not keep the next deadline from coming.
            slot.set(clock.now().after(tick));
            assert_eq!(slot.within(std::future::pending::<()>()).await, Err(Expired));
        });
    }

    #[test]
    fn what_is_ready_wins_and_slots_leave_nothing_behind() {
        with_wheel(|wheel, clock| async move {
            let slot = wheel.slot();
            slot.set(clock.now());
            assert_eq!(slot.within(std::future::ready(1)).await, Ok(1));
            assert_eq!(wheel.len(), 1);
            drop(slot);
            assert_eq!(wheel.len(), 0);
        });
    }
}
