//! The kernel's own end of a primary: a rule of nftables that lets the server's port be used only for as long as the lease lasts.
//!
//! The rule drops what comes to the port and what leaves it, unless the port is an element of a set; the element has a timeout,
//! which each renewal of the node's lease sets anew, in one transaction. If nothing is renewed, whoever is to blame for that, the
//! kernel forgets the element and nothing that the server says reaches anybody. It speaks of one port in a table of its own:
//! nothing else on the machine is touched, and a replica, whose port is for reading, has no such table.
//!
//! Timeouts are relative to when the kernel takes them. They are measured when the `nft` program is started, and shortened by
//! half of the time that is there for stopping; if the program then takes longer than that, the port is closed at once.
//! The kernel does not count them while the machine sleeps; the guard and the agent do, and act when it wakes up.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_cluster::guard::boot_time;
use mainstay_core::lease::Term;
use mainstay_core::random::hash;
use mainstay_runtime::thread::spawn_blocking_thread;
use mainstay_runtime::user;
use tokio::sync::watch;

/// All our tables begin with this.
pub(super) const PREFIX: &str = "mainstay_";
/// The program.
const NFT: &str = "nft";
/// After a failure it is tried again, although nothing was asked for.
const AGAIN: Duration = Duration::from_secs(1);
/// Bytes of what the program said that are told, at most.
const SAID_MAX: usize = 300;

/// How often in a row a timeout that was taken too late is set anew before the port is closed instead.
const ATTEMPTS_MAX: u32 = 3;
/// How long the end of a process waits until the kernel has opened the port.
const OPENED_WITHIN: Duration = Duration::from_secs(2);

/// The port lease of one server. Dropping it leaves the port as it is: what was not released closes in time.
#[derive(Debug)]
pub struct PortLease {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    table: String,
    port: u16,
    state: Mutex<State>,
    wake: Condvar,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    wish: Wish,
    /// What the kernel was told last, with success.
    done: Option<Wish>,
    /// Why the last attempt failed.
    problem: Option<String>,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// What a process before this one has set stays.
    AsItIs,
    /// No table: anybody may use the port.
    Open,
    /// The port may be used until then, in nanoseconds of CLOCK_BOOTTIME, and for no more than `grace` nanoseconds longer.
    Until { until: u64, grace: u64 },
}

impl PortLease {
    /// For the server of `group` that listens on `address`. What a process that was killed has left is removed, unless the server
    /// runs: then it is left for whoever leads to renew.
    ///
    /// # Errors
    /// Why there can be no port lease here: the process is not root, or `nft` cannot do what is needed.
    pub fn open(group: &str, address: SocketAddr, server_runs: bool) -> Result<Self, String> {
        if !user::is_root() {
            return Err("only root may set rules for packets".to_owned());
        }
        let table = table(group, address.port());
        run(&hold(&table, address.port(), 1_000), true)?;
        let wish = if server_runs { Wish::AsItIs } else { Wish::Open };
        if !server_runs {
            run(&remove(&table), false)?;
        }
        let state = State { wish, done: Some(wish), problem: None, closed: false };
        let shared = Arc::new(Shared {
            table,
            port: address.port(),
            state: Mutex::new(state),
            wake: Condvar::new(),
            changed: watch::Sender::new(0),
        });
        let work = Arc::clone(&shared);
        spawn_blocking_thread("port-lease", move || work.work()).map_err(|error| error.to_string())?;
        Ok(Self { shared })
    }

    /// Lets the port be used for this term of the node's lease: to be told before the server leads, and at each renewal.
    /// Answers at once; whether the kernel knows it, [`Self::stands`] says.
    pub fn hold(&self, term: Term) {
        let until = term.deadline.after(term.expiry.since(term.deadline) / 2).as_nanos();
        self.shared.wish(Wish::Until { until, grace: term.expiry.as_nanos().saturating_sub(until) });
    }

    /// Opens the port for good: no primary runs here any more.
    pub fn release(&self) {
        self.shared.wish(Wish::Open);
    }

    /// Whether the kernel has been told of a lease that is not over.
    pub fn stands(&self) -> bool {
        matches!(self.shared.lock().done, Some(Wish::Until { until, .. }) if until > boot_time())
    }

    /// Why the last attempt failed; `None`: it did not.
    pub fn problem(&self) -> Option<String> {
        self.shared.lock().problem.clone()
    }

    /// Tells of each change that the kernel has taken or refused.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.wake.notify_all();
        // Whoever leaves in order leaves no rule behind.
        let waits =
            |state: &mut State| state.wish == Wish::Open && state.done != Some(Wish::Open) && state.problem.is_none();
        drop(self.shared.wake.wait_timeout_while(state, OPENED_WITHIN, waits));
    }
}

impl Shared {
    // What is inside is changed in steps that each leave it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self, wish: Wish) {
        let mut state = self.lock();
        if state.wish != wish {
            state.wish = wish;
            self.wake.notify_all();
        }
    }

    /// The thread that speaks to the kernel, so that a program that takes its time holds up nobody.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            let (wish, closed) = (state.wish, state.closed);
            if state.done == Some(wish) {
                if closed {
                    return;
                }
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            let outcome = self.carry_out(wish);
            state = self.lock();
            let failed = outcome.is_err();
            if let Err(problem) = &outcome
                && state.problem.as_ref() != Some(problem)
            {
                tracing::error!(table = self.table, problem, "database: the port lease cannot be set");
            }
            state.done = outcome.as_ref().ok().map(|()| wish);
            state.problem = outcome.err();
            self.changed.send_modify(|count| *count = count.wrapping_add(1));
            self.wake.notify_all();
            if failed {
                if closed {
                    return;
                }
                state = self.wake.wait_timeout(state, AGAIN).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn carry_out(&self, wish: Wish) -> Result<(), String> {
        let (until, grace) = match wish {
            Wish::AsItIs => return Ok(()),
            Wish::Open => return run(&remove(&self.table), false),
            Wish::Until { until, grace } => (until, grace),
        };
        let mut lateness = 0;
        for _ in 0..ATTEMPTS_MAX {
            let now = boot_time();
            let Some(left) = until.checked_sub(now).map(|nanos| nanos / 1_000_000).filter(|millis| *millis > 0) else {
                run(&shut(&self.table, self.port), false)?;
                return Err("the lease was over before it could be told to the kernel".to_owned());
            };
            run(&hold(&self.table, self.port, left), false)?;
            // The kernel counts from when it took it, which is later by no more than this.
            lateness = boot_time().saturating_sub(now);
            if lateness <= grace {
                return Ok(());
            }
        }
        run(&shut(&self.table, self.port), false)?;
        Err(format!("`{NFT}` took {} ms, more than the lease leaves; the port was closed", lateness / 1_000_000))
    }
}

/// The name of the table: letters, digits and underlines. Several nodes on one machine have different ports.
pub(super) fn table(group: &str, port: u16) -> String {
    let plain: String = group.chars().take(40).filter(|letter| letter.is_ascii_alphanumeric()).collect();
    if plain == group {
        return format!("{PREFIX}{group}_{port}");
    }
    format!("{PREFIX}{plain}_{:08x}_{port}", hash(group.as_bytes()) as u32)
}

/// Removes a table of rules, if there is one.
pub(super) fn remove_table(table: &str) -> Result<(), String> {
    run(&remove(table), false)
}

fn remove(table: &str) -> String {
    // A table that is not there cannot be removed; one that is, is not changed by this.
    format!("add table inet {table}\ndelete table inet {table}\n")
}

/// The rules without the element: the port is closed.
fn shut(table: &str, port: u16) -> String {
    let hook = |name: &str| format!("{{ type filter hook {name} priority -10; policy accept; }}");
    format!(
        "add table inet {table}\nadd set inet {table} lease {{ type inet_service; flags timeout; }}\n\
         add chain inet {table} input {}\nadd chain inet {table} output {}\n\
         flush chain inet {table} input\nflush chain inet {table} output\n\
         add rule inet {table} input tcp dport {port} tcp dport != @lease drop\n\
         add rule inet {table} output tcp sport {port} tcp sport != @lease drop\n\
         flush set inet {table} lease\n",
        hook("input"),
        hook("output"),
    )
}

/// Everything anew in one transaction: if somebody has flushed all rules of the machine, the next renewal puts that right.
fn hold(table: &str, port: u16, millis: u64) -> String {
    format!("{}add element inet {table} lease {{ {port} timeout {millis}ms }}\n", shut(table, port))
}

/// Runs a script, as one transaction. `only_checks`: nothing is changed.
fn run(script: &str, only_checks: bool) -> Result<(), String> {
    let said = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no `{NFT}`; install nftables"),
        _ => format!("cannot run `{NFT}`: {error}"),
    };
    let mut command = Command::new(NFT);
    if only_checks {
        command.arg("-c");
    }
    let mut child = command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .env("LC_ALL", "C")
        .spawn()
        .map_err(said)?;
    let written = child.stdin.take().map(|mut input| input.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(said)?;
    if output.status.success() {
        return written.unwrap_or(Ok(())).map_err(said);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SAID_MAX).collect();
    Err(format!("`{NFT}` failed: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_names_that_the_kernel_takes_and_that_differ() {
        assert_eq!(table("orders", 5432), "mainstay_orders_5432");
        let names = [table("a-b", 1), table("a_b", 1), table("ab", 1), table("a-b", 2), table(&"x".repeat(90), 1)];
        for (index, name) in names.iter().enumerate() {
            assert!(
                name.len() < 100 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                "{name}"
            );
            assert!(!names[index + 1..].contains(name));
        }
    }
}
