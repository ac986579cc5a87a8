//! A server's processes, and their end.

use std::path::PathBuf;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::table;

/// Nothing of a server must have been seen for so long before it counts as ended: a process that was being started shows
/// itself by then.
const QUIET_NANOS: u64 = 30_000_000;

/// Which processes a server has: those of a program that work in a directory. They can be told before there is one, those that
/// a dead parent has left are found, and a number that has become another process's means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The directory that its processes work in, which for a database is where its data is.
    pub directory: PathBuf,
    /// The name of the file that they execute, without its directory.
    pub program: String,
    /// It ends at once, without finishing anything, when its first process gets SIGQUIT. Otherwise it is killed without being
    /// asked.
    pub asks: bool,
}

impl Server {
    /// Whether a process of it runs.
    pub fn runs(&self) -> bool {
        !table::find(&self.program, &self.directory).is_empty()
    }
}

/// The end of a server: it is asked, and killed with everything that it has started if it does not end in time.
///
/// A busy process of a server does not notice that its parent is dead, and would go on answering. That is why the parent is
/// not killed alone: it is made to stand still, so that it starts nothing more, then its children are killed, then it.
#[derive(Debug)]
pub struct Ending {
    server: Server,
    kill_at: u64,
    quiet_since: Option<u64>,
}

impl Ending {
    /// Begins. Whatever is left at `kill_at` is killed; times are nanoseconds of CLOCK_BOOTTIME.
    pub fn begin(server: Server, kill_at: u64) -> Self {
        let kill_at = if server.asks { kill_at } else { 0 };
        if server.asks {
            let found = table::find(&server.program, &server.directory);
            table::roots(&found).for_each(|root| root.signal(Signal::QUIT));
        }
        Self { server, kill_at, quiet_since: None }
    }

    /// Which server it is.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Does what is due, and answers whether nothing of the server runs any more. To be called every ten milliseconds or so.
    /// It never blocks, and goes on for as long as a process hangs in the kernel.
    pub fn step(&mut self, now: u64) -> bool {
        let find = || table::find(&self.server.program, &self.server.directory);
        let mut found = find();
        if found.is_empty() {
            let since = *self.quiet_since.get_or_insert(now);
            return now.saturating_sub(since) >= QUIET_NANOS;
        }
        self.quiet_since = None;
        if now < self.kill_at {
            return false;
        }
        table::roots(&found).for_each(|root| root.signal(Signal::STOP));
        // What they started before they stood still.
        found = find();
        table::kill_group_of(&found);
        let is_root = |pid| table::roots(&found).any(|root| std::ptr::eq(root, pid));
        found.iter().filter(|one| !is_root(*one)).for_each(table::Found::kill);
        table::roots(&found).for_each(table::Found::kill);
        false
    }
}
