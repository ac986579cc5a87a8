//! A server's log is bounded while the server runs.

use std::fs::{self, File};
use std::path::Path;

/// Bytes of a log, at most, but for what is written between two looks at it. As much of what came before is kept.
pub(crate) const LOG_MAX: u64 = 8 << 20;

/// Moves what stands in a log that is too long into the old one. The server goes on with the same file, which it only appends
/// to: what it writes between the copy and the cut is lost.
pub(crate) fn bound(log: &Path) {
    if !fs::metadata(log).is_ok_and(|about| about.len() > LOG_MAX) {
        return;
    }
    let old = log.with_extension("log.old");
    let cut = || -> std::io::Result<()> {
        fs::copy(log, &old)?;
        File::options().write(true).open(log)?.set_len(0)
    };
    if let Err(error) = cut() {
        tracing::warn!(%error, log = %log.display(), "database: the server's log cannot be cut");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_that_is_appended_to_is_cut_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postgresql.log");
        let mut log = File::options().create(true).append(true).open(&path).unwrap();
        log.write_all(b"before").unwrap();
        bound(&path);
        assert_eq!(fs::read(&path).unwrap(), b"before");
        log.write_all(&vec![b'x'; usize::try_from(LOG_MAX).unwrap()]).unwrap();
        bound(&path);
        log.write_all(b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        let old = fs::read(folder.path().join("postgresql.log.old")).unwrap();
        assert!(old.starts_with(b"before") && old.len() as u64 == LOG_MAX + 6);
    }
}
