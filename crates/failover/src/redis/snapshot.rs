//! What a snapshot (RDB file) says of itself at its beginning: which history it is of, and up to where.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use mainstay_core::database::Lsn;

/// The fields that are looked for stand within this many bytes.
const HEAD: u64 = 4096;
/// `REDIS0010`: the format's number is what changes.
const MAGIC: usize = 9;
/// What begins such a field, by Redis' `rdb.h`.
const AUX: u8 = 0xFA;

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The replication id. A primary that never had a replica writes none.
    pub(super) id: Option<String>,
    /// The offset.
    pub(super) position: Lsn,
}

/// `None`: there is no such file, or it is something else.
pub(super) fn read(path: &Path) -> Option<Head> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut bytes).ok()?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let mut rest = bytes.strip_prefix(b"REDIS")?.get(MAGIC - 5..)?;
    let mut head = Head::default();
    let (mut id, mut position) = (None, None);
    while let Some(after) = rest.strip_prefix(&[AUX]) {
        let Some(((name, value), after)) =
            string(after).and_then(|(name, after)| string(after).map(|(value, after)| ((name, value), after)))
        else {
            break;
        };
        match name.as_str() {
            "repl-id" => id = Some(value).filter(|id| id.len() == 40),
            "repl-offset" => position = value.parse().ok(),
            _ => {}
        }
        rest = after;
    }
    if let (Some(id), Some(position)) = (id, position) {
        head = Head { id: Some(id), position };
    }
    Some(head)
}

/// A string, whose length is in 6 or 14 bits, or an integer of 1, 2 or 4 bytes that stands for one.
fn string(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let low = usize::from(first & 0x3F);
    let (length, rest) = match first >> 6 {
        0 => (low, rest),
        1 => (low << 8 | usize::from(*rest.first()?), rest.get(1..)?),
        3 => {
            let (number, width) = match low {
                0 => (i64::from(i8::from_le_bytes([*rest.first()?])), 1),
                1 => (i64::from(i16::from_le_bytes(rest.get(..2)?.try_into().ok()?)), 2),
                2 => (i64::from(i32::from_le_bytes(rest.get(..4)?.try_into().ok()?)), 4),
                _ => return None,
            };
            return Some((number.to_string(), rest.get(width..)?));
        }
        _ => return None,
    };
    Some((String::from_utf8_lossy(rest.get(..length)?).into_owned(), rest.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "31adc978e05c87f11f47a27e28762ca48090a8ed";

    fn file(offset: &[u8]) -> Vec<u8> {
        let mut bytes = b"REDIS0010\xFA\x09redis-ver\x067.0.15\xFA\x0aredis-bits\xC0\x40\xFA\x07repl-id\x28".to_vec();
        bytes.extend_from_slice(ID.as_bytes());
        bytes.extend_from_slice(b"\xFA\x0brepl-offset");
        bytes.extend_from_slice(offset);
        bytes.extend_from_slice(b"\xFE\x00");
        bytes
    }

    #[test]
    fn a_history_and_its_end() {
        let of = |position| Some(Head { id: Some(ID.to_owned()), position });
        assert_eq!(parse(&file(b"\xC0\x05")), of(5));
        assert_eq!(parse(&file(b"\xC1\x10\x27")), of(10_000));
        assert_eq!(parse(&file(b"\xC2\xA0\x86\x01\x00")), of(100_000));
        assert_eq!(parse(&file(b"\x0b12345678901")), of(12_345_678_901));
    }

    #[test]
    fn files_without_one_and_of_another_kind() {
        assert_eq!(parse(b"REDIS0010\xFA\x05ctime\xC0\x01\xFF"), Some(Head::default()));
        assert_eq!((parse(b""), parse(b"PGDMP")), (None, None));
        let whole = file(b"\xC0\x05");
        for end in 0..whole.len() {
            let _no_panic = parse(&whole[..end]);
        }
    }
}
