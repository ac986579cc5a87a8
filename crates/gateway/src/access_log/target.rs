//! Where the lines of the access log go, and when a file is put aside for a new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::spec::{AccessLog, Rotate};

/// Where lines go.
pub(super) enum Target {
    Nowhere,
    Stdout,
    File(Growing),
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) error: io::Error,
    /// Bytes before the first line that is not whole in the log.
    pub(super) written: usize,
}

/// A file that lines are added to.
pub(super) struct Growing {
    path: PathBuf,
    rotate: Option<Rotate>,
    /// With its size; `None` if it could not be opened or written.
    open: Option<(File, u64)>,
    /// A line was cut off, and the next one must not continue it.
    is_torn: bool,
    /// The file could not be put aside, which was said once.
    is_stuck: bool,
}

impl Target {
    pub(super) fn open(log: AccessLog, rotate: Option<Rotate>) -> Self {
        match log {
            AccessLog::Off => Self::Nowhere,
            AccessLog::Stdout => Self::Stdout,
            AccessLog::File(path) => {
                let open = open(&path).inspect_err(|error| report(&path, error)).ok();
                Self::File(Growing { path, rotate, open, is_torn: false, is_stuck: false })
            }
        }
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout => io::stdout().lock().write_all(lines).map_err(|error| Unwritten { error, written: 0 }),
            Self::File(file) => file.write(lines),
        }
    }
}

impl Growing {
    fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        if self.rotate.is_some_and(|rotate| self.size() > 0 && self.size() + lines.len() as u64 > rotate.size) {
            self.put_aside();
        }
        let nothing = |error| Unwritten { error, written: 0 };
        let (file, size) = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(open(&self.path).map_err(nothing)?),
        };
        if self.is_torn {
            file.write_all(b"\n").map_err(nothing)?;
            self.is_torn = false;
        }
        let (written, result) = write_some(file, lines);
        *size += written as u64;
        result.map_err(|error| {
            // The next attempt opens the file anew: somebody may have made room by deleting it.
            self.open = None;
            let whole = memchr::memrchr(b'\n', &lines[..written]).map_or(0, |last| last + 1);
            self.is_torn = whole < written;
            Unwritten { error, written: whole }
        })
    }

    fn size(&self) -> u64 {
        self.open.as_ref().map_or(0, |(_file, size)| *size)
    }

    /// Puts the file aside as `NAME.1`, what was that as `NAME.2`, and so on; the oldest goes.
    fn put_aside(&mut self) {
        let keep = self.rotate.map_or(0, |rotate| rotate.keep);
        for number in (1..keep).rev() {
            // A file that is not there is not missed.
            let _moved = std::fs::rename(aside(&self.path, number), aside(&self.path, number + 1));
        }
        match std::fs::rename(&self.path, aside(&self.path, 1)) {
            Ok(()) => {
                self.open = None;
                self.is_stuck = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_stuck, true) {
                    tracing::error!(path = %self.path.display(), %error, "access log cannot be put aside; it grows on");
                }
            }
        }
    }
}

/// Writes as much as goes.
fn write_some(file: &mut File, lines: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < lines.len() {
        match file.write(&lines[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn report(path: &Path, error: &io::Error) {
    tracing::error!(path = %path.display(), %error, "access log cannot be opened; lines are dropped until it can");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_aside_by_its_size_and_so_many_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        std::fs::write(&path, "before\n").expect("written");
        let mut target = Target::open(AccessLog::File(path.clone()), Some(Rotate { size: 20, keep: 2 }));
        for number in 0..6 {
            target.write(format!("line-{number}\n").as_bytes()).expect("written");
        }
        // The last one is longer than the size, and has a file for itself.
        target.write(&[b'x'; 30]).expect("written");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(read(&path), "x".repeat(30));
        assert_eq!(read(&aside(&path, 1)), "line-5\n");
        assert_eq!(read(&aside(&path, 2)), "line-3\nline-4\n");
        assert!(!aside(&path, 3).exists());
    }

    #[test]
    fn without_sizes_a_file_grows_and_a_folder_that_is_gone_costs_lines_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("logs").join("access.log");
        let mut target = Target::open(AccessLog::File(path.clone()), None);
        assert_eq!(target.write(b"lost\n").map_err(|unwritten| unwritten.written), Err(0));
        std::fs::create_dir(folder.path().join("logs")).expect("made");
        target.write(b"one\n").expect("written");
        target.write(b"two\n").expect("written");
        assert_eq!(std::fs::read_to_string(path).expect("read"), "one\ntwo\n");
    }
}
