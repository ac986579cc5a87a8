//! Version 2: a block of bytes with a length, addresses and extensions (TLVs).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, MAX_BYTES, Malformed, Progress, crc32c};

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
pub(super) const FIXED_BYTES: usize = 16;
const V4_BYTES: usize = 12;
const V6_BYTES: usize = 36;
const UNIX_BYTES: usize = 216;
/// The extension that holds a CRC32c of the whole header, taken with zeros in its own place.
const CHECKSUM: u8 = 0x03;

pub(super) fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes.get(..common) != SIGNATURE.get(..common) {
        return Err(Malformed::NotOne);
    }
    let Some(command) = bytes.get(12) else { return Ok(Progress::Partial) };
    if command >> 4 != 2 {
        return Err(Malformed::Version);
    }
    let is_local = match command & 15 {
        0 => true,
        1 => false,
        _unassigned => return Err(Malformed::Command),
    };
    let Some(family) = bytes.get(13) else { return Ok(Progress::Partial) };
    // A header for LOCAL is skipped whatever it holds; so is one without a family, whose layout nobody knows.
    let addresses = match family {
        _any if is_local => None,
        0x00 => None,
        0x11 => Some(V4_BYTES),
        0x21 => Some(V6_BYTES),
        0x31 => Some(UNIX_BYTES),
        _datagrams_or_unassigned => return Err(Malformed::Family),
    };
    let Some([high, low]) = bytes.get(14..FIXED_BYTES) else { return Ok(Progress::Partial) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length < addresses.unwrap_or(0) {
        return Err(Malformed::Short);
    }
    if FIXED_BYTES + length > MAX_BYTES {
        return Err(Malformed::Long);
    }
    let Some(whole) = bytes.get(..FIXED_BYTES + length) else { return Ok(Progress::Partial) };
    if let Some(addresses) = addresses {
        extensions(whole, FIXED_BYTES + addresses)?;
    }
    Ok(Progress::Complete(header(whole, *family, is_local), whole.len()))
}

fn header(whole: &[u8], family: u8, is_local: bool) -> Header {
    let at = |start: usize| whole.get(start..).unwrap_or_default();
    let named = match family {
        _any if is_local => None,
        0x11 => v4(at(16)).zip(v4(at(20))).zip(port(at(24)).zip(port(at(26)))),
        0x21 => v6(at(16)).zip(v6(at(32))).zip(port(at(48)).zip(port(at(50)))),
        // A client on a Unix socket has no address that could be matched, logged or forwarded.
        _unix_or_none => None,
    };
    match named {
        Some(((source, destination), (source_port, destination_port))) => Header::Proxied {
            source: SocketAddr::new(source, source_port),
            destination: SocketAddr::new(destination, destination_port),
        },
        None => Header::Local,
    }
}

fn v4(bytes: &[u8]) -> Option<IpAddr> {
    bytes.first_chunk::<4>().map(|octets| IpAddr::V4(Ipv4Addr::from(*octets)))
}

fn v6(bytes: &[u8]) -> Option<IpAddr> {
    bytes.first_chunk::<16>().map(|octets| IpAddr::V6(Ipv6Addr::from(*octets)))
}

fn port(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk::<2>().map(|octets| u16::from_be_bytes(*octets))
}

/// Walks the extensions: each fits, nothing is left over, and a checksum is right.
fn extensions(whole: &[u8], start: usize) -> Result<(), Malformed> {
    let mut at = start;
    let mut has_checksum = false;
    while at < whole.len() {
        let Some([kind, high, low]) = whole.get(at..at + 3) else { return Err(Malformed::Extension) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = whole.get(at + 3..at + 3 + length).ok_or(Malformed::Extension)?;
        if *kind == CHECKSUM {
            let said: [u8; 4] = value.try_into().map_err(|_length| Malformed::Extension)?;
            let (before, after) =
                (whole.get(..at + 3).unwrap_or_default(), whole.get(at + 3 + length..).unwrap_or_default());
            let sum = crc32c::sum(&[before, &[0; 4], after]);
            if has_checksum || u32::from_be_bytes(said) != sum {
                return Err(Malformed::Checksum);
            }
            has_checksum = true;
        }
        at += 3 + length;
    }
    Ok(())
}
