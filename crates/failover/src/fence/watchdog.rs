//! The hardware's watchdog: it resets the machine if nobody has written to it for a while. It is fed only while the node's lease
//! stands, so that a machine that hangs as a whole, with agent, guard and kernel timers, does not come back as primary.

mod driver;

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_core::lease::Term;

use driver::{Driver, Kernel};

/// What the kernel calls the watchdogs that it knows.
const CLASS: &str = "/sys/class/watchdog";
/// Written before it is closed, this says that the end is meant (the kernel's `Documentation/watchdog/watchdog-api.rst`).
const MAGIC_CLOSE: &[u8] = b"V";
const KEEP_ALIVE: &[u8] = b"\0";

/// A watchdog, which runs from the first [`Self::feed`] until [`Self::release`].
#[derive(Debug)]
pub struct Watchdog {
    path: PathBuf,
    ttl: Duration,
    driver: Box<dyn Driver>,
    /// While it runs. Dropped without the magic close, as by a crash, it goes on running and resets the machine.
    device: Option<File>,
    /// How long it waits, as its driver said when it was started last; `None`: it has not been asked, or does not tell.
    granted: Option<Duration>,
}

impl Watchdog {
    /// The watchdog at `path`, usually `/dev/watchdog`, for a lease of `ttl`. It is not started by this.
    pub fn new(path: &Path, ttl: Duration) -> Self {
        Self { path: path.to_owned(), ttl, driver: Box::new(Kernel), device: None, granted: None }
    }

    /// Why it cannot be relied on; `None`: it can.
    pub fn missing(&self) -> Option<String> {
        self.missing_by(Path::new(CLASS))
    }

    fn missing_by(&self, class: &Path) -> Option<String> {
        let ttl = self.ttl;
        if !self.path.exists() {
            return Some(format!("{} is not there; load the module of the hardware's watchdog", self.path.display()));
        }
        match (self.granted, timeout_of(class, &self.path)) {
            (Some(granted), _) if granted <= ttl => None,
            (Some(granted), _) => Some(format!(
                "its driver waits {granted:?} at least, longer than the lease of {ttl:?}; let leases live longer (`timings`)"
            )),
            (None, Some(told)) if told <= ttl => None,
            (None, _) => Some(format!(
                "whether its driver waits as short as the lease of {ttl:?} is known once the server leads"
            )),
        }
    }

    /// Feeds it, if the lease stands at `now` (nanoseconds of CLOCK_BOOTTIME), and starts it before the first time, with the
    /// longest time in whole seconds that is no longer than a lease.
    ///
    /// # Errors
    /// What the system says. [`io::ErrorKind::ResourceBusy`]: somebody else feeds it.
    pub fn feed(&mut self, term: Term, now: u64) -> io::Result<()> {
        if now >= term.deadline.as_nanos() {
            return Ok(());
        }
        if self.device.is_none() {
            let device = OpenOptions::new().write(true).open(&self.path)?;
            self.granted = self.ask(&device);
            self.device = Some(device);
        }
        self.device.iter_mut().try_for_each(|device| device.write_all(KEEP_ALIVE))
    }

    /// Asks for a time that fits the lease, and for what came of it: a driver may take another one, or cannot set its time at all.
    fn ask(&self, device: &File) -> Option<Duration> {
        let wanted = c_int::try_from(self.ttl.as_secs()).unwrap_or(c_int::MAX).max(1);
        let set = self.driver.set_timeout(device, wanted);
        let granted = self.driver.timeout(device);
        tracing::info!(
            ?set,
            ?granted,
            wanted,
            "databases: the watchdog is started; seconds until it resets the machine"
        );
        u64::try_from(granted.ok()?).ok().map(Duration::from_secs)
    }

    /// Switches it off: nothing leads here any more. One that a process before this one has left running as well.
    ///
    /// # Errors
    /// What the system says. A kernel that was built with `nowayout` resets the machine all the same.
    pub fn release(&mut self) -> io::Result<()> {
        match self.device.take() {
            Some(mut device) => device.write_all(MAGIC_CLOSE),
            // Opening one that does not run would start it, which not every kernel lets be undone.
            None if is_running(Path::new(CLASS), &self.path) => {
                OpenOptions::new().write(true).open(&self.path)?.write_all(MAGIC_CLOSE)
            }
            None => Ok(()),
        }
    }
}

/// How long the watchdog of that name waits; `None`: the kernel does not tell.
fn timeout_of(class: &Path, device: &Path) -> Option<Duration> {
    told(class, device, "timeout")?.trim().parse().ok().map(Duration::from_secs)
}

/// Whether it runs; not, if the kernel does not tell.
fn is_running(class: &Path, device: &Path) -> bool {
    told(class, device, "state").is_some_and(|state| state.trim() == "active")
}

/// What the kernel tells of the watchdog of that name.
fn told(class: &Path, device: &Path, what: &str) -> Option<String> {
    // `/dev/watchdog` is the first one by its old name.
    let name = device.file_name()?.to_str()?;
    let name = if name == "watchdog" { "watchdog0" } else { name };
    std::fs::read_to_string(class.join(name).join(what)).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};

    use mainstay_core::time::Moment;

    use super::*;

    const TERM: Term = Term { lease: 1, deadline: Moment::from_nanos(1_000), expiry: Moment::from_nanos(1_500) };
    const TTL: Duration = Duration::from_millis(6500);

    /// A driver as the kernel's documentation has them: it waits for what it is asked for, but no shorter than its hardware can.
    #[derive(Debug)]
    struct Hardware {
        shortest: c_int,
        /// It can be set.
        sets: bool,
        waits: Arc<AtomicI32>,
    }

    impl Driver for Hardware {
        fn set_timeout(&self, _device: &File, seconds: c_int) -> io::Result<()> {
            if !self.sets {
                return Err(io::ErrorKind::Unsupported.into());
            }
            self.waits.store(seconds.max(self.shortest), Ordering::Relaxed);
            Ok(())
        }

        fn timeout(&self, _device: &File) -> io::Result<c_int> {
            match self.waits.load(Ordering::Relaxed) {
                0 => Err(io::ErrorKind::Unsupported.into()),
                waits => Ok(waits),
            }
        }
    }

    fn of(path: &Path, shortest: c_int, sets: bool, waits: c_int) -> (Watchdog, Arc<AtomicI32>) {
        let waits = Arc::new(AtomicI32::new(waits));
        let driver = Box::new(Hardware { shortest, sets, waits: Arc::clone(&waits) });
        (Watchdog { driver, ..Watchdog::new(path, TTL) }, waits)
    }

    #[test]
    fn it_is_fed_while_the_lease_stands_and_closed_on_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dog");
        let (mut watchdog, _waits) = of(&path, 1, true, 60);
        assert!(watchdog.missing().unwrap().contains("not there"));
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
    fn it_waits_as_long_as_the_lease_and_is_not_relied_on_where_its_driver_waits_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        std::fs::write(&path, "").unwrap();
        let started = |shortest, sets, before| {
            let (mut watchdog, waits) = of(&path, shortest, sets, before);
            watchdog.feed(TERM, 0).unwrap();
            let waits = waits.load(Ordering::Relaxed);
            watchdog.release().unwrap();
            (waits, watchdog.missing_by(folder.path()))
        };
        assert_eq!(started(1, true, 60), (6, None));
        let (waits, missing) = started(10, true, 60);
        assert!(waits == 10 && missing.as_ref().unwrap().contains("waits 10s"), "{missing:?}");
        let (waits, missing) = started(1, false, 60);
        assert!(waits == 60 && missing.as_ref().unwrap().contains("waits 60s"), "it cannot be set: {missing:?}");
        assert_eq!(started(1, false, 5), (5, None));
        assert!(started(1, false, 0).1.is_some(), "it does not tell");
    }

    #[test]
    fn before_it_is_started_the_kernels_word_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        std::fs::write(&path, "").unwrap();
        let class = folder.path().join("class");
        std::fs::create_dir_all(class.join("watchdog0")).unwrap();
        let (watchdog, _waits) = of(&path, 1, true, 60);
        assert!(watchdog.missing_by(&class).unwrap().contains("once the server leads"), "nothing is told");
        std::fs::write(class.join("watchdog0/timeout"), "60\n").unwrap();
        assert!(watchdog.missing_by(&class).is_some());
        std::fs::write(class.join("watchdog0/timeout"), "6\n").unwrap();
        assert_eq!(watchdog.missing_by(&class), None);
        let timeout = |device: &str| timeout_of(&class, Path::new(device));
        assert_eq!(timeout("/dev/watchdog0"), Some(Duration::from_secs(6)));
        assert_eq!(timeout("/dev/watchdog1"), None);
        let running = |device: &str| is_running(&class, Path::new(device));
        assert!(!running("/dev/watchdog"), "nothing is told");
        std::fs::write(class.join("watchdog0/state"), "active\n").unwrap();
        assert!(running("/dev/watchdog") && running("/dev/watchdog0") && !running("/dev/watchdog1"));
        std::fs::write(class.join("watchdog0/state"), "inactive\n").unwrap();
        assert!(!running("/dev/watchdog"));
    }
}
