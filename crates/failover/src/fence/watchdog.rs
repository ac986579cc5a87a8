//! The hardware's watchdog: it resets the machine if nobody has written to it for a while. It is fed only while the node's lease
//! stands, so that a machine that hangs as a whole, with agent, guard and kernel timers, does not come back as primary.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_core::lease::Term;

/// What the kernel calls the watchdogs that it knows.
const CLASS: &str = "/sys/class/watchdog";
/// Written before it is closed, this says that the end is meant (the kernel's `Documentation/watchdog/watchdog-api.rst`).
const MAGIC_CLOSE: &[u8] = b"V";
const KEEP_ALIVE: &[u8] = b"\0";

/// A watchdog, which runs from the first [`Self::feed`] until [`Self::release`].
#[derive(Debug)]
pub struct Watchdog {
    path: PathBuf,
    /// While it runs. Dropped without the magic close, as by a crash, it goes on running and resets the machine.
    device: Option<File>,
}

impl Watchdog {
    /// The watchdog at `path`, usually `/dev/watchdog`. It is not started by this.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), device: None }
    }

    /// Why it is of no use for a lease of `ttl`; `None`: it is.
    pub fn missing(&self, ttl: Duration) -> Option<String> {
        if !self.path.exists() {
            return Some(format!("{} is not there; load the module of the hardware's watchdog", self.path.display()));
        }
        let timeout = timeout_of(Path::new(CLASS), &self.path)?;
        (timeout > ttl).then(|| {
            format!("it waits {timeout:?}, longer than the lease of {ttl:?}; set a shorter timeout for its module")
        })
    }

    /// Feeds it, if the lease stands at `now` (nanoseconds of CLOCK_BOOTTIME), and starts it before the first time.
    ///
    /// # Errors
    /// What the system says. [`io::ErrorKind::ResourceBusy`]: somebody else feeds it.
    pub fn feed(&mut self, term: Term, now: u64) -> io::Result<()> {
        if now >= term.deadline.as_nanos() {
            return Ok(());
        }
        let device = match &mut self.device {
            Some(device) => device,
            None => self.device.insert(OpenOptions::new().write(true).open(&self.path)?),
        };
        device.write_all(KEEP_ALIVE)
    }

    /// Switches it off: nothing leads here any more.
    ///
    /// # Errors
    /// What the system says. A kernel that was built with `nowayout` resets the machine all the same.
    pub fn release(&mut self) -> io::Result<()> {
        match self.device.take() {
            Some(mut device) => device.write_all(MAGIC_CLOSE),
            None => Ok(()),
        }
    }
}

/// How long the watchdog of that name waits; `None`: the kernel does not tell.
fn timeout_of(class: &Path, device: &Path) -> Option<Duration> {
    // `/dev/watchdog` is the first one by its old name.
    let name = device.file_name()?.to_str()?;
    let name = if name == "watchdog" { "watchdog0" } else { name };
    let text = std::fs::read_to_string(class.join(name).join("timeout")).ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use mainstay_core::time::Moment;

    use super::*;

    const TERM: Term = Term { lease: 1, deadline: Moment::from_nanos(1_000), expiry: Moment::from_nanos(1_500) };

    #[test]
    fn it_is_fed_while_the_lease_stands_and_closed_on_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        let mut watchdog = Watchdog::new(&path);
        assert!(watchdog.missing(Duration::from_secs(6)).unwrap().contains("not there"));
        assert!(watchdog.feed(TERM, 0).is_err());
        std::fs::write(&path, "").unwrap();
        watchdog.feed(TERM, 1_000).unwrap();
        watchdog.release().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"", "a lease that is over starts nothing");
        watchdog.feed(TERM, 0).unwrap();
        watchdog.feed(TERM, 999).unwrap();
        watchdog.feed(TERM, 1_001).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\0");
        watchdog.release().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\0V");
    }

    #[test]
    fn a_watchdog_that_waits_longer_than_the_lease_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("watchdog0")).unwrap();
        std::fs::write(folder.path().join("watchdog0/timeout"), "60\n").unwrap();
        let timeout = |device: &str| timeout_of(folder.path(), Path::new(device));
        assert_eq!(timeout("/dev/watchdog"), Some(Duration::from_secs(60)));
        assert_eq!(timeout("/dev/watchdog0"), Some(Duration::from_secs(60)));
        assert_eq!(timeout("/dev/watchdog1"), None);
    }
}
