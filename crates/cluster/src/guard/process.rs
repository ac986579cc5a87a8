//! The guard's own process.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mainstay_runtime::signal::Signals;
use mainstay_runtime::thread::run_here;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use serde_json::Value;

use super::{AtDeath, Custody, Ending, LINE_BYTES_MAX, Order, Orders, READY, Server, boot_time, claim};
use crate::address::kernel::{self, Kernel};
use crate::address::sessions;

/// Removals that failed are tried again after this time, and servers that are being ended are looked at.
const AGAIN: Duration = Duration::from_millis(20);
/// How often in a row, at most. After that the kernel's own end of the lifetime is what is left.
const ATTEMPTS_MAX: u32 = 500;
/// How long a server of a dead node has to stop by itself, if its deadline is not nearer.
const STOP_NANOS: u64 = 200_000_000;
/// Reads of what the node has written, before anything else is looked at. The pipe holds fewer.
const READS_MAX: usize = 64;

/// Looks after the addresses and servers of the process `parent`, which must be this one's parent and writes to its standard input,
/// until that ends. `execute` gets the parent's will.
///
/// # Errors
/// If the system refuses what a guard needs. While addresses are looked after, nothing makes it fail.
pub fn serve(parent: u32, execute: impl FnOnce(Value)) -> io::Result<()> {
    ignore_signals()?;
    let parent = parent_of_mine(parent)?;
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let mut guard = Post { orders: Orders::default(), endings: Vec::new(), parent, timer, attempts: 0 };
    let mut input = Input::default();
    // From here on the node may rely on this process.
    io::stdout().write_all(READY)?;
    io::stdout().flush()?;
    while guard.wait(&mut input)? {
        if let Some(orders) = input.orders() {
            guard.obey(orders);
        }
        guard.enforce(boot_time());
    }
    // What others would do once the lease has ended must not meet what it allowed.
    let everything_ended = guard.parent_is_dead();
    match guard.orders.will.take() {
        Some(will) if everything_ended => execute(will),
        Some(_will) => tracing::error!("something of the dead node still runs; its lease is left to expire by itself"),
        None => {}
    }
    Ok(())
}

/// A service manager that stops the node sends SIGTERM to the guard, too. The guard has to outlive its node, which tells
/// it by closing the pipe.
fn ignore_signals() -> io::Result<()> {
    run_here(async { Signals::catch().map(drop) })?
}

/// A descriptor of the parent, which cannot come to mean another process; none if the parent has ended before this process
/// came so far. Its orders are in the pipe all the same.
fn parent_of_mine(parent: u32) -> io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(parent).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        descriptor => descriptor?,
    };
    // If its id has been given to another process since, this one has another parent by now.
    Ok((getppid() == Some(pid)).then_some(descriptor))
}

/// What the guard holds.
#[derive(Debug)]
struct Post {
    orders: Orders,
    /// Servers that are being ended, until nothing of them is left, whatever is ordered meanwhile.
    endings: Vec<Ending>,
    parent: Option<OwnedFd>,
    timer: OwnedFd,
    attempts: u32,
}

impl Post {
    /// Waits for orders, a deadline or the parent's death; `false` after that.
    fn wait(&self, input: &mut Input) -> io::Result<bool> {
        self.set_timer()?;
        let stdin = io::stdin();
        let parent = self.parent.as_ref().map(AsFd::as_fd);
        let mut sources: Vec<PollFd<'_>> = [stdin.as_fd(), self.timer.as_fd()]
            .into_iter()
            .chain(parent)
            .map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN))
            .collect();
        match poll(&mut sources, None) {
            // A signal, of those that are ignored.
            Err(Errno::INTR) => return Ok(true),
            outcome => outcome?,
        };
        let came = |index: usize| sources.get(index).is_some_and(|source| !source.revents().is_empty());
        // Its last orders count, so that the pipe is emptied before its death is believed.
        if came(0) { input.read_all() } else { Ok(!came(2)) }
    }

    fn set_timer(&self) -> io::Result<()> {
        let again = || boot_time().saturating_add(u64::try_from(AGAIN.as_nanos()).unwrap_or(u64::MAX));
        let removal =
            self.orders.addresses.iter().map(|order| order.until).min().and_then(|first| match self.attempts {
                0 => Some(first),
                _ if self.attempts > ATTEMPTS_MAX => None,
                _ => Some(again()),
            });
        let stops = self.orders.servers.iter().map(|custody| custody.stop_at);
        let ending = (!self.endings.is_empty()).then(again);
        let next = stops.chain(removal).chain(ending).chain(self.orders.kill_at).min();
        // 0 would switch the timer off.
        let nanos = next.map_or(0, |first| first.max(1));
        let at = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or_default() as _,
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    /// Does what is due.
    fn enforce(&mut self, now: u64) {
        if self.orders.kill_at.is_some_and(|at| at <= now) {
            tracing::error!(
                "the node did not say in time that it holds its lease; it is killed, since it would go on accepting"
            );
            let _dead_already = self.parent.as_ref().map(|parent| pidfd_send_signal(parent, Signal::KILL));
            self.orders.kill_at = None;
        }
        let (due, rest): (Vec<_>, Vec<_>) = self.orders.addresses.drain(..).partition(|order| order.until <= now);
        self.orders.addresses = rest;
        if !due.is_empty() {
            let left = remove(due);
            self.attempts = if left.is_empty() { 0 } else { self.attempts.saturating_add(1) };
            self.orders.addresses.extend(left);
        }
        self.end_servers(now);
    }

    /// Takes orders in place of those before. What has become its own to look after is claimed, so that the guard of a process
    /// that this node had before leaves it alone.
    fn obey(&mut self, orders: Orders) {
        let is_new = |custody: &&Custody| !self.orders.servers.iter().any(|had| had.claim == custody.claim);
        for custody in orders.servers.iter().filter(is_new) {
            if let Some(path) = &custody.claim
                && let Err(error) = claim::take(path)
            {
                tracing::warn!(%error, path = %path.display(), "the guard cannot write that a server is in its custody");
            }
        }
        self.attempts = 0;
        self.orders = orders;
    }

    /// Ends servers whose time is over, and goes on with those that it has begun with.
    fn end_servers(&mut self, now: u64) {
        let (due, rest): (Vec<_>, Vec<_>) = self.orders.servers.drain(..).partition(|custody| custody.stop_at <= now);
        self.orders.servers = rest;
        // Whoever has taken over one that was to be kept ends it when its time is over.
        let is_taken =
            |it: &Custody| it.at_death == AtDeath::Keep && it.claim.as_deref().is_some_and(claim::is_anothers);
        for custody in due.into_iter().filter(|custody| !is_taken(custody)) {
            self.end(custody.server, custody.kill_at);
        }
        self.endings.retain_mut(|ending| {
            let is_over = ending.step(now);
            if is_over {
                let Server { directory, program, .. } = ending.server();
                tracing::warn!(directory = %directory.display(), program, "nothing of the server runs any more");
            }
            !is_over
        });
    }

    fn end(&mut self, server: Server, kill_at: u64) {
        if self.endings.iter().any(|ending| *ending.server() == server) {
            return;
        }
        tracing::error!(
            directory = %server.directory.display(), program = server.program,
            "the node did not say in time that the server may run; the guard ends it"
        );
        self.endings.push(Ending::begin(server, kill_at));
    }

    /// Ends what the node left, and answers whether all of that has ended.
    fn parent_is_dead(&mut self) -> bool {
        let mut left = remove(std::mem::take(&mut self.orders.addresses));
        let now = boot_time();
        let (kept, ended): (Vec<_>, Vec<_>) =
            self.orders.servers.drain(..).partition(|custody| custody.at_death == AtDeath::Keep);
        self.orders.servers = kept;
        for custody in ended {
            self.end(custody.server, custody.kill_at.min(now.saturating_add(STOP_NANOS)));
        }
        let mut attempts = 0;
        loop {
            // Whoever has taken a server over ends it when its time is over.
            self.orders.servers.retain(|custody| !custody.claim.as_deref().is_some_and(claim::is_anothers));
            self.end_servers(boot_time());
            if left.is_empty() && self.endings.is_empty() && self.orders.servers.is_empty() {
                return true;
            }
            // Servers that are kept have a deadline; what is tried again has a limit.
            let waits_only = left.is_empty() && self.endings.is_empty();
            attempts += u32::from(!waits_only);
            if attempts > ATTEMPTS_MAX {
                return false;
            }
            std::thread::sleep(AGAIN);
            left = if left.is_empty() { left } else { remove(left) };
        }
    }
}

/// Removes addresses and answers those that could not be removed.
fn remove(orders: Vec<Order>) -> Vec<Order> {
    let mut kernel = match Kernel::open() {
        Ok(kernel) => kernel,
        Err(error) => {
            tracing::warn!(%error, "the guard cannot reach the kernel's tables");
            return orders;
        }
    };
    let outcomes: Vec<_> = orders
        .into_iter()
        .map(|order| {
            // Before the address is gone, so that clients still hear of it.
            let _best_effort = sessions::reset(order.address.ip, sessions::AT_ONCE_MAX);
            let outcome = kernel.remove(order.address, &order.interface);
            (order, outcome)
        })
        .collect();
    // Told at the end: where the log goes may be as stuck as the node.
    outcomes.into_iter().filter_map(|(order, outcome)| told(order, &outcome)).collect()
}

/// Logs what became of an address; the order if it is still to be done.
fn told(order: Order, outcome: &Result<bool, kernel::Error>) -> Option<Order> {
    let Order { address, interface, .. } = &order;
    match outcome {
        Ok(true) => tracing::warn!(%address, interface, "the guard removed the address"),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(%address, interface, %error, "the guard cannot remove the address");
            return Some(order);
        }
    }
    None
}

/// The bytes that came and were not taken yet.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
}

impl Input {
    /// Reads everything that is there, so that no deadline is acted on that has been moved on since; `false` at the end. Must
    /// only be called if there is something.
    fn read_all(&mut self) -> io::Result<bool> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        for count in 0..READS_MAX {
            if !self.read()? {
                // What came before the end counts, and the end is found again.
                return Ok(count > 0);
            }
            let stdin = io::stdin();
            match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&at_once)) {
                Ok(0) | Err(_) => break,
                Ok(_more) => {}
            }
        }
        Ok(true)
    }

    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.bytes.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(true),
            // A pipe that cannot be read brings no orders any more, which is what its end means.
            Err(_broken) => Ok(false),
        }
    }

    /// The last complete orders, which replace those before.
    fn orders(&mut self) -> Option<Orders> {
        let Some(end) = self.bytes.iter().rposition(|byte| *byte == b'\n') else {
            // No line is so long: skip to the next one.
            if self.bytes.len() > LINE_BYTES_MAX {
                self.bytes.clear();
            }
            return None;
        };
        let complete: Vec<u8> = self.bytes.drain(..=end).collect();
        let last = complete[..end].rsplit(|byte| *byte == b'\n').find(|line| !line.is_empty())?;
        match serde_json::from_slice::<Orders>(last) {
            Ok(orders) if orders.are_few() => Some(orders),
            // What was ordered before stands, with its deadlines.
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, "the guard does not understand its node");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_counts() {
        let mut input = Input::default();
        let mut feed = |text: &str| {
            input.bytes.extend_from_slice(text.as_bytes());
            input.orders().map(|orders| orders.kill_at)
        };
        assert_eq!(feed("{\"kill_at\":1}\n{\"kill_at\":2}\n{\"kill"), Some(Some(2)));
        assert_eq!(feed("_at\":3"), None);
        assert_eq!(feed("}\n"), Some(Some(3)));
        assert_eq!(feed("{}\n\n"), Some(None));
        assert_eq!(feed("nonsense\n"), None);
        assert_eq!(feed(&"x".repeat(LINE_BYTES_MAX + 1)), None);
        assert_eq!(feed("{}\n"), Some(None));
    }
}
