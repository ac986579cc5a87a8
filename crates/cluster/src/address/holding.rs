//! One address on this node, while it is held: on the interface for as long as the lease, announced in bursts.

use std::time::Duration;

use mainstay_core::lease::{Term, Token};
use mainstay_core::time::Moment;

use super::kernel::{self, Interface, Kernel};
use super::{Prefixed, announce, sessions};

/// The kernel looks at lifetimes with timers that it rounds, and removes an address by so much too late.
const KERNEL_LATENESS: Duration = Duration::from_millis(260);
/// How much before a whole number of seconds the lifetime is set, since this process may be late.
const MARGIN: Duration = Duration::from_millis(50);

/// An address that this node holds.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) token: Token,
    pub(super) term: Term,
    since: Moment,
    bursts_sent: usize,
    /// When the lifetime in the kernel is to be moved on although nothing was renewed.
    refresh_at: Option<Moment>,
    was_running: bool,
    /// When the kernel removes the address, as far as it was told.
    kernel_until: Moment,
}

impl Holding {
    /// Puts the address on the interface and announces it.
    pub(super) fn begin(
        kernel: &mut Kernel,
        address: Prefixed,
        interface: &str,
        token: Token,
        term: Term,
        now: Moment,
    ) -> Result<Self, kernel::Error> {
        let mut holding =
            Self { token, term, since: now, bursts_sent: 0, refresh_at: None, was_running: true, kernel_until: now };
        let link = holding.put(kernel, address, interface, now)?;
        holding.was_running = link.running;
        holding.announce(address, &link, now);
        Ok(holding)
    }

    /// Does what is due: the lifetime after a renewal, announcements. `healed`: the node was cut off for a while.
    pub(super) fn keep(
        &mut self,
        kernel: &mut Kernel,
        address: Prefixed,
        interface: &str,
        term: Term,
        now: Moment,
        healed: bool,
    ) -> Result<(), kernel::Error> {
        let renewed = term != self.term;
        self.term = term;
        if !renewed && !healed && self.refresh_at.is_none_or(|at| now < at) && self.burst_at().is_none_or(|at| now < at)
        {
            return Ok(());
        }
        let link = self.put(kernel, address, interface, now)?;
        let came_back = link.running && !self.was_running;
        self.was_running = link.running;
        if healed || came_back {
            (self.since, self.bursts_sent) = (now, 0);
        }
        self.announce(address, &link, now);
        Ok(())
    }

    /// Takes the address off the interface. Connections are told before, and what came in between is ended after.
    pub(super) fn end(kernel: &mut Kernel, address: Prefixed, interface: &str) -> Result<bool, kernel::Error> {
        let told = sessions::reset(address.ip, sessions::AT_ONCE_MAX);
        let removed = kernel.remove(address, interface)?;
        if let Err(error) = told.and_then(|_| sessions::reset(address.ip, usize::MAX)) {
            tracing::debug!(%address, %error, "connections of the address end by their own time limits");
        }
        Ok(removed)
    }

    /// When something is due next.
    pub(super) fn due(&self) -> Option<Moment> {
        self.refresh_at.into_iter().chain(self.burst_at()).min()
    }

    fn burst_at(&self) -> Option<Moment> {
        announce::BURSTS_AT.get(self.bursts_sent).map(|after| self.since.after(*after))
    }

    /// Lifetimes are whole seconds, so that up to one of what is left of the lease is given away. It is made up for by
    /// setting the lifetime again when a little more than a whole number of seconds is left.
    fn put(
        &mut self,
        kernel: &mut Kernel,
        address: Prefixed,
        interface: &str,
        now: Moment,
    ) -> Result<Interface, kernel::Error> {
        let left = self.term.expiry.since(now).saturating_sub(KERNEL_LATENESS);
        let whole = Duration::from_secs(left.as_secs());
        self.refresh_at =
            Some(now.after(left.saturating_sub(whole + MARGIN))).filter(|at| *at > now && !whole.is_zero());
        // What the kernel has been told before ends before an earlier lease, so that it may stay if it is more.
        if now.after(whole) <= self.kernel_until {
            return kernel.interface(interface);
        }
        let link = kernel.put(address, interface, left)?;
        self.kernel_until = now.after(whole);
        Ok(link)
    }

    fn announce(&mut self, address: Prefixed, link: &Interface, now: Moment) {
        let mut due = false;
        while self.burst_at().is_some_and(|at| at <= now) {
            self.bursts_sent += 1;
            due = true;
        }
        if due && let Err(error) = announce::burst(address.ip, link) {
            tracing::warn!(%address, %error, "neighbours were not told where the address is");
        }
    }
}
