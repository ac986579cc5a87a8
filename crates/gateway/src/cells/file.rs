//! The file that accounts are kept in: a line for the format, then a line for each account with its cell.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

const FORMAT: &str = "mainstay accounts 1";
/// A hundred bytes for each of ten million accounts.
const BYTES_MAX: u64 = 1_000_000_000;

/// Where it is.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("accounts.tsv")
}

/// Accounts with the names of their cells; none if there is no file yet.
///
/// # Errors
/// If it cannot be read or is none of ours.
pub(super) fn read(file: &Path) -> Result<Vec<(String, String)>, String> {
    let refused = |why: String| format!("the accounts of cells in {}: {why}", file.display());
    let opened = match fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refused(error.to_string())),
    };
    let mut text = String::new();
    opened.take(BYTES_MAX).read_to_string(&mut text).map_err(|error| refused(error.to_string()))?;
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT) {
        return Err(refused(format!("its first line is not `{FORMAT}`; move the file away to begin anew")));
    }
    // Names hold no control characters, so that a line with another form is damage, and only that line is lost.
    Ok(lines
        .filter_map(|line| line.split_once('\t'))
        .map(|(cell, account)| (account.to_owned(), cell.to_owned()))
        .collect())
}

/// Writes it whole: beside the old one first, which it then replaces, so that a crash leaves the one or the other.
///
/// # Errors
/// If any of that fails.
pub(super) fn write(file: &Path, placed: &[(String, String)]) -> Result<(), String> {
    let refused = |error: std::io::Error| format!("{}: {error}", file.display());
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(refused)?;
    let beside = file.with_extension("tsv.new");
    let mut text = String::with_capacity(placed.len() * 32 + 32);
    text.push_str(FORMAT);
    text.push('\n');
    for (account, cell) in placed {
        text.extend([cell, "\t", account, "\n"]);
    }
    let mut written = fs::File::create(&beside).map_err(refused)?;
    written.write_all(text.as_bytes()).and_then(|()| written.sync_all()).map_err(refused)?;
    fs::rename(&beside, file).map_err(refused)?;
    // The new name is on the disk only when its folder is.
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_ours_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = path(&folder.path().join("new"));
        assert_eq!(read(&file), Ok(Vec::new()));
        let placed = [("acme".to_owned(), "c1".to_owned()), ("ümlaut corp".to_owned(), "c2".to_owned())];
        write(&file, &placed).expect("written");
        assert_eq!(read(&file).expect("read"), placed);
        fs::write(&file, format!("{FORMAT}\nc1\tacme\ndamaged\nc2\tx\n")).expect("written");
        assert_eq!(read(&file).expect("read").len(), 2);
        fs::write(&file, "something else\n").expect("written");
        assert!(read(&file).is_err_and(|why| why.contains("move the file away")));
        fs::write(&file, [0xff, 0xfe]).expect("written");
        assert!(read(&file).is_err());
    }
}
