//! The unix socket of the admin interface: who may open it, what becomes of one that was left behind, and its removal.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The system's limit of a socket's path, without the final zero.
const PATH_BYTES_MAX: usize = 107;

/// A bound socket whose file goes when this is dropped, unless somebody else has replaced it.
#[derive(Debug)]
pub struct OwnedSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnedSocket {
    /// Binds `path`, which only its owner may open. A file that a dead process left is replaced.
    ///
    /// # Errors
    /// If somebody answers on it, something else is there, or the folder is not to be trusted.
    pub fn bind(path: PathBuf) -> Result<Self, Failure> {
        let fail = |why: String| Failure::new(format!("admin socket {}: {why}", path.display()));
        let change = "choose another path with `admin_socket` under [node] (proxy: --admin-socket), or \"off\"";
        let said = |error: io::Error| fail(error.to_string()).hint(change);
        if path.as_os_str().len() + TEMPORARY_SUFFIX.len() > PATH_BYTES_MAX {
            return Err(
                fail(format!("the path is longer than {} bytes", PATH_BYTES_MAX - TEMPORARY_SUFFIX.len())).hint(change)
            );
        }
        prepare_folder(&path).map_err(|why| fail(why).hint(change))?;
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(fail("there is a file, and it is not a socket".to_owned()).hint(change));
            }
            Ok(_socket) if UnixStream::connect(&path).is_ok() => {
                let who = format!("`mainstay status --admin {}` shows which one; {change}", path.display());
                return Err(fail("another mainstay answers on it".to_owned()).hint(who));
            }
            Ok(_stale) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(said(error)),
        }
        bind_privately(&path).map_err(said)
    }

    /// A socket that another process has bound and removes, until [`OwnedSocket::own`]. `None` if the file is gone or
    /// another one, so that nobody could connect any more.
    pub fn adopt(path: PathBuf, listener: UnixListener) -> Option<Self> {
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        let same_path = listener.local_addr().is_ok_and(|address| {
            // It was bound under its temporary name.
            address.as_pathname().is_some_and(|bound| bound == path || bound == temporary_name(&path))
        });
        (same_path && metadata.file_type().is_socket()).then_some(Self { listener, path, identity: NOBODYS })
    }

    /// From here on the file goes with this one.
    pub fn own(&mut self) {
        if let Ok(metadata) = std::fs::symlink_metadata(&self.path) {
            self.identity = (metadata.dev(), metadata.ino());
        }
    }

    /// Leaves the file to the process that has adopted the socket.
    pub fn disown(mut self) {
        self.identity = NOBODYS;
    }

    /// The socket, to accept on.
    ///
    /// # Errors
    /// What the system says.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnedSocket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours {
            // The process ends anyway, and the next one replaces a file on which nobody answers.
            let _ends = std::fs::remove_file(&self.path);
        }
    }
}

const TEMPORARY_SUFFIX: &str = ".new";
/// No file is this one.
const NOBODYS: (u64, u64) = (u64::MAX, u64::MAX);

fn temporary_name(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY_SUFFIX);
    PathBuf::from(temporary)
}

/// Binds under another name, restricts that, and only then moves it into place: at no moment may others open `path`.
fn bind_privately(path: &Path) -> io::Result<OwnedSocket> {
    let temporary = temporary_name(path);
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&temporary)?;
    std::fs::set_permissions(&temporary, Permissions::from_mode(0o600))?;
    std::fs::rename(&temporary, path)?;
    listener.set_nonblocking(true)?;
    let metadata = std::fs::symlink_metadata(path)?;
    Ok(OwnedSocket { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
}

/// Creates the folder for this user alone. One that is there already must not let strangers replace the socket.
fn prepare_folder(path: &Path) -> Result<(), String> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    if !folder.exists() {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        return created.map_err(|error| format!("cannot create {}: {error}", folder.display()));
    }
    let metadata = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    let user = rustix::process::geteuid().as_raw();
    const STICKY: u32 = 0o1000;
    const OTHERS_WRITE: u32 = 0o002;
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(format!("the folder {} belongs to another user ({})", folder.display(), metadata.uid()));
    }
    if metadata.mode() & OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0 {
        return Err(format!("everybody may write to the folder {}", folder.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep/er/admin.sock");
        let socket = OwnedSocket::bind(path.clone()).expect("free");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_one_is_left_alone_and_a_dead_one_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("admin.sock");
        let first = OwnedSocket::bind(path.clone()).expect("free");
        let refused = OwnedSocket::bind(path.clone()).expect_err("taken").to_string();
        assert!(refused.contains("another mainstay answers"), "{refused}");
        let leftover = folder.path().join("dead.sock");
        drop(UnixListener::bind(&leftover).expect("free"));
        assert!(leftover.exists());
        OwnedSocket::bind(leftover).expect("nobody answers on it");
        drop(first);
    }

    #[test]
    fn the_file_goes_with_the_one_who_adopted_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("admin.sock");
        let first = OwnedSocket::bind(path.clone()).expect("free");
        let adopt = || OwnedSocket::adopt(path.clone(), first.listener().expect("a second handle")).expect("the same");
        drop(adopt());
        let mut second = adopt();
        first.disown();
        second.own();
        UnixStream::connect(&path).expect("it is listened on");
        let strange = UnixListener::bind(folder.path().join("other.sock")).expect("free");
        assert!(OwnedSocket::adopt(path.clone(), strange).is_none());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn other_files_and_long_paths_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "keep me").expect("written");
        assert!(OwnedSocket::bind(file.clone()).is_err());
        assert_eq!(std::fs::read_to_string(file).expect("still there"), "keep me");
        assert!(OwnedSocket::bind(folder.path().join("x".repeat(120))).is_err());
    }
}
