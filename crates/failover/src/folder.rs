//! Our files beside a server's data: made for the server's user alone, and on the disk when that is said.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use mainstay_runtime::user::User;

use crate::Error;

/// A directory of a server's, and who the server runs as; `None`: whoever runs this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folder<'a> {
    pub(crate) path: &'a Path,
    pub(crate) user: Option<User>,
}

impl Folder<'_> {
    /// Makes it, with what is above it.
    pub(crate) fn make(&self) -> Result<(), Error> {
        let said = || format!("cannot make the directory {}", self.path.display());
        fs::create_dir_all(self.path).map_err(Error::system(said()))?;
        fs::set_permissions(self.path, fs::Permissions::from_mode(0o700)).map_err(Error::system(said()))?;
        self.give(self.path)
    }

    /// The server's user owns this path from now on.
    pub(crate) fn give(&self, path: &Path) -> Result<(), Error> {
        let Some(user) = self.user else { return Ok(()) };
        chown(path, Some(user.uid), Some(user.gid))
            .map_err(Error::system(format!("cannot give {} to the server's user", path.display())))
    }

    /// Writes a file whole or not at all, and on the disk when this returns: what was promised with it must outlive a loss of
    /// power.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let said = || format!("cannot write {}", path.display());
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)
            .map_err(Error::system(said()))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::system(said()))?;
        self.give(&new)?;
        fs::rename(&new, &path).map_err(Error::system(said()))?;
        File::open(self.path).and_then(|folder| folder.sync_all()).map_err(Error::system(said()))
    }
}

/// Removes all but the newest directories of a directory.
pub(crate) fn keep_newest(folder: &Path, most: usize) -> io::Result<()> {
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found.push((entry.metadata()?.modified()?, entry.path()));
    }
    found.sort();
    let excess = found.len().saturating_sub(most);
    found.into_iter().take(excess).try_for_each(|(_, path)| fs::remove_dir_all(path))
}
