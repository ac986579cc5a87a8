//! Which guard has a server in its custody, while one process of a node takes over from another.
//!
//! A guard whose node has handed over still has the server's deadline, and must not act on it once the next process renews
//! its own lease. Each guard writes down what it takes into its custody; the last one that did, and runs, has it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mainstay_core::random::hash;

use super::table::Process;

/// The file for a server in `folder`.
pub(super) fn path(folder: &Path, directory: &Path) -> PathBuf {
    folder.join(format!("custody-{:016x}.json", hash(directory.as_os_str().as_bytes())))
}

/// Writes that this process has the server. Whole or not at all.
pub(super) fn take(claim: &Path) -> io::Result<()> {
    let own = Process::own()?;
    let new = claim.with_extension(std::process::id().to_string());
    fs::write(&new, serde_json::to_vec(&own)?)?;
    fs::rename(&new, claim)
}

/// Whether another guard that runs has it.
pub(super) fn is_anothers(claim: &Path) -> bool {
    let said = fs::read(claim).ok().and_then(|bytes| serde_json::from_slice::<Process>(&bytes).ok());
    said.is_some_and(|who| Process::own().is_ok_and(|own| own != who) && who.runs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_that_runs_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let claim = path(folder.path(), Path::new("/var/lib/postgresql/15/main"));
        assert_ne!(claim, path(folder.path(), Path::new("/var/lib/postgresql/15/other")));
        assert!(!is_anothers(&claim));
        take(&claim).unwrap();
        assert!(!is_anothers(&claim), "it is our own");
        // The first process of the machine runs for as long as the machine does.
        let stat = fs::read_to_string("/proc/1/stat").unwrap();
        let start = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
        fs::write(&claim, format!("{{\"pid\":1,\"start\":{start}}}")).unwrap();
        assert!(is_anothers(&claim));
        fs::write(&claim, format!("{{\"pid\":1,\"start\":1{start}}}")).unwrap();
        assert!(!is_anothers(&claim), "it is dead, and its number another one's");
        fs::write(&claim, "nonsense").unwrap();
        assert!(!is_anothers(&claim));
    }
}
