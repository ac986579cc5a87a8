//! PostgreSQL's programs, and the server's process.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::process::Command;

use super::Settings;
use super::files::Files;
use crate::Error;

/// For what only looks.
pub(super) const SHORT: Duration = Duration::from_secs(10);
/// For what copies or rewinds.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// A server that was told to stop at once and has not is killed.
const AT_ONCE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of what a program said that an error tells, at most.
const SAID_MAX: usize = 600;

fn command(settings: &Settings, program: &str) -> Command {
    let mut command = Command::new(settings.bin_dir.join(program));
    if let Some(user) = settings.user {
        command.uid(user.uid).gid(user.gid);
    }
    // What the environment says of other servers is not for these programs; messages are read in English.
    command.env_clear().env("LC_ALL", "C").env("PGPASSFILE", Files(settings).passfile());
    command.env("PGOPTIONS", "-c statement_timeout=0").current_dir("/").stdin(Stdio::null());
    command
}

/// Runs a program to its end and answers what it printed.
pub(super) async fn run(
    settings: &Settings,
    program: &str,
    arguments: &[&str],
    limit: Duration,
) -> Result<String, Error> {
    let output = command(settings, program).args(arguments).kill_on_drop(true).output();
    let late = |_elapsed| Error::Late { what: program.to_owned(), limit };
    let output = tokio::time::timeout(limit, output).await.map_err(late)?;
    let output = output.map_err(Error::system(format!("cannot run {}", settings.bin_dir.join(program).display())))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let from = said.char_indices().rev().nth(SAID_MAX).map_or(0, |(at, _)| at);
    let said = said.get(from..).unwrap_or_default().trim().replace('\n', "; ");
    Err(Error::Program { program: program.to_owned(), said })
}

/// The server's process, whether this process started it or found it.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    /// To be waited for at its end, if it is ours.
    child: Option<tokio::process::Child>,
}

impl Postmaster {
    /// Starts it in a process group of its own, so that what a terminal sends this process does not reach it.
    pub(super) fn start(settings: &Settings) -> Result<Self, Error> {
        let log = Files(settings).log();
        let said = || format!("cannot open {}", log.display());
        let log_file = File::options().create(true).append(true).open(&log).map_err(Error::system(said()))?;
        let errors = log_file.try_clone().map_err(Error::system(said()))?;
        let mut command = command(settings, "postgres");
        command.arg("-D").arg(&settings.data_dir);
        command.arg("-c").arg(format!("config_file={}", Files(settings).config().display()));
        command.stdout(log_file).stderr(errors).process_group(0).env_remove("PGOPTIONS");
        let child = command.spawn().map_err(Error::system("cannot start postgres"))?;
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| Error::system("postgres ended at once")(std::io::ErrorKind::NotFound.into()))?;
        Ok(Self { pid, child: Some(child) })
    }

    /// One that runs already on this data directory.
    pub(super) fn find(settings: &Settings) -> Option<Self> {
        let text = fs::read_to_string(settings.data_dir.join("postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
        // The file outlives a crash, and its number may be another process's by now.
        let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok()?;
        let directory = fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).ok()?;
        let is_here = fs::canonicalize(&settings.data_dir).is_ok_and(|data| data == directory);
        (name.trim() == "postgres" && is_here).then_some(Self { pid, child: None })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn runs(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => test_kill_process(self.pid).is_ok(),
        }
    }

    fn signal(&self, signal: Signal) {
        // One that has ended needs none.
        let _ended = kill_process(self.pid, signal);
    }

    /// Stops it in order within a limit, or at once after that.
    pub(super) async fn stop_fast(&mut self, limit: Duration) {
        self.signal(Signal::INT);
        if !self.ends_within(limit).await {
            self.stop_at_once().await;
        }
    }

    /// Stops it without asking anybody. A server that is frozen, or hangs on its disk, is killed with all its processes.
    pub(super) async fn stop_at_once(&mut self) {
        self.signal(Signal::QUIT);
        if self.ends_within(AT_ONCE).await {
            return;
        }
        // A frozen one starts no further processes while these are looked up. Each is the leader of a group of its own.
        self.signal(Signal::STOP);
        let path = format!("/proc/{0}/task/{0}/children", self.pid.as_raw_nonzero());
        let children = fs::read_to_string(Path::new(&path)).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        for child in children {
            let _ended = kill_process(child, Signal::KILL);
        }
        self.signal(Signal::KILL);
        self.ends_within(SHORT).await;
    }

    async fn ends_within(&mut self, limit: Duration) -> bool {
        let wait = async {
            while self.runs() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }
}
