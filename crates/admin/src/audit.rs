//! The audit trail: one line of JSON for each change, chained by digests, so that whoever alters, removes or reorders one is
//! found out.
//!
//! A line's `digest` is SHA-256 of the digest before it and the line's own bytes up to it. Old files are removed; what the
//! first line that is left builds on is its `before`, which is checked against the anchor that the removal wrote down.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::secret;

/// Bytes of a file, about: then the next one is begun.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files that are kept.
const FILES_MAX: usize = 16;
/// Bytes of a line, at most.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Lines that are kept without a folder.
const MEMORY_LINES_MAX: usize = 4_096;
/// What the first line builds on.
const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The file that says what the first line that is left builds on.
const ANCHOR: &str = "anchor.json";

/// What was asked for and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// When, RFC 3339, by the node's clock.
    pub time: String,
    /// The node.
    pub node: String,
    /// Who.
    pub user: String,
    /// Their role.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// From where.
    pub from: String,
    /// What: method and path.
    pub action: String,
    /// The service, endpoint or name that the request is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// `done`, `refused` or `failed`.
    pub outcome: String,
    /// The request's body as far as it is no secret and not long.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// SHA-256 of the whole body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body_sha256: String,
    /// The answer's status.
    pub status: u16,
    /// Refusals that were not written down between the line before of this kind and this one, since there were too many.
    #[serde(default, skip_serializing_if = "is_none")]
    pub left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(left_out: &u64) -> bool {
    *left_out == 0
}

/// A line of the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Line {
    /// Its number, from 1.
    pub seq: u64,
    /// The digest of the line before it.
    pub before: String,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
    /// SHA-256 of all of the line that stands before this member.
    pub digest: String,
}

/// Where the chain begins after old files were removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    number: u64,
    digest: String,
}

/// What a look at the whole trail found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// Whether nothing was changed, removed, added or moved.
    pub intact: bool,
    /// Lines that are whole and in their place, from the first that is kept.
    pub entries: u64,
    /// The number of the first one that is kept.
    pub first: u64,
    /// The digest of the last one. Written down elsewhere, it shows later whether the end was cut off.
    pub head: String,
    /// What is wrong, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The trail.
#[derive(Debug)]
pub struct Trail {
    folder: Option<PathBuf>,
    file: Option<(File, u64)>,
    /// The number and the digest of the last line.
    last: Anchor,
    memory: std::collections::VecDeque<Line>,
}

impl Trail {
    /// Opens the trail in `folder`, or one in memory, which ends with the process.
    ///
    /// # Errors
    /// If the folder or what is in it cannot be read or written. A line that was cut off at the end, as a crash leaves it, is
    /// completed with an end of line and stays, as a line that [`verify`] names.
    pub fn open(folder: Option<PathBuf>) -> io::Result<Self> {
        let last = Anchor { number: 0, digest: FIRST.to_owned() };
        let mut trail = Self { folder, file: None, last, memory: std::collections::VecDeque::new() };
        let Some(folder) = trail.folder.clone() else { return Ok(trail) };
        std::fs::create_dir_all(&folder)?;
        if let Some(anchor) = read_anchor(&folder)? {
            trail.last = anchor;
        }
        for file in files(&folder)? {
            for line in read_lines(&file)?.into_iter().flatten() {
                if let Ok(line) = serde_json::from_str::<Line>(&line) {
                    trail.last = Anchor { number: line.seq, digest: line.digest };
                }
            }
        }
        Ok(trail)
    }

    /// Whether it outlives the process.
    pub fn is_kept(&self) -> bool {
        self.folder.is_some()
    }

    /// Adds a line, which is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written; then it is not part of the trail.
    pub fn add(&mut self, entry: Entry) -> io::Result<()> {
        let line = chained(&self.last, entry)?;
        let text = serde_json::to_string(&line)?;
        if let Some(folder) = self.folder.clone() {
            let (file, bytes) = match self.file.take() {
                Some(open) if open.1 < FILE_BYTES_MAX => open,
                Some(_full) => self.next_file(&folder, line.seq)?,
                None => match files(&folder)?.pop() {
                    Some(present) if std::fs::metadata(&present)?.len() < FILE_BYTES_MAX => append_to(&present)?,
                    _none => self.next_file(&folder, line.seq)?,
                },
            };
            let mut whole = text.into_bytes();
            whole.push(b'\n');
            (&file).write_all(&whole)?;
            file.sync_data()?;
            self.file = Some((file, bytes + whole.len() as u64));
        } else {
            if self.memory.len() >= MEMORY_LINES_MAX {
                self.memory.pop_front();
            }
            self.memory.push_back(line.clone());
        }
        self.last = Anchor { number: line.seq, digest: line.digest };
        Ok(())
    }

    /// Lines before number `before`, the newest first, `limit` at most.
    ///
    /// # Errors
    /// If a file cannot be read. Lines that are none are left out; [`Trail::verify`] names them.
    pub fn newest(&self, before: u64, limit: usize) -> io::Result<Vec<Line>> {
        let mut found = Vec::new();
        let Some(folder) = &self.folder else {
            let lines = self.memory.iter().rev().filter(|line| line.seq < before);
            return Ok(lines.take(limit).cloned().collect());
        };
        for file in files(folder)?.into_iter().rev() {
            let lines = read_lines(&file)?.into_iter().rev().flatten();
            let lines = lines.filter_map(|line| serde_json::from_str::<Line>(&line).ok());
            found.extend(lines.filter(|line| line.seq < before).take(limit - found.len()));
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// The number of the last line; 0 if there is none.
    pub fn last_number(&self) -> u64 {
        self.last.number
    }

    /// Looks at every line.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn verify(&self) -> io::Result<Verified> {
        match &self.folder {
            Some(folder) => {
                let mut verified = verify(folder)?;
                if verified.problem.is_none() && verified.head != self.last.digest {
                    let missing = format!("the last line that was written, number {}, is missing", self.last.number);
                    verified.problem = Some(missing);
                    verified.intact = false;
                }
                Ok(verified)
            }
            None => {
                let lines =
                    self.memory.iter().map(|line| serde_json::to_string(line).map(Some).map_err(io::Error::from));
                let begin = self
                    .memory
                    .front()
                    .map(|line| Anchor { number: line.seq.saturating_sub(1), digest: line.before.clone() });
                check(begin.unwrap_or(Anchor { number: 0, digest: FIRST.to_owned() }), lines)
            }
        }
    }

    fn next_file(&self, folder: &Path, number: u64) -> io::Result<(File, u64)> {
        let all = files(folder)?;
        let drop_count = (all.len() + 1).saturating_sub(FILES_MAX);
        for old in &all[..drop_count] {
            let lines: Vec<_> = read_lines(old)?.into_iter().flatten().collect();
            let last = lines.iter().rev().find_map(|line| serde_json::from_str::<Line>(line).ok());
            if let Some(last) = last {
                write_anchor(folder, &Anchor { number: last.seq, digest: last.digest })?;
            }
            std::fs::remove_file(old)?;
        }
        append_to(&folder.join(format!("{number:020}.jsonl")))
    }
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > 0 && !std::fs::read(path)?.ends_with(b"\n") {
        (&file).write_all(b"\n")?;
    }
    Ok((file, bytes))
}

/// Looks at every line of the trail in a folder, also of a node that does not run.
///
/// # Errors
/// If a file cannot be read.
pub fn verify(folder: &Path) -> io::Result<Verified> {
    let begin = read_anchor(folder)?.unwrap_or(Anchor { number: 0, digest: FIRST.to_owned() });
    let mut lines = Vec::new();
    for file in files(folder)? {
        lines.extend(read_lines(&file)?.into_iter().map(Ok));
    }
    check(begin, lines.into_iter())
}

fn check(begin: Anchor, lines: impl Iterator<Item = io::Result<Option<String>>>) -> io::Result<Verified> {
    let first = begin.number + 1;
    let mut last = begin;
    let mut problem = None;
    for text in lines {
        let at = last.number + 1;
        let line = text?.and_then(|text| Some((serde_json::from_str::<Line>(&text).ok()?, text)));
        let Some((line, text)) = line else {
            problem = Some(format!("line {at} is damaged"));
            break;
        };
        let expected = chained(&last, line.entry.clone())?;
        // The text is compared too: it must be the one form that the trail writes.
        if line.seq != at || line.before != last.digest {
            problem = Some(format!("after line {} comes line {}: one was removed, added or moved", at - 1, line.seq));
            break;
        }
        if line != expected || serde_json::to_string(&expected)? != text {
            problem = Some(format!("line {at} was changed"));
            break;
        }
        last = Anchor { number: line.seq, digest: line.digest };
    }
    Ok(Verified { intact: problem.is_none(), entries: last.number + 1 - first, first, head: last.digest, problem })
}

fn chained(last: &Anchor, mut entry: Entry) -> io::Result<Line> {
    shorten(&mut entry);
    let mut line = Line { seq: last.number + 1, before: last.digest.clone(), entry, digest: String::new() };
    line.digest = secret::digest(serde_json::to_string(&line)?.as_bytes());
    Ok(line)
}

/// A client chooses paths and bodies, so that they must not decide how long a line is.
fn shorten(entry: &mut Entry) {
    let most = LINE_BYTES_MAX / 8;
    for text in [&mut entry.user, &mut entry.from, &mut entry.action, &mut entry.target, &mut entry.body] {
        if text.len() > most {
            let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
    }
}

/// The files, the oldest first.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Lines of a file; none in place of one that is not text, or so long that nobody wrote it here, or has no end.
fn read_lines(path: &Path) -> io::Result<Vec<Option<String>>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut lines = Vec::new();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(lines);
        }
        let is_whole = bytes.pop() == Some(b'\n') && bytes.len() <= LINE_BYTES_MAX;
        lines.push(String::from_utf8(std::mem::take(&mut bytes)).ok().filter(|_text| is_whole));
    }
}

fn read_anchor(folder: &Path) -> io::Result<Option<Anchor>> {
    match std::fs::read(folder.join(ANCHOR)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_anchor(folder: &Path, anchor: &Anchor) -> io::Result<()> {
    let temporary = folder.join("anchor.new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(anchor)?)?;
    file.sync_data()?;
    std::fs::rename(temporary, folder.join(ANCHOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u16) -> Entry {
        Entry {
            time: "2026-01-01T00:00:00Z".to_owned(),
            node: "lb1".to_owned(),
            user: "uid 0".to_owned(),
            role: "admin".to_owned(),
            from: "admin socket".to_owned(),
            target: "shop".to_owned(),
            outcome: "done".to_owned(),
            action: format!("POST /api/v1/drain/{number}"),
            body: r#"{"service":"shop"}"#.to_owned(),
            body_sha256: secret::digest(b"x"),
            status: 200,
            left_out: 3,
        }
    }

    fn written(lines: u16) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit");
        for number in 0..lines {
            // Opened anew each time, as after restarts.
            Trail::open(Some(path.clone())).expect("opened").add(entry(number)).expect("written");
        }
        (folder, path)
    }

    fn the_file(folder: &Path) -> PathBuf {
        files(folder).expect("readable").pop().expect("a file")
    }

    #[test]
    fn a_chain_goes_on_after_a_restart() {
        let (_folder, path) = written(5);
        let verified = verify(&path).expect("readable");
        assert_eq!((verified.entries, verified.first, &verified.problem), (5, 1, &None));
        let trail = Trail::open(Some(path)).expect("opened");
        let lines = trail.newest(5, 2).expect("readable");
        assert_eq!(lines.iter().map(|line| line.seq).collect::<Vec<_>>(), [4, 3]);
    }

    #[test]
    fn every_changed_byte_is_found() {
        let (_folder, path) = written(3);
        let file = the_file(&path);
        let whole = std::fs::read(&file).expect("readable");
        for at in 0..whole.len() {
            for bit in [0, 5, 7] {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                std::fs::write(&file, &changed).expect("written");
                let verified = verify(&path).expect("readable");
                assert!(verified.problem.is_some(), "byte {at}, bit {bit}: {:?}", whole[at] as char);
            }
        }
    }

    #[test]
    fn removed_doubled_and_swapped_lines_are_found() {
        let (_folder, path) = written(4);
        let file = the_file(&path);
        let text = std::fs::read_to_string(&file).expect("readable");
        let lines: Vec<&str> = text.lines().collect();
        let trail = Trail::open(Some(path.clone())).expect("opened");
        for order in [&[1, 2, 3][..], &[0, 2, 3], &[0, 1, 1, 2, 3], &[0, 2, 1, 3], &[0, 1, 2], &[]] {
            let changed: String = order.iter().map(|at| format!("{}\n", lines[*at])).collect();
            std::fs::write(&file, changed).expect("written");
            assert!(trail.verify().expect("readable").problem.is_some(), "{order:?}");
        }
    }

    #[test]
    fn old_files_go_and_the_chain_holds() {
        let (_folder, path) = written(0);
        let mut trail = Trail::open(Some(path.clone())).expect("opened");
        for number in 0..60 {
            // As if the file were full.
            trail.file = trail.file.take().map(|(file, _bytes)| (file, FILE_BYTES_MAX));
            trail.add(entry(number)).expect("written");
        }
        assert_eq!(files(&path).expect("readable").len(), FILES_MAX);
        let verified = trail.verify().expect("readable");
        assert_eq!((verified.entries, verified.first, &verified.problem), (16, 45, &None));
        std::fs::remove_file(&files(&path).expect("readable")[0]).expect("removed");
        assert!(verify(&path).expect("readable").problem.is_some(), "removed without an anchor");
    }

    #[test]
    fn without_a_folder_the_last_lines_are_in_memory() {
        let mut trail = Trail::open(None).expect("opened");
        for number in 0..5_000 {
            trail.add(entry(number)).expect("kept");
        }
        let verified = trail.verify().expect("readable");
        assert_eq!((verified.entries, verified.first, verified.problem), (4_096, 905, None));
        assert!(!trail.is_kept());
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_named_and_the_chain_goes_on() {
        let (_folder, path) = written(2);
        let file = the_file(&path);
        let whole = std::fs::read(&file).expect("readable");
        std::fs::write(&file, &whole[..whole.len() - 10]).expect("written");
        let mut trail = Trail::open(Some(path.clone())).expect("opened");
        trail.add(entry(9)).expect("written");
        assert_eq!(trail.last_number(), 2);
        let problem = verify(&path).expect("readable").problem.expect("the cut line");
        assert!(problem.contains("line 2"), "{problem}");
    }
}
