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

    /// One that runs already on this configuration.
    pub(super) fn find(settings: &Settings) -> Option<Self> {
        let text = fs::read_to_string(Files(settings).pid()).ok()?;
        let pid = Pid::from_raw(i32::try_from(text.trim().parse::<u32>().ok()?).ok()?)?;
        // The file outlives a crash, and its number may be another process's by now.
        let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok()?;
        let directory = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).ok()?;
        let is_here = fs::canonicalize(&settings.data_dir).is_ok_and(|data| data == directory);
        (name.trim() == PROGRAM && is_here).then_some(Self { pid, child: None })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
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
