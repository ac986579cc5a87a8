//! A disk for the log that is full.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_e2e::lab::databases::Databases;
use mainstay_e2e::{eventually, soak, tools};

use crate::faults::random;
use crate::trial::{SOON, Trial};

/// Segments of 16 MiB that the primary begins while a replica of it has no room: half of such a disk.
const SEGMENTS_MAX: u32 = 20;

/// A small disk, unmounted when this is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, megabytes: u32, like: &Path) -> Self {
        fs::create_dir(&at).expect("a folder");
        let (options, path) = (format!("size={megabytes}m"), at.display().to_string());
        tools::run("mount", "mount", &["-t", "tmpfs", "-o", &options, "tmpfs", &path]);
        let owner = fs::metadata(like).expect("it is there");
        chown(&at, Some(owner.uid()), Some(owner.gid())).expect("root may");
        fs::set_permissions(&at, Permissions::from_mode(0o700)).expect("root may");
        Self(at)
    }

    /// Where the log stands on it.
    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join("ballast")).expect("a file");
        let zeros = std::io::Read::take(std::io::repeat(0), 1 << 32);
        let full = std::io::copy(&mut { zeros }, &mut ballast);
        assert!(full.is_err(), "the disk is full by then");
    }

    fn clear(&self) {
        fs::remove_file(self.0.join("ballast")).expect("it is there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: what still runs on it ends after this.
        let _unless_it_is_gone = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Has a node keep its log on a disk of its own.
fn give_disk(databases: &mut Databases, node: usize) -> Disk {
    databases.power_off(node);
    let wal = databases.data_dir(node).join("pg_wal");
    let folder = databases.data_dir(node).parent().expect("it has one").join("wal");
    let disk = Disk::mount(folder, 640, &wal);
    tools::run("cp", "coreutils", &["-a", &wal.display().to_string(), &disk.log().display().to_string()]);
    fs::remove_dir_all(&wal).expect("it was copied");
    symlink(disk.log(), &wal).expect("a link");
    databases.power_on(node);
    databases.settle();
    disk
}

#[test]
fn a_full_disk_for_the_log_loses_nothing_on_a_replica_and_on_the_primary() {
    // Each time on a disk of its own, which what the one before has left does not fill.
    soak::repeat("a full disk", || {
        let mut trial = Trial::start("");
        let node = (trial.settled() + 1) % 3;
        let disk = give_disk(&mut trial.databases, node);
        std::thread::sleep(random(Duration::from_secs(1)));
        a_replica_leaves_says_so_and_comes_back(&mut trial, node, &disk);
        make_primary(&mut trial, node);
        another_one_takes_over_from_a_primary(&mut trial, node, &disk);
    });
}

fn make_primary(trial: &mut Trial, node: usize) {
    let asked = ["database", "switchover", "orders", "--to", &format!("n{node}"), "--yes"];
    // It is refused as long as the replica has not caught up, which nodes know a little later.
    eventually("a switchover", SOON, || {
        let asked = trial.databases.nodes().command((node + 1) % 3, &asked);
        eprint!("{}", String::from_utf8_lossy(&asked.stderr));
        asked.status.success()
    });
    eventually("it is primary", SOON, || trial.databases.primary() == Some(node));
    trial.settled();
}

/// Has the primary begin another segment of the log, if it can.
fn next_segment(databases: &Databases) {
    let Some(mut primary) = databases.primary().and_then(|primary| databases.superuser(primary).ok()) else { return };
    let _full = primary.batch_execute("SELECT pg_switch_wal()");
}

fn a_replica_leaves_says_so_and_comes_back(trial: &mut Trial, node: usize, disk: &Disk) {
    disk.fill();
    // No more than its disk has room for once that is cleared.
    let mut segments = 0..SEGMENTS_MAX;
    eventually("the replica says so", SOON, || {
        if segments.next().is_some() {
            next_segment(&trial.databases);
        }
        let member = trial.databases.member(node);
        let why = member["error"].as_str().unwrap_or_default();
        member["state"] != "streaming" && why.contains("No space left")
    });
    eprintln!("a replica without room for its log: {}", trial.databases.member(node));
    trial.goes_on("writes without it");
    disk.clear();
    trial.settled();
    trial.has_everything("a replica without room for its log");
}

fn another_one_takes_over_from_a_primary(trial: &mut Trial, node: usize, disk: &Disk) {
    disk.fill();
    eventually("another one takes over", SOON, || {
        // Until then it goes on with the segments that it has.
        if trial.databases.primary() == Some(node) {
            next_segment(&trial.databases);
        }
        trial.databases.primary().is_some_and(|primary| primary != node)
    });
    std::thread::sleep(Duration::from_secs(1));
    trial.goes_on("writes at another primary");
    trial.has_everything("a primary without room for its log");
    let member = trial.databases.member(node);
    eprintln!("a primary without room for its log: {member}");
    disk.clear();
    trial.settled();
    trial.has_everything("it is back");
    let wal = trial.databases.data_dir(node).join("pg_wal");
    assert_eq!(fs::read_link(wal).ok().as_deref(), Some(disk.log().as_path()), "its log is where it was put");
}
