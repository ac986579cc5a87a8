//! The processes of the demo: started, signalled and ended by their id, and never left behind.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use crate::failure::Failure;

/// How the gateway of the demo is started.
#[derive(Clone, Debug, clap::Args)]
pub struct GatewayArgs {
    /// The configuration file.
    #[arg(short, long)]
    config: PathBuf,
    /// The process to end with.
    #[arg(long)]
    parent: u32,
}

/// Becomes `mainstay run -c FILE`, bound to end with the demo. The kernel keeps that bond over the change.
pub fn gateway(args: &GatewayArgs) -> Failure {
    if let Err(failure) = end_with(args.parent) {
        return failure;
    }
    let error = match own_executable() {
        Ok(program) => {
            let mut command = Command::new(program);
            command.arg("run").arg("-c").arg(&args.config).args(["--log-format", "text"]).exec()
        }
        Err(failure) => return failure,
    };
    Failure::new(format!("cannot start the gateway: {error}"))
}

/// Has the kernel kill this process when the thread that started it ends, however that comes about.
pub(crate) fn end_with(parent: u32) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::new(format!("cannot bind the life of this process to the demo's: {error}")))?;
    // The parent may have ended before the line above.
    let alive = getppid().is_some_and(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok() == Some(parent));
    if alive { Ok(()) } else { Err(Failure::new("the demo that started this process has ended")) }
}

/// The executable that runs now.
fn own_executable() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::new(format!("cannot find this program's own file: {error}")))
}

/// A process of the demo. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    args: Vec<String>,
    log: PathBuf,
    process: Option<std::process::Child>,
}

impl Child {
    /// Starts this executable with other arguments; what it prints is appended to a file.
    pub(crate) fn start(name: &str, args: Vec<String>, log: PathBuf) -> Result<Self, Failure> {
        let mut child = Self { name: name.to_owned(), args, log, process: None };
        child.start_again()?;
        Ok(child)
    }

    /// Starts it again in the same way. Kills the one that runs, if one does.
    pub(crate) fn start_again(&mut self) -> Result<(), Failure> {
        self.kill();
        let cannot = |what: &str, error: std::io::Error| Failure::new(format!("cannot {what} {}: {error}", self.name));
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| cannot("open the log of", error))?;
        let second = log.try_clone().map_err(|error| cannot("open the log of", error))?;
        // A process group of its own: Ctrl-C in the terminal is for the demo, which ends its children itself.
        let spawned = Command::new(own_executable()?)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second)
            .process_group(0)
            .spawn();
        self.process = Some(spawned.map_err(|error| cannot("start", error))?);
        Ok(())
    }

    /// Sends a signal, if the process runs.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process
            && let Ok(pid) = i32::try_from(process.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            // The one possible failure is that it has just ended, which `exited` will tell.
            let _ended = kill_process(pid, signal);
        }
    }

    /// Kills it at once (SIGKILL ends stopped processes as well) and clears it away.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ended = process.kill();
            let _status = process.wait();
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|process| process.try_wait().ok().flatten())
    }

    /// Whether it runs no more, or was killed.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.process.is_none() || self.exited().is_some()
    }

    /// That it ended, with the last lines it printed.
    pub(crate) fn ended_early(&self, status: ExitStatus) -> Failure {
        let lines = last_lines(&self.log, 8);
        let printed = if lines.is_empty() { "it printed nothing".to_owned() } else { format!("it printed:\n{lines}") };
        Failure::new(format!("{} ended early ({status}); {printed}", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a file, each indented; nothing if it cannot be read.
fn last_lines(path: &Path, count: usize) -> String {
    const TAIL: u64 = 8 << 10;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(count);
    lines.iter().skip(from).map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log() {
        let path = std::env::temp_dir().join(format!("mainstay-demo-test-{}.log", std::process::id()));
        std::fs::write(&path, "one\n\ntwo\nthree\n").unwrap();
        assert_eq!(last_lines(&path, 2), "    two\n    three");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(last_lines(&path, 2), "");
    }
}
