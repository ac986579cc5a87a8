//! The guard: a small process beside the node's own that ends what the node may not do any more when the node cannot.
//!
//! A node whose process is killed would leave its floating addresses behind until the kernel ends their lifetime, and a primary
//! of a database group running; its lease would stand until it expires. The guard sees the death at once: it removes the
//! addresses, ends the servers with all their processes, and only then does what the node left as its **will**, which is to
//! ask another node to revoke the lease. A node that is frozen (SIGSTOP, a stuck disk, a paused virtual machine's process)
//! passes the deadlines that it told the guard last: the addresses go, the servers are ended, and where holding a lease means
//! listening, the frozen process is killed, because the kernel would go on accepting connections in its name.
//!
//! The node writes its orders to the guard's standard input, a line of JSON each; a line replaces all that were before it.
//! The end of the input is the node's death. The guard holds nothing else, waits for nothing else, and ends with its node.
//! There is one guard for a node: everybody who needs it has a [`Part`] of the orders, and the [`Keeper`] puts them together.

mod claim;
mod keeper;
mod post;
mod process;
mod server;
mod table;

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::address::Prefixed;

pub use keeper::{Keeper, Part, Settings, Unguarded};
pub use process::serve;
pub use server::{Ending, Server};
pub use table::is_alive;

/// Addresses that a guard looks after, at most.
pub const ADDRESSES_MAX: usize = 256;
/// Servers that a guard looks after, at most.
pub const SERVERS_MAX: usize = 32;
/// What a guard says when it can be relied on.
const READY: &[u8] = b"ready\n";
const START_NANOS_MAX: u64 = 5_000_000_000;
/// Bytes of one line of orders, at most.
pub const LINE_BYTES_MAX: usize = 60 << 10;

/// What the guard has to know, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The addresses that the node holds.
    #[serde(default)]
    pub addresses: Vec<Order>,
    /// The servers that run only for as long as the node's lease does.
    #[serde(default)]
    pub servers: Vec<Custody>,
    /// When the node is killed unless it says otherwise before, in nanoseconds of CLOCK_BOOTTIME.
    #[serde(default)]
    pub kill_at: Option<u64>,
    /// What is done after the node's death, once the addresses are gone and the servers have ended. The guard does not look into it.
    #[serde(default)]
    pub will: Option<Value>,
}

impl Orders {
    fn are_few(&self) -> bool {
        self.addresses.len() <= ADDRESSES_MAX && self.servers.len() <= SERVERS_MAX
    }
}

/// One address, and how long it may stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The address.
    pub address: Prefixed,
    /// The interface that it is on.
    pub interface: String,
    /// When it is removed unless the node says otherwise before, in nanoseconds of CLOCK_BOOTTIME.
    pub until: u64,
}

/// One server, and how long it may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Custody {
    /// Which processes it has.
    pub server: Server,
    /// When it is told to stop unless the node says otherwise before, in nanoseconds of CLOCK_BOOTTIME.
    pub stop_at: u64,
    /// When every process of it that is left is killed, on the same clock.
    pub kill_at: u64,
    /// What becomes of it when the node dies.
    #[serde(default)]
    pub at_death: AtDeath,
    /// Where the guard writes that the server is in its custody, so that an earlier one leaves it alone.
    #[serde(default)]
    pub claim: Option<PathBuf>,
}

/// What becomes of a server whose node dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtDeath {
    /// It is ended at once, and the lease after it, so that another node need not wait for the deadline.
    #[default]
    Stop,
    /// It runs until its deadline. Another process of the node may take it over until then.
    Keep,
}

/// The present time of CLOCK_BOOTTIME, which goes on while the machine is suspended, in nanoseconds. All processes of a
/// machine see the same one.
pub fn boot_time() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Waits for the guard's only words.
fn wait_until_ready(mut answers: ChildStdout) -> io::Result<()> {
    let end = boot_time().saturating_add(START_NANOS_MAX);
    let mut said = Vec::new();
    while said != READY {
        let left = end.saturating_sub(boot_time());
        let left = Timespec { tv_sec: 0, tv_nsec: left.min(100_000_000).try_into().unwrap_or_default() };
        match poll(&mut [PollFd::new(&answers, PollFlags::IN)], Some(&left)) {
            Ok(0) if boot_time() >= end => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) | Err(Errno::INTR) => continue,
            outcome => outcome?,
        };
        let mut buffer = [0; 1];
        match answers.read(&mut buffer)? {
            0 => return Err(io::Error::other("the guard ended at once")),
            // A line of something else is passed over.
            _ if buffer == *b"\n" && said != READY[..READY.len() - 1] => said.clear(),
            _ => said.extend(buffer),
        }
    }
    Ok(())
}

/// A running guard, seen from its node. Dropping this is the node's death to it: it removes what it was told last.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    orders: ChildStdin,
}

impl Guard {
    /// Starts a guard: `program` with `arguments` and then this process's id, which calls [`serve`]. Waits until it can be
    /// relied on, which takes some hundredths of a second.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::TimedOut`] if the guard does not come up within five seconds.
    pub fn start(program: &Path, arguments: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .arg(std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in a terminal is for the node, which tells the guard what follows from it.
            .process_group(0)
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (orders, answers) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        let ready = wait_until_ready(answers);
        // A guard that does not read any more must not hold up the node.
        let ready = ready.and_then(|()| Ok(rustix::io::ioctl_fionbio(&orders, true)?));
        let guard = Self { child, orders };
        match ready {
            Ok(()) => Ok(guard),
            Err(error) => {
                guard.kill();
                Err(error)
            }
        }
    }

    /// Gives orders, in place of all before.
    ///
    /// # Errors
    /// If the guard has ended, does not read, or the orders are more than it takes. It cannot be relied on any more then:
    /// start another one.
    pub fn tell(&mut self, orders: &Orders) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(io::Error::other(format!("the guard has ended: {status}")));
        }
        let mut line = serde_json::to_vec(orders)?;
        line.push(b'\n');
        if line.len() > LINE_BYTES_MAX || !orders.are_few() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more orders than a guard takes"));
        }
        // Half a line only happens if the pipe is nearly full, which holds a hundred lines that nobody has read.
        match self.orders.write(&line)? {
            written if written == line.len() => Ok(()),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The guard's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends a guard that is not relied on any more, without its doing anything.
    pub fn kill(mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}
