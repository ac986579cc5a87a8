//! What a client says first: packets that have a length and a code, and no letter in front.

/// No packet before the authentication is longer (`MAX_STARTUP_PACKET_LENGTH` of PostgreSQL).
pub(crate) const MAX_BYTES: usize = 10_000;
/// Length and code.
const HEADER_BYTES: usize = 8;
/// The first byte of a TLS record with a handshake, which no length that is allowed begins with.
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;
/// Where clients may begin with TLS at once, they have to agree on this name (PostgreSQL 17, `sslnegotiation=direct`).
pub(crate) const ALPN: &[u8] = b"postgresql";
/// A request for TLS, whole.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

const SSL_CODE: u32 = 80_877_103;
const GSS_CODE: u32 = 80_877_104;
const CANCEL_CODE: u32 = 80_877_102;
/// A key of a connection: 4 bytes of process and, by version 3.2, up to 256 of secret.
const CANCEL_KEY_BYTES: std::ops::RangeInclusive<usize> = 5..=260;

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// It would like TLS (`SSLRequest`).
    Ssl,
    /// It would like encryption by GSSAPI (`GSSENCRequest`).
    Gss,
    /// It wants another connection's command cancelled (`CancelRequest`). Process and secret stand behind the header.
    Cancel,
    /// It would like a session (`StartupMessage`), of this major version.
    Startup {
        /// 3 for every client since 2003.
        major: u16,
    },
}

/// How far a packet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    Partial,
    /// It is there, and this many bytes long.
    Complete(Packet, usize),
}

/// Why bytes are no packet. None of them ever becomes one by further bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the start-up packet says that it is {0} bytes long, and may have 8 to {MAX_BYTES}")]
    Length(u32),
    #[error("a request of this kind is not {0} bytes long")]
    Request(usize),
    #[error("the start-up packet's parameters do not end where it ends")]
    Parameters,
}

/// Reads a packet at the front of `bytes`.
///
/// # Errors
/// As soon as no further bytes could make a packet of them.
pub(crate) fn parse(bytes: &[u8]) -> Result<Progress, Malformed> {
    let Some(length) = number(bytes, 0) else { return Ok(Progress::Partial) };
    let size = usize::try_from(length).ok().filter(|size| (HEADER_BYTES..=MAX_BYTES).contains(size));
    let size = size.ok_or(Malformed::Length(length))?;
    let Some(code) = number(bytes, 4) else { return Ok(Progress::Partial) };
    let body = size - HEADER_BYTES;
    let packet = match code {
        SSL_CODE if body == 0 => Packet::Ssl,
        GSS_CODE if body == 0 => Packet::Gss,
        CANCEL_CODE if CANCEL_KEY_BYTES.contains(&body) => Packet::Cancel,
        SSL_CODE | GSS_CODE | CANCEL_CODE => return Err(Malformed::Request(size)),
        version => Packet::Startup { major: (version >> 16) as u16 },
    };
    let Some(whole) = bytes.get(..size) else { return Ok(Progress::Partial) };
    if matches!(packet, Packet::Startup { major: 3.. }) && !is_list(whole.get(HEADER_BYTES..).unwrap_or_default()) {
        return Err(Malformed::Parameters);
    }
    Ok(Progress::Complete(packet, size))
}

/// What a whole `CancelRequest` names: process and secret as one, as the server's `BackendKeyData` has them.
pub(crate) fn cancel_key(packet: &[u8]) -> &[u8] {
    packet.get(HEADER_BYTES..).unwrap_or_default()
}

/// Whether these are names and values, each ended by a zero, and one more zero behind the last one.
fn is_list(parameters: &[u8]) -> bool {
    let Some((0, list)) = parameters.split_last() else { return false };
    let mut strings = list.split_inclusive(|byte| *byte == 0);
    loop {
        let Some(name) = strings.next() else { return true };
        // An empty name ends the list early: what the server would then make of the rest is its affair, not a guess of ours.
        let is_name = name.len() > 1 && name.ends_with(&[0]);
        if !is_name || !strings.next().is_some_and(|value| value.ends_with(&[0])) {
            return false;
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let length = (HEADER_BYTES + body.len()) as u32;
        [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
    }

    const VERSION_3_0: u32 = 3 << 16;

    #[test]
    fn each_kind_is_read() {
        let list = b"user\0shop\0database\0orders\0application_name\0\0\0";
        for (bytes, kind) in [
            (SSL_REQUEST.to_vec(), Packet::Ssl),
            (packet(GSS_CODE, b""), Packet::Gss),
            (packet(CANCEL_CODE, &[1; 8]), Packet::Cancel),
            (packet(CANCEL_CODE, &[1; 260]), Packet::Cancel),
            (packet(VERSION_3_0, list), Packet::Startup { major: 3 }),
            (packet(VERSION_3_0 + 2, b"\0"), Packet::Startup { major: 3 }),
            (packet(2 << 16, &[0; 288]), Packet::Startup { major: 2 }),
        ] {
            assert_eq!(parse(&bytes), Ok(Progress::Complete(kind, bytes.len())));
            let more = [&bytes[..], b"more"].concat();
            assert_eq!(parse(&more), Ok(Progress::Complete(kind, bytes.len())));
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Ok(Progress::Partial), "{kind:?} cut at {end}");
            }
        }
        assert_eq!(cancel_key(&packet(CANCEL_CODE, &[1, 2, 3, 4, 5])), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_no_packet_is_refused_as_early_as_can_be() {
        assert_eq!(parse(&7u32.to_be_bytes()), Err(Malformed::Length(7)));
        assert_eq!(parse(&10_001u32.to_be_bytes()), Err(Malformed::Length(10_001)));
        assert_eq!(parse(b"GET / HTTP/1.1"), Err(Malformed::Length(0x4745_5420)));
        assert!(matches!(parse(&[TLS_HANDSHAKE, 3, 1, 2]), Err(Malformed::Length(_))));
        assert_eq!(parse(&packet(SSL_CODE, b"x")), Err(Malformed::Request(9)));
        assert_eq!(parse(&packet(CANCEL_CODE, &[0; 4])), Err(Malformed::Request(12)));
        assert_eq!(parse(&packet(CANCEL_CODE, &[0; 261])), Err(Malformed::Request(269)));
        for wrong in [&b""[..], b"user\0shop\0", b"user\0\0", b"user\0shop\0\0\0", b"user\0shop", b"\0\0\0"] {
            assert_eq!(parse(&packet(VERSION_3_0, wrong)), Err(Malformed::Parameters), "{wrong:?}");
        }
    }
}
