//! Version 1: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, Malformed, Progress};

/// The longest line, its end included.
pub(super) const MAX_BYTES: usize = 107;
const BEGIN: &[u8] = b"PROXY ";

pub(super) fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    let common = bytes.len().min(BEGIN.len());
    if bytes.get(..common) != BEGIN.get(..common) {
        return Err(Malformed::NotOne);
    }
    let line = bytes.get(..bytes.len().min(MAX_BYTES)).unwrap_or_default();
    let Some(end) = memchr::memchr2(b'\r', b'\n', line) else {
        return if line.len() == MAX_BYTES { Err(Malformed::EndlessLine) } else { Ok(Progress::Partial) };
    };
    match line.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([b'\r']) if end + 1 < MAX_BYTES => return Ok(Progress::Partial),
        Some([b'\r']) => return Err(Malformed::EndlessLine),
        _bare => return Err(Malformed::Line),
    }
    let text = line.get(BEGIN.len()..end).and_then(|text| std::str::from_utf8(text).ok()).ok_or(Malformed::Line)?;
    Ok(Progress::Complete(header(text).ok_or(Malformed::Line)?, end + 2))
}

/// What stands between `PROXY ` and the end of the line.
fn header(text: &str) -> Option<Header> {
    let mut words = text.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        // Whatever else is on the line does not count.
        "UNKNOWN" => return Some(Header::Local),
        _other => return None,
    };
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        if is_v4 {
            word.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        } else {
            word.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
    };
    let (source, destination) = (address()?, address()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    Some(Header::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// Digits only, and no zero in front.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_port| is_plain)
}
