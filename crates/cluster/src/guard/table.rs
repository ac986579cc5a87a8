//! The kernel's table of processes, as `/proc` shows it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// What the kernel appends to the name of a file that was removed since it was opened.
const DELETED: &[u8] = b" (deleted)";
/// Where the second version of control groups may be mounted.
const CONTROL_GROUPS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// A process, told from all that have had its number before or will have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pid: i32,
    /// When it began, in ticks since the machine did.
    start: u64,
}

impl Process {
    /// This one.
    pub(super) fn own() -> io::Result<Self> {
        let pid = rustix::process::getpid();
        let stat = Stat::of(pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { pid: pid.as_raw_pid(), start: stat.start })
    }

    /// Whether it runs, zombies aside.
    pub(super) fn runs(self) -> bool {
        let stat = Pid::from_raw(self.pid).and_then(Stat::of);
        stat.is_some_and(|stat| stat.start == self.start && !stat.is_over)
    }
}

/// Whether a process runs. One that has ended and that its parent, which may be another process of the node, has not waited for
/// does not.
pub fn is_alive(pid: Pid) -> bool {
    Stat::of(pid).is_some_and(|stat| !stat.is_over)
}

/// What `/proc/PID/stat` tells, proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    group: i32,
    start: u64,
    /// It runs no code any more.
    is_over: bool,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?)
    }

    /// The second field is a name in brackets, which may hold spaces and brackets itself.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let state = *fields.first()?;
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
            is_over: matches!(state, "Z" | "X"),
        })
    }
}

/// A process that was found, with a descriptor that cannot come to mean another one.
#[derive(Debug)]
pub(super) struct Found {
    pid: Pid,
    descriptor: OwnedFd,
    parent: i32,
    leads_group: bool,
}

impl Found {
    pub(super) fn signal(&self, signal: Signal) {
        // One that has ended needs none.
        let _ended = pidfd_send_signal(&self.descriptor, signal);
    }

    /// Kills it with its process group, where it has one of its own. A process that stands still cannot end by itself, so that
    /// its number is still its own when the group is killed.
    pub(super) fn kill(&self) {
        if self.leads_group && pidfd_send_signal(&self.descriptor, Signal::STOP).is_ok() {
            let _ended = kill_process_group(self.pid, Signal::KILL);
        }
        self.signal(Signal::KILL);
    }
}

/// All processes of `program` (the name of the file that they execute) whose working directory is `directory`.
pub(super) fn find(program: &str, directory: &Path) -> Vec<Found> {
    // A directory that was removed, or whose way is a link, is known by what the kernel calls it.
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter_map(|pid| look_at(pid, program, &directory)).collect()
}

fn look_at(pid: Pid, program: &str, directory: &Path) -> Option<Found> {
    let folder = PathBuf::from(format!("/proc/{}", pid.as_raw_pid()));
    let executes = || linked(&folder.join("exe")).is_some_and(|exe| exe.file_name() == Some(OsStr::new(program)));
    // Most are something else; only of the others a descriptor is needed.
    if !executes() {
        return None;
    }
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Asked after the descriptor was there: whatever has the number now, if it was not the same it would be another process of
    // the same server.
    let stat = Stat::of(pid)?;
    let belongs = executes() && linked(&folder.join("cwd"))? == directory && !stat.is_over;
    belongs.then_some(Found { pid, descriptor, parent: stat.parent, leads_group: stat.group == pid.as_raw_pid() })
}

fn linked(path: &Path) -> Option<PathBuf> {
    let target = fs::read_link(path).ok()?;
    let bytes = target.as_os_str().as_bytes();
    Some(PathBuf::from(OsStr::from_bytes(bytes.strip_suffix(DELETED).unwrap_or(bytes))))
}

/// Those whose parent is none of them.
pub(super) fn roots(found: &[Found]) -> impl Iterator<Item = &Found> {
    found.iter().filter(|one| !found.iter().any(|other| other.pid.as_raw_pid() == one.parent))
}

/// Kills by the control group, where the processes have one to themselves: none that is just being made escapes that.
pub(super) fn kill_group_of(found: &[Found]) {
    let Some(folder) = found.first().and_then(|one| control_group(one.pid)) else { return };
    let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let are_ours =
        members.split_whitespace().all(|pid| found.iter().any(|one| pid == one.pid.as_raw_pid().to_string()));
    if are_ours && !members.is_empty() {
        // Kernels before 5.14 have no such file; what follows kills one by one.
        let _not_there = fs::write(folder.join("cgroup.kill"), "1");
    }
}

/// The directory of a process's control group, unless it is the root's.
fn control_group(pid: Pid) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_pid())).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    if path.is_empty() || path.split('/').any(|part| part == "..") {
        return None;
    }
    let folders = CONTROL_GROUPS.iter().map(|mount| Path::new(mount).join(path));
    folders.into_iter().find(|folder| folder.join("cgroup.procs").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_others_with_its_number() {
        let own = Process::own().unwrap();
        assert!(own.runs());
        assert!(!Process { start: own.start + 1, ..own }.runs());
        let mut child = std::process::Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        let process = Process { pid: pid.as_raw_pid(), start: Stat::of(pid).unwrap().start };
        assert!(process.runs() && is_alive(pid));
        child.kill().unwrap();
        // Nobody has waited for it: it is a zombie for as long as it likes.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while process.runs() {
            assert!(std::time::Instant::now() < end);
        }
        assert!(!is_alive(pid));
        child.wait().unwrap();
    }

    #[test]
    fn names_with_spaces_and_brackets() {
        let text = "12 (a ) b) Z 3 4 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9";
        let stat = Stat { parent: 3, group: 4, start: 777, is_over: true };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!((Stat::parse(""), Stat::parse("12 (a) S 1")), (None, None));
    }
}
