//! The last configuration of the cluster that a node served, on its disk: what it starts with if it starts alone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_core::release::Version;
use thiserror::Error;

use super::TEXT_BYTES_MAX;
use super::record::sha256;

/// What is written below the text.
const SEAL: &str = "# mainstay: cluster configuration, version ";

/// A version as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub version: Version,
    /// Its text.
    pub text: Arc<str>,
}

/// Why what is kept cannot be used.
#[derive(Debug, Error)]
pub enum KeptError {
    /// The file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what was written.
    #[error("{}: the file is damaged or was edited: its last line does not match its text", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

impl Kept {
    /// What is kept in `path`; `None` if nothing is.
    ///
    /// # Errors
    /// If it cannot be read, or is not what was written.
    pub fn read(path: &Path) -> Result<Option<Self>, KeptError> {
        let of_file = |error| KeptError::File { path: path.to_owned(), error };
        let damaged = || KeptError::Damaged { path: path.to_owned() };
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(of_file(error)),
            // The last line is short.
            Ok(metadata) if metadata.len() > TEXT_BYTES_MAX as u64 + 1024 => return Err(damaged()),
            Ok(_small) => {}
        }
        let whole = String::from_utf8(fs::read(path).map_err(of_file)?).map_err(|_bytes| damaged())?;
        let (text, seal) = whole.rsplit_once(SEAL).ok_or_else(damaged)?;
        let (version, digest) = seal.trim_end().split_once(", sha256 ").ok_or_else(damaged)?;
        let version = version.parse().map_err(|_number| damaged())?;
        // The line break before the last line is ours.
        let text = text.strip_suffix('\n').ok_or_else(damaged)?;
        if sha256(text) != digest {
            return Err(damaged());
        }
        Ok(Some(Self { version, text: text.into() }))
    }

    /// Keeps it in `path`, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeptError> {
        let write = || -> io::Result<()> {
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            let beside = path.with_extension("toml.new");
            let mut file = File::create(&beside)?;
            file.write_all(self.text.as_bytes())?;
            writeln!(file, "\n{SEAL}{}, sha256 {}", self.version, sha256(&self.text))?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| KeptError::File { path: path.to_owned(), error })
    }

    /// Keeps nothing any more.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn forget(path: &Path) -> Result<(), KeptError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(KeptError::File { path: path.to_owned(), error })
            }
            _removed => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cluster/config.toml");
        assert_eq!(Kept::read(&path).expect("nothing is there"), None);
        for text in ["", "a = 1", "a = 1\n", "# mainstay: cluster configuration, version 3, sha256 00\n\n"] {
            let kept = Kept { version: 7, text: text.into() };
            kept.write(&path).expect("written");
            assert_eq!(Kept::read(&path).expect("read"), Some(kept), "{text:?}");
        }
        Kept { version: 7, text: "port = 80\n".into() }.write(&path).expect("written");
        let whole = fs::read_to_string(&path).expect("read");
        for broken in [whole.replace("80", "81"), whole[..whole.len() - 9].to_owned(), String::new()] {
            fs::write(&path, &broken).expect("written");
            assert!(matches!(Kept::read(&path), Err(KeptError::Damaged { .. })), "{broken}");
        }
        Kept::forget(&path).expect("removed");
        Kept::forget(&path).expect("nothing to remove");
        assert_eq!(Kept::read(&path).expect("nothing is there"), None);
    }
}
