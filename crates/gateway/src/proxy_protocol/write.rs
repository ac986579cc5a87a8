//! Headers for endpoints.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::v2;
use crate::spec::ProxyVersion;

/// A header for a connection that carries what `source` sent to `destination`.
pub(crate) fn proxied(version: ProxyVersion, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (from, to) = one_family(source.ip().to_canonical(), destination.ip().to_canonical());
    match version {
        ProxyVersion::V1 => {
            let word = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let mut line = Vec::with_capacity(super::v1::MAX_BYTES);
            // Writing to a vector cannot fail.
            let _written = write!(line, "PROXY {word} {from} {to} {} {}\r\n", source.port(), destination.port());
            line
        }
        ProxyVersion::V2 => {
            let mut body = Vec::with_capacity(36);
            for address in [from, to] {
                match address {
                    IpAddr::V4(address) => body.extend_from_slice(&address.octets()),
                    IpAddr::V6(address) => body.extend_from_slice(&address.octets()),
                }
            }
            for port in [source.port(), destination.port()] {
                body.extend_from_slice(&port.to_be_bytes());
            }
            block(0x21, if from.is_ipv4() { 0x11 } else { 0x21 }, &body)
        }
    }
}

/// A header for a connection that the gateway makes for itself: a check.
pub(crate) fn local(version: ProxyVersion) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
        ProxyVersion::V2 => block(0x20, 0x00, &[]),
    }
}

/// There is no header for a pair of two families: the IPv4 address goes as its IPv6 form then.
fn one_family(source: IpAddr, destination: IpAddr) -> (IpAddr, IpAddr) {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V6(_)) => (source.to_ipv6_mapped().into(), destination),
        (IpAddr::V6(_), IpAddr::V4(destination)) => (source, destination.to_ipv6_mapped().into()),
        same => same,
    }
}

fn block(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(v2::FIXED_BYTES + body.len());
    bytes.extend_from_slice(&v2::SIGNATURE);
    bytes.extend_from_slice(&[command, family]);
    // At most 36 bytes.
    bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::{Header, Progress, parse};
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn bytes_as_the_protocol_wants_them() {
        let (source, destination) = (address("192.0.2.7:12345"), address("198.51.100.1:443"));
        assert_eq!(proxied(ProxyVersion::V1, source, destination), b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n");
        assert_eq!(
            proxied(ProxyVersion::V2, source, destination),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x30\x39\x01\xbb"
        );
        assert_eq!(local(ProxyVersion::V1), b"PROXY UNKNOWN\r\n");
        assert_eq!(local(ProxyVersion::V2), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        for (source, destination, read_source, read_destination) in [
            ("192.0.2.7:1", "198.51.100.1:65535", "192.0.2.7:1", "198.51.100.1:65535"),
            ("[2001:db8::7]:0", "[::1]:443", "[2001:db8::7]:0", "[::1]:443"),
            ("[::ffff:192.0.2.7]:5", "198.51.100.1:443", "192.0.2.7:5", "198.51.100.1:443"),
            ("192.0.2.7:5", "[::1]:443", "[::ffff:192.0.2.7]:5", "[::1]:443"),
            ("[2001:db8::7]:5", "198.51.100.1:443", "[2001:db8::7]:5", "[::ffff:198.51.100.1]:443"),
        ] {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let bytes = proxied(version, address(source), address(destination));
                let header = Header::Proxied { source: address(read_source), destination: address(read_destination) };
                assert_eq!(parse(&bytes), Ok(Progress::Complete(header, bytes.len())), "{source} {version:?}");
            }
        }
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let bytes = local(version);
            assert_eq!(parse(&bytes), Ok(Progress::Complete(Header::Local, bytes.len())));
        }
    }
}
