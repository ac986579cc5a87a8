//! Processes that end with the bench, whatever ends it.

use crate::measure;
use anyhow::{Context as _, Result, bail};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

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

    /// Waits until all addresses take connections.
    pub(crate) fn wait_for(&mut self, addresses: &[SocketAddr], log: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        for address in addresses {
            while TcpStream::connect_timeout(address, Duration::from_secs(1)).is_err() {
                if let Some(status) = self.child.try_wait()? {
                    bail!("{} ended with {status}; see {log}", self.name);
                }
                if Instant::now() > deadline {
                    bail!("{} does not listen on {address} after ten seconds; see {log}", self.name);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
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
