//! What the data directory says while the server does not run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mainstay_core::database::{Branch, Lsn};

use super::{Settings, process};
use crate::Error;

/// What it says of a file whose checksum is not that of its content.
const DAMAGED: &str = "CRC checksum does not match";

/// What `pg_controldata` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) system: Option<u64>,
    pub(super) timeline: u32,
    /// Where the shutdown checkpoint begins, if it was shut down in order as primary.
    pub(super) clean: Option<Lsn>,
    /// What it has at least.
    pub(super) position: Lsn,
    /// Bytes of a segment of the log.
    pub(super) segment_bytes: u64,
}

pub(super) async fn read(settings: &Settings) -> Result<Control, Error> {
    const PROGRAM: &str = "pg_controldata";
    let data = settings.data_dir.display().to_string();
    let said = process::attempt(settings, PROGRAM, &["-D", &data], process::SHORT).await?;
    if !said.succeeded() {
        return Err(process::failed(PROGRAM, &said));
    }
    // It prints what a damaged file has all the same.
    if [&said.output, &said.errors].iter().any(|text| text.contains(DAMAGED)) {
        let said = format!("the control file of {data} is damaged: its checksum does not match");
        return Err(Error::Program { program: PROGRAM.to_owned(), said });
    }
    Ok(parse(&said.output))
}

/// What the primary had as much of, whose log this data has: names of settings, and their values.
pub(super) async fn needs(settings: &Settings) -> Result<Vec<(String, u32)>, Error> {
    let data = settings.data_dir.display().to_string();
    Ok(needed(&process::run(settings, "pg_controldata", &["-D", &data], process::SHORT).await?))
}

fn needed(text: &str) -> Vec<(String, u32)> {
    const NAMES: [(&str, &str); 5] = [
        ("max_connections", "max_connections"),
        ("max_worker_processes", "max_worker_processes"),
        ("max_wal_senders", "max_wal_senders"),
        ("max_prepared_xacts", "max_prepared_transactions"),
        ("max_locks_per_xact", "max_locks_per_transaction"),
    ];
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" setting:"))?;
        line.trim().parse::<u32>().ok()
    };
    NAMES.iter().filter_map(|(told, set)| Some(((*set).to_owned(), value(told)?))).collect()
}

fn parse(text: &str) -> Control {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim)).unwrap_or_default()
    };
    let checkpoint = lsn(field("Latest checkpoint location")).unwrap_or(0);
    let recovered = lsn(field("Minimum recovery ending location")).unwrap_or(0);
    let number = |name: &str| field(name).parse().unwrap_or(0);
    let recovery_timeline = number("Min recovery ending loc's timeline");
    Control {
        system: field("Database system identifier").parse().ok(),
        timeline: number("Latest checkpoint's TimeLineID").max(recovery_timeline),
        clean: (field("Database cluster state") == "shut down").then_some(checkpoint),
        position: checkpoint.max(recovered),
        segment_bytes: number("Bytes per WAL segment").into(),
    }
}

/// `16/B374D848`.
pub(super) fn lsn(text: &str) -> Option<Lsn> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from(u32::from_str_radix(high, 16).ok()?) << 32 | u64::from(u32::from_str_radix(low, 16).ok()?))
}

/// The greatest timeline that there are segments of. The control file tells of a timeline only after a checkpoint on it.
pub(super) fn newest_segment(settings: &Settings) -> u32 {
    segments(&settings.data_dir).filter_map(|name| u32::from_str_radix(name.get(..8)?, 16).ok()).max().unwrap_or(0)
}

/// Where the log begins that leads up to `position` without a gap and can be sent. A segment in which a timeline began is sent as
/// that one has it; what else was written under its number is of use to nobody.
pub(super) fn kept_from(data_dir: &Path, segment_bytes: u64, position: Lsn, branches: &[Branch]) -> Option<Lsn> {
    let there: BTreeSet<(u64, u32)> = segments(data_dir).filter_map(|name| segment(&name, segment_bytes)).collect();
    let is_there = |number: u64| {
        let begins_before_its_end = |branch: &&Branch| branch.at / segment_bytes <= number;
        match branches.iter().filter(begins_before_its_end).map(|branch| branch.timeline).max() {
            Some(timeline) => there.contains(&(number, timeline)),
            None => there.range((number, 0)..=(number, u32::MAX)).next().is_some(),
        }
    };
    let last = position.saturating_sub(1).checked_div(segment_bytes)?;
    let first = (0..=last).rev().take_while(|number| is_there(*number)).last()?;
    Some(first.saturating_mul(segment_bytes))
}

/// The number of a segment, counted from the beginning of the log, and its timeline.
fn segment(name: &str, segment_bytes: u64) -> Option<(u64, u32)> {
    let per_file = (1u64 << 32).checked_div(segment_bytes)?;
    let part = |from: usize| u32::from_str_radix(name.get(from..from + 8)?, 16).ok();
    Some((u64::from(part(8)?).saturating_mul(per_file).saturating_add(part(16)?.into()), part(0)?))
}

/// Where the segment of this name begins.
pub(super) fn segment_begin(name: &str, segment_bytes: u64) -> Option<Lsn> {
    Some(segment(name, segment_bytes)?.0.saturating_mul(segment_bytes))
}

fn segments(data_dir: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(data_dir.join("pg_wal")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_segment(name))
}

/// Whether a file of this name is a segment.
pub(super) fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where the timelines up to this one began. A history file has a line for each timeline that was left, and where.
pub(super) fn branches(settings: &Settings, timeline: u32) -> Vec<Branch> {
    if timeline < 2 {
        return Vec::new();
    }
    let path = settings.data_dir.join("pg_wal").join(format!("{timeline:08X}.history"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let left = text.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let timeline: u32 = fields.next()?.parse().ok()?;
        Some((timeline, lsn(fields.next()?)?))
    });
    let left: Vec<(u32, Lsn)> = left.collect();
    let next = left.iter().skip(1).map(|(timeline, _)| *timeline).chain([timeline]);
    left.iter().zip(next).map(|((_, at), timeline)| Branch { timeline, at: *at }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replica_needs_as_much_of() {
        let text = "wal_level setting:                    replica\nmax_connections setting:              100\n\
                    max_prepared_xacts setting:           0\nmax_locks_per_xact setting:           x\n";
        let needed = needed(text);
        let expected = [("max_connections", 100), ("max_prepared_transactions", 0)];
        assert_eq!(needed, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_log_is_kept_from_where_it_leads_up_to_the_end_on_its_own_timelines() {
        const SEGMENT: u64 = 16 << 20;
        let folder = tempfile::tempdir().expect("a directory");
        let log = folder.path().join("pg_wal");
        fs::create_dir(&log).expect("a directory");
        let branches = [Branch { timeline: 2, at: 4 * SEGMENT + 5 }, Branch { timeline: 3, at: 7 * SEGMENT }];
        let add = |name: &str| fs::write(log.join(name), "").expect("a file");
        let kept_from = |position| super::kept_from(folder.path(), SEGMENT, position, &branches);
        assert_eq!(kept_from(8 * SEGMENT), None, "there is nothing");
        ["000000030000000000000007", "000000020000000000000006", "000000020000000000000005"].into_iter().for_each(add);
        assert_eq!(kept_from(7 * SEGMENT + 1), Some(5 * SEGMENT));
        assert_eq!(kept_from(8 * SEGMENT), Some(5 * SEGMENT), "its last byte is in the segment before");
        ["000000010000000000000004", "000000010000000000000003"].into_iter().for_each(add);
        assert_eq!(kept_from(8 * SEGMENT), Some(5 * SEGMENT), "that is how another one goes on");
        add("000000020000000000000004");
        assert_eq!(kept_from(8 * SEGMENT), Some(3 * SEGMENT));
        add("000000010000000000000001");
        assert_eq!(kept_from(8 * SEGMENT), Some(3 * SEGMENT), "there is a gap");
        assert_eq!(segment("0000000A0000000200000003", SEGMENT), Some((2 * 256 + 3, 10)));
    }

    #[test]
    fn positions() {
        assert_eq!(lsn("16/B374D848"), Some(0x16_B374_D848));
        assert_eq!((lsn(""), lsn("1"), lsn("x/1"), lsn("100000000/1")), (None, None, None, None));
    }

    #[test]
    fn a_control_file_of_a_primary_that_stopped_in_order_and_of_a_replica() {
        let text = "Database system identifier:           7301\nDatabase cluster state:               shut down\n\
                    Latest checkpoint location:           0/3000028\nLatest checkpoint's TimeLineID:       2\n\
                    Minimum recovery ending location:     0/0\nMin recovery ending loc's timeline:   0\nBytes per WAL segment:                16777216\n";
        let (clean, segment_bytes) = (Some(0x300_0028), 16 << 20);
        let control = Control { system: Some(7301), timeline: 2, clean, position: 0x300_0028, segment_bytes };
        assert_eq!(parse(text), control);
        let text =
            text.replace("shut down", "shut down in recovery").replace("location:     0/0", "location:     0/4000000");
        assert_eq!(parse(&text), Control { clean: None, position: 0x400_0000, ..control });
        assert_eq!(parse("something else"), Control::default());
    }
}
