//! A second witness of how many transactions were confirmed. redb goes back to the transaction before if its last one does
//! not read back whole, which is right after a torn write and wrong after one that was confirmed: this tells them apart.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mainstay_core::random::hash;

use super::DiskError;

#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    path: PathBuf,
}

impl Mark {
    /// Opens it and answers what it witnesses.
    pub(super) fn open(folder: &Path) -> Result<(Self, u64), DiskError> {
        let path = folder.join("raft.mark");
        let failed = |error: std::io::Error| DiskError::Failed { path: path.clone(), reason: error.to_string() };
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut bytes = [0; 16];
        if length == 0 {
            return Ok((Self { file, path }, 0));
        }
        file.read_exact_at(&mut bytes, 0).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(&path),
            _other => failed(error),
        })?;
        let count = decode(bytes).ok_or_else(|| damaged(&path))?;
        Ok((Self { file, path }, count))
    }

    /// Witnesses one more. Not synced: it is there to outlive the process, and after a loss of power an older count does no
    /// harm.
    pub(super) fn set(&mut self, count: u64) -> Result<(), DiskError> {
        self.file
            .write_all_at(&encode(count), 0)
            .map_err(|error| DiskError::Failed { path: self.path.clone(), reason: error.to_string() })
    }
}

fn damaged(path: &Path) -> DiskError {
    DiskError::Damaged { path: path.to_owned(), reason: "its checksum is wrong".to_owned() }
}

fn encode(count: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&count.to_le_bytes());
    let sum = hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: [u8; 16]) -> Option<u64> {
    let count = u64::from_le_bytes(bytes[..8].try_into().ok()?);
    (encode(count) == bytes).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        for bit in 0..128 {
            let mut bytes = encode(77);
            assert_eq!(decode(bytes), Some(77));
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(bytes), None, "bit {bit}");
        }
    }
}
