//! The signals by which people and service managers speak to the process.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGTERM: leave.
    Terminate,
    /// SIGINT (Ctrl-C): leave.
    Interrupt,
    /// SIGHUP: load the configuration again, reopen logs.
    HangUp,
    /// SIGUSR2: hand over to a new process.
    Upgrade,
}

impl Signal {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::HangUp => "SIGHUP",
            Self::Upgrade => "SIGUSR2",
        }
    }
}

/// The signals, in order of arrival. From the first one of these on, they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    upgrade: tokio::signal::unix::Signal,
}

impl Signals {
    /// Catches the signals from here on. Call it within a runtime of [`crate::thread`].
    ///
    /// # Errors
    /// What the system says.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal. Nothing is lost if the future is dropped before its end.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.hang_up.recv() => Signal::HangUp,
            Some(()) = self.upgrade.recv() => Signal::Upgrade,
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_arrive() {
        crate::thread::run_here(async {
            let mut signals = Signals::catch().unwrap();
            for (number, expected) in [
                ("-HUP", Signal::HangUp),
                ("-TERM", Signal::Terminate),
                ("-INT", Signal::Interrupt),
                ("-USR2", Signal::Upgrade),
            ] {
                let status = tokio::process::Command::new("kill")
                    .args([number, &std::process::id().to_string()])
                    .status()
                    .await
                    .unwrap();
                assert!(status.success());
                assert_eq!(signals.next().await, expected);
            }
        })
        .unwrap();
    }
}
