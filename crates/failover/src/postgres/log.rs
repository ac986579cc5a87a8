//! What the server's log says of what went wrong.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};

use super::Settings;
use super::files::Files;

/// Bytes that are read to find out why a server ended, at most.
const READ_MAX: u64 = 1 << 20;
/// Bytes in which something is looked for that happens again and again.
const LATE: u64 = 1 << 14;

/// How long it is.
pub(super) fn length(settings: &Settings) -> u64 {
    fs::metadata(Files(settings).log()).map_or(0, |log| log.len())
}

/// What it said last of why it ended, since its log had this length.
pub(super) fn last_words(settings: &Settings, from: u64) -> String {
    let mut text = Vec::new();
    let read = File::open(Files(settings).log()).and_then(|mut log| {
        log.seek(SeekFrom::Start(from))?;
        log.take(READ_MAX).read_to_end(&mut text)
    });
    let text = read.map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    reason(&text).unwrap_or("see its log").to_owned()
}

/// What it said last that went wrong.
pub(super) fn of_late(settings: &Settings) -> String {
    last_words(settings, length(settings).saturating_sub(LATE))
}

fn reason(text: &str) -> Option<&str> {
    // What it answers to our own questions meanwhile is no reason.
    let is_reason =
        |line: &&str| (line.contains("FATAL") || line.contains("PANIC")) && !line.contains("the database system is");
    // Without its data's control file it says why in plain words.
    let plainly = || text.lines().rev().find(|line| line.starts_with("postgres: "));
    let found = text.lines().rev().find(is_reason).or_else(plainly)?;
    // The time before it is that of one of many.
    let from = ["FATAL", "PANIC"].iter().find_map(|level| found.find(level)).unwrap_or(0);
    found.get(from..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_told() {
        let text = "LOG:  starting\n2026-11-22 UTC [7] PANIC:  no room\nFATAL:  the database system is starting up\nLOG:  shut down\n";
        assert_eq!(reason(text), Some("PANIC:  no room"));
        assert_eq!(
            reason("postgres: could not find the database system\nExpected\n"),
            Some("postgres: could not find the database system")
        );
        assert_eq!(reason("\nERROR:  x\nSTATEMENT:  y\n"), None);
    }
}
