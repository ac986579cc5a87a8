//! Processes that end with the bench, whatever ends it.

use crate::measure;
use anyhow::{Context as _, Result, bail};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take until it listens: inside an instrument some take a while.
const START_MAX: Duration = Duration::from_secs(30);

/// A process that was started here and is stopped here.
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a command on one core.
    pub(crate) fn start(name: &str, core: usize, command: &mut Command) -> Result<Process> {
        // SAFETY: between fork and exec only system calls are made, on memory of the child's own stack.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                if core == measure::LOAD_CORE { measure::join_load() } else { measure::pin_to(core) }
            });
        }
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Process { child, name: name.to_owned() })
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until all addresses take connections.
    pub(crate) fn wait_for(&mut self, addresses: &[SocketAddr], log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        for address in addresses {
            while TcpStream::connect_timeout(address, Duration::from_secs(1)).is_err() {
                if let Some(status) = self.child.try_wait()? {
                    let text = std::fs::read_to_string(log).unwrap_or_default();
                    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
                    let last: String = last.chars().take(300).collect();
                    bail!("{} ended with {status}; it said: {last}", self.name);
                }
                if Instant::now() > deadline {
                    bail!("{} does not listen on {address} in time; see {}", self.name, log.display());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

/// Runs a command to its end, for so long at most, and takes what it says. It must not say more than a pipe holds.
pub(crate) fn output(command: &mut Command, most: Duration) -> Result<Output> {
    let program = command.get_program().display().to_string();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let deadline = Instant::now() + most;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("{program} did not end within {} s", most.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(child.wait_with_output()?)
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its children must go too, which a kill would not see to.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // SAFETY: a signal to a child that has not been waited for, so that the id is still its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // It is gone already if this fails.
                drop(self.child.kill());
                drop(self.child.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
