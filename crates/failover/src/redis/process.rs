//! The server's process.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mainstay_cluster::guard;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Command;

use super::files::Files;
use super::{PROGRAM, Settings};
use crate::Error;

/// For what the system does at once.
const SHORT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// A process, whether this one started it or found it.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// To be waited for at its end, if it is ours.
    child: Option<tokio::process::Child>,
}

pub(super) fn command(settings: &Settings, config: &Path) -> Command {
    let mut command = Command::new(settings.bin_dir.join(PROGRAM));
    if let Some(user) = settings.user {
        command.uid(user.uid).gid(user.gid);
    }
    // A process group of its own, so that what a terminal sends this process does not reach it.
    command.env_clear().env("LC_ALL", "C").current_dir("/").stdin(Stdio::null()).process_group(0).arg(config);
    command
}

/// Whether a process of that number is a server on this data.
fn serves(pid: u32, data: &Path) -> bool {
    let is_one = fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == PROGRAM);
    is_one && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|directory| directory == data)
}

/// A server on this data that nobody has told us of. What writes a snapshot for another one is none.
fn anothers(data: &Path) -> Option<u32> {
    let number = |entry: std::io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let mut found = fs::read_dir("/proc").ok()?.filter_map(number).filter(|pid| serves(*pid, data));
    found.find(|pid| !parent(*pid).is_some_and(|parent| serves(parent, data)))
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have blanks and brackets in it; what follows has none.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

impl Process {
    pub(super) fn start(settings: &Settings) -> Result<Self, Error> {
        let log = Files(settings).log();
        let said = || format!("cannot open {}", log.display());
        crate::log::bound(&log);
        let log_file = File::options().create(true).append(true).open(&log).map_err(Error::system(said()))?;
        let errors = log_file.try_clone().map_err(Error::system(said()))?;
        let mut command = command(settings, &Files(settings).config());
        let child = command.stdout(log_file).stderr(errors).spawn();
        let child =
            child.map_err(Error::system(format!("cannot start {}", settings.bin_dir.join(PROGRAM).display())))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid =
            pid.ok_or_else(|| Error::system("redis-server ended at once")(std::io::ErrorKind::NotFound.into()))?;
        // Written by Redis too, but only once it has read its data.
        Files(settings).write("redis.pid", format!("{}\n", pid.as_raw_nonzero()).as_bytes())?;
        Ok(Self { pid, child: Some(child) })
    }

    /// One that runs already on this data: ours, or one that somebody else has started.
    pub(super) fn find(settings: &Settings) -> Option<Self> {
        let data = fs::canonicalize(&settings.data_dir).ok()?;
        let known = Files(settings).known_pid();
        // The file outlives a crash, and its number may be another process's by now.
        let pid = known.filter(|pid| serves(*pid, &data)).or_else(|| anothers(&data))?;
        Some(Self { pid: Pid::from_raw(i32::try_from(pid).ok()?)?, child: None })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it was started by this process.
    pub(super) const fn is_ours(&self) -> bool {
        self.child.is_some()
    }

    pub(super) fn runs(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => guard::is_alive(self.pid),
        }
    }

    /// Ends it, whatever it does, with the processes that write its snapshots: one of those would put its file in the place of
    /// a later one. A frozen one too.
    pub(super) async fn kill(&mut self) {
        // One that has ended needs no signal.
        let _ended = kill_process_group(self.pid, Signal::KILL);
        let _ended = kill_process(self.pid, Signal::KILL);
        self.ends_within(SHORT).await;
    }

    pub(super) async fn ends_within(&mut self, limit: Duration) -> bool {
        let wait = async {
            while self.runs() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }
}
