//! PostgreSQL's programs, and the server's process.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use mainstay_cluster::guard::{self, Ending, boot_time};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::Settings;
use super::files::Files;
use crate::Error;

/// For what only looks.
pub(super) const SHORT: Duration = Duration::from_secs(10);
/// For what copies or rewinds.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// A server that was told to stop at once and has not is killed.
pub(super) const AT_ONCE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(10);
/// Bytes of what a program said that an error tells, at most.
const SAID_MAX: usize = 600;

/// A program of PostgreSQL's, as the server's user.
pub(super) fn command(settings: &Settings, program: &str) -> Command {
    let mut command = Command::new(settings.bin_dir.join(program));
    if let Some(user) = settings.user {
        command.uid(user.uid).gid(user.gid);
    }
    // What the environment says of other servers is not for these programs; messages are read in English.
    command.env_clear().env("LC_ALL", "C").env("PGPASSFILE", Files(settings).passfile());
    command.env("PGOPTIONS", "-c statement_timeout=0").current_dir("/").stdin(Stdio::null());
    command
}

/// What a program said.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// On its standard output.
    pub(super) output: String,
    /// On its standard error.
    pub(super) errors: String,
    succeeded: bool,
}

/// Runs a program to its end and answers what it printed.
pub(super) async fn run(
    settings: &Settings,
    program: &str,
    arguments: &[&str],
    limit: Duration,
) -> Result<String, Error> {
    let said = attempt(settings, program, arguments, limit).await?;
    if said.succeeded { Ok(said.output) } else { Err(failed(program, &said)) }
}

/// As [`run`], and answers what it said if it failed.
pub(super) async fn attempt(
    settings: &Settings,
    program: &str,
    arguments: &[&str],
    limit: Duration,
) -> Result<Said, Error> {
    let said = || format!("cannot run {}", settings.bin_dir.join(program).display());
    let mut command = command(settings, program);
    // In a group of its own: some start others, which would go on writing if this was dropped and only the first one killed.
    let child =
        command.args(arguments).kill_on_drop(true).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().map_err(Error::system(said()))?;
    let group = Group(child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)));
    let late = |_elapsed| Error::Late { what: program.to_owned(), limit };
    let (output, errors) = (read(child.stdout.take()), read(child.stderr.take()));
    let ended = async {
        let status = child.wait().await;
        // One that was killed may have left others, which would keep what it wrote to open, and go on for as long as they like.
        drop(group);
        status
    };
    let all = async { tokio::join!(ended, output, errors) };
    let (status, output, errors) = tokio::time::timeout(limit, all).await.map_err(late)?;
    let succeeded = status.map_err(Error::system(said()))?.success();
    Ok(Said { output, errors, succeeded })
}

/// All that comes of a pipe.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What cannot be read was not said.
        let _read = pipe.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Said {
    pub(super) fn succeeded(&self) -> bool {
        self.succeeded
    }
}

/// The end of what a program said that failed.
pub(super) fn failed(program: &str, said: &Said) -> Error {
    let text = &said.errors;
    let from = text.char_indices().rev().nth(SAID_MAX).map_or(0, |(at, _)| at);
    let end = text.get(from..).unwrap_or_default();
    // Half a line says nothing, if there are others.
    let lines = if from > 0 { end.split_once('\n').map_or(end, |(_half, lines)| lines) } else { end };
    let said = lines.trim().replace('\n', "; ");
    Error::Program { program: program.to_owned(), said }
}

/// Kills what is left of a program's process group when this is dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _nobody_left = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Which processes the server on this data directory has.
pub(super) fn all_of(settings: &Settings) -> guard::Server {
    guard::Server { directory: settings.data_dir.clone(), program: "postgres".to_owned(), asks: true }
}

/// Ends everything that still works on the data directory. Processes that a killed postmaster has left go on with what they do,
/// acknowledging included, until they have to wait for something.
pub(super) async fn end_all(settings: &Settings, grace: Duration) -> Result<(), Error> {
    let kill_at = boot_time().saturating_add(u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX));
    let mut ending = Ending::begin(all_of(settings), kill_at);
    let wait = async {
        while !ending.step(boot_time()) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let late = |_elapsed| Error::Late { what: "the end of the server's processes".to_owned(), limit: SHORT };
    tokio::time::timeout(SHORT, wait).await.map_err(late)
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
        let pid = listed(&text)?;
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
            None => guard::is_alive(self.pid),
        }
    }

    fn signal(&self, signal: Signal) {
        // One that has ended needs none.
        let _ended = kill_process(self.pid, signal);
    }

    /// Stops it in order within a limit; `false`: it has not by then.
    pub(super) async fn stop_fast(&mut self, limit: Duration) -> bool {
        self.signal(Signal::INT);
        self.ends_within(limit).await
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

/// The process that `postmaster.pid` tells of. What works on the data alone (`initdb`, a recovery before a rewind) writes its
/// number there with a minus sign: it is no server, and may have been killed.
fn listed(text: &str) -> Option<Pid> {
    let number: u32 = text.lines().next()?.trim().parse().ok()?;
    Pid::from_raw(i32::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_on_the_data_alone_is_no_server() {
        assert_eq!(listed("42\n/data\n").map(|pid| pid.as_raw_nonzero().get()), Some(42));
        for text in ["-42\n/data\n", "", "\n", "0\n", "4294967295\n", "x"] {
            assert_eq!(listed(text), None, "{text:?}");
        }
    }
}
