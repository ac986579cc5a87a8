//! The form of the history's files: a header, then records of a length, a checksum and a payload. A payload names a series,
//! or holds one step of many series.

use std::collections::HashMap;
use std::sync::Arc;

use super::disk::Closed;
use super::ring::{self, Decoded, Step, unvarint, varint};
use super::series::Kind;

const MAGIC: &[u8; 8] = b"MSHIST\x01\n";
/// Before each payload.
const HEAD: usize = 8;
/// No payload is longer: a step of every series that there may be takes less.
const PAYLOAD_MAX: usize = 4 * 1024 * 1024;
const NAMES_A_SERIES: u8 = 1;
const HOLDS_A_STEP: u8 = 2;
/// Bytes of a series' name in a file, at most; longer ones are not kept on disk.
const NAME_MAX: usize = 1_024;

/// The series that a file names, by their number in it.
pub(super) type Names = HashMap<(Kind, Arc<str>), u64>;

/// How reading a file went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All of it was good.
    Whole,
    /// The last record is incomplete, as after a crash; what is before it ends here.
    Torn(usize),
    /// It is not one of ours, or a record before the last one is not what was written.
    Damaged(&'static str),
}

/// The beginning of a file.
pub(super) fn header() -> Vec<u8> {
    MAGIC.to_vec()
}

/// Appends what is over of one step to `bytes`; series that the file does not name yet are named first.
pub(super) fn append(bytes: &mut Vec<u8>, names: &mut Names, step: Step, at: u64, closed: &[&Closed]) {
    let mut payload = vec![HOLDS_A_STEP];
    varint(&mut payload, at);
    for closed in closed.iter().filter(|closed| closed.name.len() <= NAME_MAX) {
        let next = names.len() as u64;
        let number = *names.entry((closed.kind, closed.name.clone())).or_insert_with(|| {
            let mut naming = vec![NAMES_A_SERIES];
            varint(&mut naming, next);
            naming.push(closed.kind.number());
            naming.extend_from_slice(closed.name.as_bytes());
            record(bytes, &naming);
            next
        });
        varint(&mut payload, number);
        ring::encode(&mut payload, step.seconds(), &closed.counts);
    }
    record(bytes, &payload);
}

/// Reads a file, and gives what is over to `take`.
pub(super) fn read(bytes: &[u8], step: Step, names: &mut Names, mut take: impl FnMut(Closed)) -> End {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        // A crash right after the file was made leaves it empty.
        let begun = MAGIC.starts_with(bytes);
        return if begun { End::Torn(0) } else { End::Damaged("it does not begin as a history does") };
    };
    let mut known: Vec<(Kind, Arc<str>)> = Vec::new();
    while !rest.is_empty() {
        let good = bytes.len() - rest.len();
        let Some((head, after)) = rest.split_first_chunk::<HEAD>() else { return End::Torn(good) };
        let [a, b, c, d, checksum @ ..] = *head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some((payload, after)) = after.split_at_checked(length) else {
            return if length <= PAYLOAD_MAX { End::Torn(good) } else { End::Damaged("a length is impossible") };
        };
        if u32::from_le_bytes(checksum) != crc32(payload) {
            let is_last = after.is_empty();
            return if is_last { End::Torn(good) } else { End::Damaged("a checksum does not match") };
        }
        if understand(payload, step, &mut known, &mut take).is_none() {
            return End::Damaged("a record cannot be understood");
        }
        rest = after;
    }
    names.extend(known.into_iter().enumerate().map(|(number, name)| (name, number as u64)));
    End::Whole
}

fn understand(
    payload: &[u8],
    step: Step,
    known: &mut Vec<(Kind, Arc<str>)>,
    take: &mut impl FnMut(Closed),
) -> Option<()> {
    let (kind, mut rest) = payload.split_first()?;
    match *kind {
        NAMES_A_SERIES => {
            let number = unvarint(&mut rest)?;
            let (kind, name) = rest.split_first()?;
            // Numbers are given in turn, so that they need no table.
            (number == known.len() as u64).then_some(())?;
            known.push((Kind::of_number(*kind)?, std::str::from_utf8(name).ok()?.into()));
        }
        HOLDS_A_STEP => {
            let at = unvarint(&mut rest)?;
            while !rest.is_empty() {
                let (kind, name) = known.get(usize::try_from(unvarint(&mut rest)?).ok()?)?;
                let counts = match ring::decode(&mut rest, step.seconds())? {
                    Decoded::Counts(counts) => counts,
                    Decoded::Idle(1) => super::Counts { seconds: step.seconds(), ..Default::default() },
                    Decoded::Idle(_) | Decoded::Unknown(_) => return None,
                };
                take(Closed { kind: *kind, name: name.clone(), step, at, counts });
            }
        }
        _unknown => return None,
    }
    Some(())
}

fn record(bytes: &mut Vec<u8>, payload: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&crc32(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
}

/// CRC-32 as in IEEE 802.3 (reflected, polynomial 0x04C11DB7).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::super::Counts;
    use super::*;

    fn closed(name: &str, at: u64) -> Closed {
        let counts = Counts { seconds: 60, requests: at, ..Counts::default() };
        Closed { kind: Kind::Route, name: name.into(), step: Step::Minute, at, counts }
    }

    fn file() -> Vec<u8> {
        let (mut bytes, mut names) = (header(), Names::new());
        for at in 0..3 {
            let both = [closed("a", at), closed("b", at)];
            append(&mut bytes, &mut names, Step::Minute, at, &both.iter().collect::<Vec<_>>());
        }
        bytes
    }

    fn read_all(bytes: &[u8]) -> (End, Vec<Closed>) {
        let mut found = Vec::new();
        let end = read(bytes, Step::Minute, &mut Names::new(), |closed| found.push(closed));
        (end, found)
    }

    #[test]
    fn the_checksum_is_the_one_that_everybody_knows() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_was_written_is_read_and_a_cut_anywhere_loses_only_the_last_record() {
        let bytes = file();
        let (end, all) = read_all(&bytes);
        assert_eq!((end, all.len()), (End::Whole, 6));
        assert_eq!(all[5], closed("b", 2));
        for cut in 0..bytes.len() {
            let (end, found) = read_all(&bytes[..cut]);
            assert!(!matches!(end, End::Damaged(_)), "at {cut}: {end:?}");
            assert_eq!(found, all[..found.len()], "at {cut}");
        }
    }

    #[test]
    fn a_changed_byte_is_found_and_nothing_false_is_read() {
        let bytes = file();
        let (_end, all) = read_all(&bytes);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            let (end, found) = read_all(&changed);
            assert_ne!(end, End::Whole, "at {at}");
            assert_eq!(found, all[..found.len()], "at {at}");
        }
    }
}
