//! Child processes that a test starts, signals and always gets rid of.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A child process whose standard error is kept in a file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    stderr: PathBuf,
    exited: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`; standard error goes to `name.stderr` in `dir` (and standard output too, unless the command says
    /// otherwise with `stdout`).
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(name: &str, dir: &Path, command: &mut Command, stdout: Option<File>) -> Self {
        let stderr = dir.join(format!("{name}.stderr"));
        let file = File::options().create(true).append(true).open(&stderr).expect("a file for standard error");
        let out = stdout.unwrap_or_else(|| file.try_clone().expect("a second handle"));
        // SAFETY: prctl is a plain system call, allowed between fork and exec. The child dies with the thread that started
        // it, so that a test run that is killed leaves nothing behind.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self { child, name: name.to_owned(), stderr, exited: None }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Sends a signal, by process id.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn signal(&self, signal: i32) {
        assert!(self.exited.is_none(), "{} has exited", self.name);
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process id");
        // SAFETY: the child has not been waited for, so that its id cannot belong to another process yet.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "cannot signal {}", self.name);
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.exited.is_none() {
            let _gone_already = self.child.kill();
            self.exited = self.child.wait().ok();
        }
    }

    /// Its exit status, if it exits within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if self.exited.is_none() {
                self.exited = self.child.try_wait().ok().flatten();
            }
            if self.exited.is_some() || Instant::now() >= end {
                return self.exited;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it has not exited.
    pub fn is_running(&mut self) -> bool {
        self.wait(Duration::ZERO).is_none()
    }

    /// Waits until standard error contains `needle` at least `count` times.
    ///
    /// # Panics
    /// If that does not happen within `limit`, or the process exits first.
    pub fn wait_for_log(&mut self, needle: &str, count: usize, limit: Duration) {
        let end = Instant::now() + limit;
        while self.stderr().matches(needle).count() < count {
            let running = self.is_running();
            // What it wrote last may have come between the two looks.
            if !running && self.stderr().matches(needle).count() >= count {
                return;
            }
            assert!(running, "{} exited without saying `{needle}`:\n{}", self.name, self.stderr());
            assert!(Instant::now() < end, "{}: no `{needle}` within {limit:?}:\n{}", self.name, self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The time that its threads which are there have spent on a processor so far. What other processes do at the same time
    /// does not count.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn cpu_time(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process's threads");
        let spent = |thread: fs::DirEntry| {
            // A thread that has ended meanwhile has none any more.
            let stat = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            stat.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(threads.flatten().map(spent).sum())
    }

    /// Resident memory in bytes, from `/proc`.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process's status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a VmRSS line");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
        kib * 1024
    }
}

/// A process that another one has started, known by its id. Dropping it kills it.
#[derive(Debug)]
pub struct Stranger {
    pid: u32,
}

impl Stranger {
    /// The process with this id.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it runs. One that has ended and was not waited for does not.
    pub fn is_running(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.contains("(mainstay)") && !stat.contains(") Z ")
    }

    /// Sends a signal, if it runs.
    pub fn signal(&self, signal: i32) {
        if self.is_running() {
            let pid = libc::pid_t::try_from(self.pid).expect("a process id");
            // SAFETY: a plain system call. The process was seen a moment ago under a name that only our own ones have.
            unsafe { libc::kill(pid, signal) };
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let stderr = self.stderr();
            let tail: Vec<&str> = stderr.lines().rev().take(40).collect();
            eprintln!("--- last lines of {}:", self.name);
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}
