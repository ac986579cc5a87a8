//! What a node has of certificates that were issued: files in its folder, and what listeners serve.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_runtime::tls::{Answer, Issued};

use super::desk::Desk;
use super::record::Record;
use super::settings::Settings;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files, and what is served of them.
pub struct Shelf {
    folder: Option<PathBuf>,
    issued: Arc<Issued>,
    desk: Arc<Desk>,
    /// What each file holds, as far as it was written here.
    known: Mutex<BTreeMap<String, Record>>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Shelf {
    /// The shelf below `data_dir`. What is put there is served from `issued` and seen at `desk`.
    pub fn new(data_dir: Option<&Path>, issued: Arc<Issued>, desk: Arc<Desk>) -> Self {
        Self { folder: data_dir.map(|folder| folder.join("acme")), issued, desk, known: Mutex::default() }
    }

    /// What others see and ask.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Serves what the folder has of these certificates: what was valid before the process began is valid now.
    pub fn recall(&self, settings: &[Settings]) {
        for name in settings.iter().map(|it| &it.name) {
            match self.read(name) {
                Ok(record) => self.serve(name, &record),
                Err(error) => tracing::error!(certificate = name, %error, "what was issued cannot be read"),
            }
        }
    }

    /// What the folder has.
    pub(super) fn read(&self, name: &str) -> Result<Record, String> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(known.clone());
        }
        let Some(file) = self.file(name) else { return Ok(Record::default()) };
        let told = |error: io::Error| format!("{}: {error}", file.display());
        match std::fs::metadata(&file) {
            Ok(found) if found.len() > FILE_BYTES_MAX => Err(told(io::Error::other("the file is too large"))),
            Ok(_found) => {
                let bytes = std::fs::read(&file).map_err(told)?;
                // What is wrong with it could quote a key.
                serde_json::from_slice(&bytes)
                    .map_err(|_damaged| told(io::Error::other("the file is damaged: remove it")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            Err(error) => Err(told(error)),
        }
    }

    /// Writes it down and serves what it holds.
    pub(super) fn put(&self, name: &str, record: &Record) -> Result<(), String> {
        let is_known = |known: &BTreeMap<String, Record>| known.get(name) == Some(record);
        if is_known(&self.known.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        self.serve(name, record);
        if let Some(file) = self.file(name) {
            write(&file, record).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), record.clone());
        Ok(())
    }

    /// Answers an authority so from now on.
    pub(super) fn answer(&self, name: &str, answers: &[Answer]) -> Result<(), String> {
        self.issued.answer(name, answers).map_err(|error| error.to_string())
    }

    fn serve(&self, name: &str, record: &Record) {
        if let Some(issued) = &record.issued
            && let Err(error) = self.issued.put(name, &issued.chain, &issued.key)
        {
            tracing::error!(certificate = name, %error, "what was issued cannot be served; what was served before goes on");
        }
        self.desk.note(name, record);
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        // Names are words of a configuration, which allows neither `/` nor a leading dot.
        Some(self.folder.as_ref()?.join(format!("{name}.json")))
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write(file: &Path, record: &Record) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let next = file.with_extension("json.new");
    let mut opened = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&next)?;
    opened.write_all(&serde_json::to_vec(record)?)?;
    opened.sync_all()?;
    std::fs::rename(&next, file)?;
    std::fs::File::open(folder)?.sync_all()
}
