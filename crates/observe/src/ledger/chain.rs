//! Lines and how they hang together.
//!
//! A line is `{"prev":"P","hash":"H","entry":E}`: E is an entry as JSON, P the hash of the line before (64 zeros before the
//! first), and H the SHA-256 of P and E, all in lower-case hexadecimal. The layout is fixed to the byte, so that whatever is
//! changed in a line is found by that line, and a line that is taken out, put in or moved by the next one. Lines that are cut
//! off at the end leave a chain that is whole: who fears that notes the last hash elsewhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use mainstay_core::ledger::{Day, State};
use mainstay_core::transition::{Record, Subject};
use serde::{Deserialize, Serialize};

/// Before the first line.
pub(super) const ORIGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const PREV: &str = r#"{"prev":""#;
const HASH: &str = r#"","hash":""#;
const ENTRY: &str = r#"","entry":"#;
/// No line is longer; what is, is damage.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// When a line was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Which start of the machine, by its `boot_id`.
    pub boot: String,
    /// CLOCK_BOOTTIME, in nanoseconds.
    pub boottime_ns: u64,
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// A process begins to look.
    Opened {
        /// When it began.
        #[serde(flatten)]
        stamp: Stamp,
        /// The node.
        node: String,
        /// Mainstay's version.
        version: String,
        /// Bytes of a line that was not written to its end, which were cut off.
        torn_bytes: u64,
    },
    /// It looks no more.
    Closed {
        /// Since when.
        #[serde(flatten)]
        stamp: Stamp,
    },
    /// It looks, and nothing has changed for a while.
    Beat {
        /// When.
        #[serde(flatten)]
        stamp: Stamp,
    },
    /// The journal told of a change.
    Saw {
        /// Which start of the machine.
        boot: String,
        /// What changed.
        record: Record,
    },
    /// Records were left out, since they came too fast.
    LeftOut {
        /// How many.
        count: u64,
    },
    /// The first of a file: how everything stood.
    Anchor {
        /// When.
        #[serde(flatten)]
        stamp: Stamp,
        /// What was known.
        stood: Vec<Stood>,
    },
    /// A day of which the detail is forgotten.
    Day {
        /// Of what.
        subject: Subject,
        /// The sums.
        day: Day,
    },
    /// A file was deleted to make room, after its days were written down.
    Forgotten {
        /// Its name.
        file: String,
        /// The hash of its last line, on which the oldest file that is left rests.
        last: String,
    },
}

/// How something stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    /// What.
    pub subject: Subject,
    /// How.
    pub state: State,
    /// Whether somebody wanted it.
    pub planned: bool,
    /// Why.
    pub cause: String,
}

/// The bytes of a line, with its end, and its hash.
pub(super) fn write(prev: &str, line: &Line) -> serde_json::Result<(String, String)> {
    let entry = serde_json::to_string(line)?;
    let hash = hash(prev, entry.as_bytes());
    Ok((format!("{PREV}{prev}{HASH}{hash}{ENTRY}{entry}}}\n"), hash))
}

/// A line as it stands in a file, without its end.
pub(super) struct Links<'a> {
    pub(super) prev: &'a str,
    pub(super) hash: &'a str,
    entry: &'a [u8],
}

impl<'a> Links<'a> {
    /// Takes a line apart; `None` if it is laid out otherwise.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(PREV.as_bytes())?;
        let (prev, rest) = rest.split_at_checked(ORIGIN.len())?;
        let rest = rest.strip_prefix(HASH.as_bytes())?;
        let (hash, rest) = rest.split_at_checked(ORIGIN.len())?;
        let entry = rest.strip_prefix(ENTRY.as_bytes())?.strip_suffix(b"}")?;
        Some(Self { prev: str::from_utf8(prev).ok()?, hash: str::from_utf8(hash).ok()?, entry })
    }

    /// Whether its hash is what it should be.
    pub(super) fn is_whole(&self) -> bool {
        hash(self.prev, self.entry) == self.hash
    }

    /// What it says; `None` if it was written by a version that knew more.
    pub(super) fn line(&self) -> Option<Line> {
        serde_json::from_slice(self.entry).ok()
    }
}

fn hash(prev: &str, entry: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(prev.len() + entry.len());
    bytes.extend_from_slice(prev.as_bytes());
    bytes.extend_from_slice(entry);
    let mut text = String::with_capacity(64);
    for byte in digest(&SHA256, &bytes).as_ref() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

/// The files of a ledger, oldest first.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("ledger-") && path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Gives every line of a file, without its end, to `each`, with its number and whether its end is there.
pub(super) fn lines(path: &Path, mut each: impl FnMut(u64, &[u8], bool)) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        match bytes.strip_suffix(b"\n") {
            Some(line) => each(number, line, true),
            None => each(number, &bytes, false),
        }
    }
    Ok(())
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether every line is as it was written, in its place.
    pub intact: bool,
    /// Files.
    pub files: u64,
    /// Lines.
    pub lines: u64,
    /// The hash of the last line: whoever notes it elsewhere can tell whether lines were cut off at the end later.
    pub head: String,
    /// What is wrong first, by file and line.
    pub problem: Option<String>,
}

/// Looks at every byte of the ledger in `folder`. A last line without its end is no damage: it is being written, or was when the
/// machine stopped.
///
/// # Errors
/// If a file cannot be read.
pub fn verify(folder: &Path) -> io::Result<Verdict> {
    let mut verdict = Verdict { head: ORIGIN.to_owned(), ..Verdict::default() };
    let (mut begins_with, mut forgotten) = (None, BTreeSet::new());
    let files = files(folder)?;
    for path in &files {
        verdict.files += 1;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_last = Some(path) == files.last();
        lines(path, |number, bytes, is_ended| {
            if verdict.problem.is_some() || !is_ended && is_last {
                return;
            }
            let wrong = |what: &str| Some(format!("{name}, line {number}: {what}"));
            let Some(links) = Links::read(bytes).filter(|_line| is_ended) else {
                verdict.problem = wrong("this is no line of a ledger");
                return;
            };
            if !links.is_whole() {
                verdict.problem = wrong("the line is not as it was written");
                return;
            }
            let first = begins_with.get_or_insert_with(|| links.prev.to_owned()).clone();
            if verdict.lines > 0 && links.prev != verdict.head || verdict.lines == 0 && links.prev != first {
                verdict.problem = wrong("the line before it is missing, or was put in or moved");
                return;
            }
            if let Some(Line::Forgotten { last, .. }) = links.line() {
                forgotten.insert(last);
            }
            verdict.lines += 1;
            links.hash.clone_into(&mut verdict.head);
        })?;
    }
    let first = begins_with.unwrap_or_else(|| ORIGIN.to_owned());
    if verdict.problem.is_none() && first != ORIGIN && !forgotten.contains(&first) {
        verdict.problem = Some("the beginning is missing: a file was deleted, and not to make room".to_owned());
    }
    verdict.intact = verdict.problem.is_none();
    Ok(verdict)
}
