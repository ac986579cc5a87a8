//! The folder that a demo keeps its files in.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A directory that is removed at the end unless somebody will want to look into it.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    keep: bool,
}

impl Directory {
    /// Letters of the folder that it is in, at most, for an admin socket inside: the path of a unix socket may not be longer
    /// than 107 bytes.
    pub(crate) const LONG: usize = 60;
    /// The same for the socket of a server of databases, which is deeper inside.
    pub(crate) const SHORT: usize = 25;

    pub(crate) fn create(length_max: usize) -> Result<Self, Failure> {
        let wanted = std::env::temp_dir();
        let parent = if wanted.as_os_str().len() > length_max { PathBuf::from("/tmp") } else { wanted };
        for attempt in 0..100 {
            let path = parent.join(format!("mainstay-demo-{}-{attempt}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, keep: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let failure = Failure::new(format!("cannot create {}: {error}", path.display()));
                    return Err(failure.hint("set TMPDIR to a directory that can be written"));
                }
            }
        }
        Err(Failure::new(format!("{}: too many directories of earlier demos", parent.display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it there, and tells where.
    pub(crate) fn keep(&mut self) -> &Path {
        self.keep = true;
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.keep {
            let _left_behind = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_goes_unless_kept() {
        let directory = Directory::create(Directory::LONG).unwrap();
        let path = directory.path.clone();
        assert!(path.is_dir());
        drop(directory);
        assert!(!path.exists());
        let mut kept = Directory::create(Directory::LONG).unwrap();
        let path = kept.keep().to_owned();
        drop(kept);
        std::fs::remove_dir(&path).unwrap();
    }
}
