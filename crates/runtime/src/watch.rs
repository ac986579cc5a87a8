//! Files that are looked at for changes.
//!
//! By polling, not by inotify: it sees the swap of a symbolic link that Kubernetes mounts are, works on network file
//! systems, and cannot lose an event.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A set of files under watch.
#[derive(Debug)]
pub struct Files {
    paths: Vec<PathBuf>,
    known: Vec<Mark>,
    poll: Duration,
    settle: Duration,
}

/// By what a change is noticed; `None` while there is no such file.
type Mark = Option<(u64, u64, i64, i64, u64)>;

impl Files {
    /// Watches `paths` from their present state on: each second, and a change counts once nothing more has changed for
    /// 250 ms, so that one that is being written is not read half.
    pub fn watch(paths: Vec<PathBuf>) -> Self {
        Self::with_times(paths, Duration::from_secs(1), Duration::from_millis(250))
    }

    /// As [`Self::watch`], with the time between two looks and the time that a change has to settle.
    pub fn with_times(paths: Vec<PathBuf>, poll: Duration, settle: Duration) -> Self {
        let known = marks(&paths);
        Self { paths, known, poll, settle }
    }

    /// Waits for the next change and answers which files changed. Nothing is lost if the future is dropped before its end.
    pub async fn changed(&mut self) -> Vec<PathBuf> {
        loop {
            tokio::time::sleep(self.poll).await;
            let mut seen = self.look().await;
            if seen == self.known {
                continue;
            }
            loop {
                tokio::time::sleep(self.settle).await;
                let again = self.look().await;
                if again == seen {
                    break;
                }
                seen = again;
            }
            let changed = self.differing(&seen);
            self.known = seen;
            // A file that changed and changed back while it settled is no change.
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    async fn look(&self) -> Vec<Mark> {
        let paths = self.paths.clone();
        // A network file system may hang; the thread's other tasks must not hang with it.
        match tokio::task::spawn_blocking(move || marks(&paths)).await {
            Ok(marks) => marks,
            Err(_shutting_down) => self.known.clone(),
        }
    }

    fn differing(&self, seen: &[Mark]) -> Vec<PathBuf> {
        let marks = self.known.iter().zip(seen);
        self.paths
            .iter()
            .zip(marks)
            .filter(|(_path, (old, new))| old != new)
            .map(|(path, _marks)| path.clone())
            .collect()
    }
}

fn marks(paths: &[PathBuf]) -> Vec<Mark> {
    paths.iter().map(|path| mark(path)).collect()
}

fn mark(path: &Path) -> Mark {
    // Follows links: what counts is the file that would be read.
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::run_here;

    const QUICK: Duration = Duration::from_millis(20);

    fn watch(paths: &[&Path]) -> Files {
        Files::with_times(paths.iter().map(|path| path.to_path_buf()).collect(), QUICK, QUICK)
    }

    async fn soon(files: &mut Files) -> Vec<PathBuf> {
        tokio::time::timeout(Duration::from_secs(20), files.changed()).await.unwrap()
    }

    #[test]
    fn writes_appearances_and_removals_are_seen() {
        run_here(async {
            let folder = tempfile::tempdir().unwrap();
            let (first, second) = (folder.path().join("a"), folder.path().join("b"));
            fs::write(&first, "1").unwrap();
            let mut files = watch(&[&first, &second]);
            let quiet = tokio::time::timeout(10 * QUICK, files.changed()).await;
            assert!(quiet.is_err());
            fs::write(&first, "22").unwrap();
            assert_eq!(soon(&mut files).await, std::slice::from_ref(&first));
            fs::write(&second, "x").unwrap();
            assert_eq!(soon(&mut files).await, std::slice::from_ref(&second));
            fs::remove_file(&first).unwrap();
            assert_eq!(soon(&mut files).await, [first]);
        })
        .unwrap();
    }

    #[test]
    fn the_swap_of_a_linked_folder_is_seen() {
        run_here(async {
            let folder = tempfile::tempdir().unwrap();
            for version in ["v1", "v2"] {
                fs::create_dir(folder.path().join(version)).unwrap();
                fs::write(folder.path().join(version).join("cert.pem"), "same length").unwrap();
            }
            let (data, next) = (folder.path().join("..data"), folder.path().join("..data_tmp"));
            std::os::unix::fs::symlink("v1", &data).unwrap();
            let path = data.join("cert.pem");
            let mut files = watch(&[&path]);
            std::os::unix::fs::symlink("v2", &next).unwrap();
            fs::rename(&next, &data).unwrap();
            assert_eq!(soon(&mut files).await, [path]);
        })
        .unwrap();
    }
}
