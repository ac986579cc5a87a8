//! The folder of a node's identity: `identity.json`, `node.crt`, `node.key`, `ca.crt`, and `ca.key` on nodes that may sign.
//! Only its owner can look into it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Authority, Identity, IdentityError};

/// Bytes of a file, at most: each has a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

const IDENTITY: &str = "identity.json";
const CERTIFICATE: &str = "node.crt";
const KEY: &str = "node.key";
const AUTHORITY: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";

/// The folder, which need not be there.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// What a node shows and checks. The keys are in PEM, as are the certificates.
#[derive(Clone)]
pub struct Credentials {
    /// Its certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The authority's certificate.
    pub authority: String,
    /// The authority's key, if the node may sign.
    pub authority_key: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("signs", &self.authority_key.is_some()).finish_non_exhaustive()
    }
}

impl Folder {
    /// The folder of the node with this `data_dir`.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("cluster"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether there is an identity in it.
    pub fn has_identity(&self) -> bool {
        self.0.join(IDENTITY).exists()
    }

    /// Makes it, for its owner only.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn make(&self) -> Result<(), IdentityError> {
        let result = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        result.map_err(|source| IdentityError::File { file: self.0.clone(), source })
    }

    /// Writes everything. The identity comes last: without it the rest is nothing, and with it nothing is missing.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, identity: &Identity, credentials: &Credentials) -> Result<(), IdentityError> {
        self.make()?;
        self.put(AUTHORITY, credentials.authority.as_bytes())?;
        if let Some(key) = &credentials.authority_key {
            self.put(AUTHORITY_KEY, key.as_bytes())?;
        }
        self.put(KEY, credentials.key.as_bytes())?;
        self.renew(&credentials.certificate)?;
        self.write_identity(identity)
    }

    /// Writes the identity alone.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_identity(&self, identity: &Identity) -> Result<(), IdentityError> {
        let text = serde_json::to_vec_pretty(identity)
            .map_err(|error| IdentityError::Malformed { what: IDENTITY.to_owned(), why: error.to_string() })?;
        self.put(IDENTITY, &text)
    }

    /// Replaces the node's certificate. It is for the same key, so that the two belong together whenever a crash comes.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn renew(&self, certificate: &str) -> Result<(), IdentityError> {
        self.put(CERTIFICATE, certificate.as_bytes())
    }

    /// Reads the identity.
    ///
    /// # Errors
    /// If it is not there or damaged.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        let text = self.get(IDENTITY)?;
        serde_json::from_str(&text).map_err(|error| IdentityError::Malformed {
            what: self.0.join(IDENTITY).display().to_string(),
            why: error.to_string(),
        })
    }

    /// Reads keys and certificates.
    ///
    /// # Errors
    /// If one is not there or cannot be read.
    pub fn credentials(&self) -> Result<Credentials, IdentityError> {
        let authority_key = match self.get(AUTHORITY_KEY) {
            Ok(key) => Some(key),
            Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Credentials {
            certificate: self.get(CERTIFICATE)?,
            key: self.get(KEY)?,
            authority: self.get(AUTHORITY)?,
            authority_key,
        })
    }

    /// The authority, if this node may sign.
    ///
    /// # Errors
    /// If its files are damaged.
    pub fn authority(&self) -> Result<Option<Authority>, IdentityError> {
        let credentials = self.credentials()?;
        credentials.authority_key.map(|key| Authority::from_pem(&credentials.authority, &key)).transpose()
    }

    /// Writes a further file of the node's, whole or not at all, for its owner only.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<(), IdentityError> {
        let (file, fresh) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let write = || -> io::Result<()> {
            let mut opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            opened.write_all(content)?;
            opened.sync_all()?;
            fs::rename(&fresh, &file)?;
            // The new name is on disk only once its folder is.
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|source| IdentityError::File { file: file.clone(), source })
    }

    /// Reads a file of the node's.
    ///
    /// # Errors
    /// If it cannot be read, or is larger than any such file.
    pub fn get(&self, name: &str) -> Result<String, IdentityError> {
        let file = self.0.join(name);
        let read = || -> io::Result<String> {
            let mut text = String::new();
            let taken = File::open(&file)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
            if taken as u64 > FILE_BYTES_MAX {
                return Err(io::Error::other("the file is larger than any of its kind"));
            }
            Ok(text)
        };
        read().map_err(|source| IdentityError::File { file: file.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::identity::{ClusterId, Stage};
    use crate::peer::NodeId;

    #[test]
    fn what_is_written_is_private_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::of(&dir.path().join("data"));
        assert!(!folder.has_identity());
        let cluster = ClusterId::new().unwrap();
        let (name, address) = ("lb1".to_owned(), "10.0.1.1:7946".to_owned());
        let identity = Identity { cluster, node: NodeId(1), name, address, voter: true, stage: Stage::Founder };
        let text = |text: &str| text.to_owned();
        let credentials = Credentials {
            certificate: text("c"),
            key: text("k"),
            authority: text("a"),
            authority_key: Some(text("s")),
        };
        folder.write(&identity, &credentials).unwrap();
        assert!(folder.has_identity());
        assert_eq!(folder.identity().unwrap(), identity);
        let read = folder.credentials().unwrap();
        assert_eq!((read.key.as_str(), read.authority_key.as_deref()), ("k", Some("s")));
        assert!(!format!("{read:?}").contains("\"s\""));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        for file in [IDENTITY, CERTIFICATE, KEY, AUTHORITY, AUTHORITY_KEY] {
            assert_eq!(mode(&folder.path().join(file)), 0o600, "{file}");
        }
    }
}
