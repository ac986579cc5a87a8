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

use super::{ADDRESSES_MAX, LINE_BYTES_MAX, Order, Orders, READY, boot_time};
use crate::address::kernel::{self, Kernel};
use crate::address::sessions;

/// Removals that failed are tried again after this time.
const AGAIN: Duration = Duration::from_millis(20);
/// How often in a row, at most. After that the kernel's own end of the lifetime is what is left.
const ATTEMPTS_MAX: u32 = 500;

/// Looks after the addresses of the process `parent`, which must be this one's parent and writes to its standard input,
/// until that ends. `execute` gets the parent's will.
///
/// # Errors
/// If the system refuses what a guard needs. While addresses are looked after, nothing makes it fail.
pub fn serve(parent: u32, execute: impl FnOnce(Value)) -> io::Result<()> {
    ignore_signals()?;
    let parent = parent_of_mine(parent)?;
    let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let mut guard = Post { orders: Orders::default(), parent, timer, attempts: 0 };
    let mut input = Input::default();
    // From here on the node may rely on this process.
    io::stdout().write_all(READY)?;
    io::stdout().flush()?;
    while guard.wait(&mut input)? {
        if let Some(orders) = input.orders() {
            guard.attempts = 0;
            guard.orders = orders;
        }
        guard.enforce(boot_time());
    }
    guard.parent_is_dead();
    if let Some(will) = guard.orders.will.take() {
        execute(will);
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
        if came(0) { input.read() } else { Ok(!came(2)) }
    }

    fn set_timer(&self) -> io::Result<()> {
        let deadlines = self.orders.addresses.iter().map(|order| order.until).chain(self.orders.kill_at);
        let next = deadlines.min().map(|first| match self.attempts {
            0 => first,
            _ => boot_time().saturating_add(u64::try_from(AGAIN.as_nanos()).unwrap_or(u64::MAX)),
        });
        let nanos = match next {
            _ if self.attempts > ATTEMPTS_MAX => 0,
            // 0 would switch the timer off.
            Some(first) => first.max(1),
            None => 0,
        };
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
        if due.is_empty() {
            return;
        }
        let left = remove(due);
        self.attempts = if left.is_empty() { 0 } else { self.attempts.saturating_add(1) };
        self.orders.addresses.extend(left);
    }

    fn parent_is_dead(&mut self) {
        let mut left = remove(std::mem::take(&mut self.orders.addresses));
        for _ in 0..ATTEMPTS_MAX {
            if left.is_empty() {
                return;
            }
            std::thread::sleep(AGAIN);
            left = remove(left);
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
    /// Reads what is there; `false` at the end. Must only be called if there is something.
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
            Ok(orders) if orders.addresses.len() <= ADDRESSES_MAX => Some(orders),
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
