//! What a process costs, read from /proc, and where it runs.

use anyhow::{Context as _, Result, ensure};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

/// The core of the proxies.
pub(crate) const PROXY_CORE: usize = 0;
/// The core of load and origin.
pub(crate) const LOAD_CORE: usize = 1;

/// Binds the calling thread, and what it starts from here on, to one core.
pub(crate) fn pin_to(core: usize) -> io::Result<()> {
    // SAFETY: cpu_set_t is plain memory for which all zeroes is the empty set; the size handed over is its own.
    let status = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Binds the calling thread, and what it starts, to the core of the load, where nothing interrupts what runs to let another
/// begin (`SCHED_BATCH`). Otherwise load and origin would interrupt each other at every request, and how often they do would
/// depend on the proxy's pace and in turn set it.
pub(crate) fn join_load() -> io::Result<()> {
    pin_to(LOAD_CORE)?;
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: sched_setscheduler only reads the structure.
    let status = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a command run on the core of the load.
pub(crate) fn as_load(command: &mut Command) {
    // SAFETY: between fork and exec only system calls are made, on memory of the child's own stack.
    unsafe {
        command.pre_exec(join_load);
    }
}

/// Open files that each process needs: the idle connections, and some.
pub(crate) const FILES: u64 = 12_000;

/// Makes room for as many open files as this process may have, here and in what is started from here.
pub(crate) fn raise_file_limit(needed: u64) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes to the structure it is given, which lives on this stack.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    ensure!(status == 0, "getrlimit: {}", io::Error::last_os_error());
    ensure!(
        limit.rlim_max >= needed,
        "{needed} open files are needed, and the hard limit is {}\n  hint: as root, run: ulimit -Hn {needed}",
        limit.rlim_max
    );
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: setrlimit only reads the structure.
    let status = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    ensure!(status == 0, "setrlimit: {}", io::Error::last_os_error());
    Ok(())
}

/// A process and all that it started.
fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let path = format!("/proc/{0}/task/{0}/children", found[at]);
        let children = std::fs::read_to_string(path).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|it| it.parse::<u32>().ok()));
        at += 1;
    }
    found
}

/// What a process has used.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// In its own code.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

impl Cpu {
    /// Both.
    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was used after an earlier look.
    pub(crate) fn since(self, before: Cpu) -> Cpu {
        Cpu { user: self.user.saturating_sub(before.user), system: self.system.saturating_sub(before.system) }
    }
}

/// User and system time of a process, its threads and its children so far.
pub(crate) fn cpu_time(pid: u32) -> Result<Cpu> {
    let (mut user, mut system) = (0, 0);
    for pid in tree(pid) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the proxy is gone")?;
        let (own_user, own_system) = cpu_ticks(&text).context("cannot read /proc/PID/stat")?;
        user += own_user;
        system += own_system;
    }
    // SAFETY: sysconf takes a number and returns one.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ensure!(per_second > 0, "the kernel does not say how long a tick is");
    let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / per_second as f64);
    Ok(Cpu { user: time(user), system: time(system) })
}

/// Fields 14 and 15, counted after the name, which may hold blanks and parentheses itself.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Resident memory in bytes of a process and its children.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let mut total = 0;
    for pid in tree(pid) {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the proxy is gone")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/PID/status")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("cannot read VmRSS")?;
        total += kib * 1024;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_after_a_name_with_blanks() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 500 0 0 0 150 50 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_ticks(stat), Some((150, 50)));
        assert_eq!(cpu_ticks("7 (cut"), None);
    }

    #[test]
    fn this_process_has_time_and_memory() {
        assert!(cpu_time(std::process::id()).is_ok());
        assert!(resident(std::process::id()).unwrap() > 100_000);
    }
}
