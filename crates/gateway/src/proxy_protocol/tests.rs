use super::*;

fn proxied(source: &str, destination: &str) -> Header {
    Header::Proxied {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    }
}

/// A header of version 2 by its parts.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = v2::SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

const FOUR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x01, 0xBB];

fn six() -> Vec<u8> {
    let mut body = vec![0; 36];
    body[..2].copy_from_slice(&[0x20, 0x01]);
    body[15] = 7;
    body[31] = 1;
    body[32..].copy_from_slice(&[0x30, 0x39, 0x01, 0xBB]);
    body
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes
}

fn with(addresses: &[u8], tlvs: &[Vec<u8>]) -> Vec<u8> {
    [addresses, &tlvs.concat()].concat()
}

/// A header for IPv4 with these extensions around a right checksum.
fn checked(before: &[Vec<u8>], after: &[Vec<u8>]) -> Vec<u8> {
    let tlvs = [before, &[tlv(3, &[0; 4])], after].concat();
    let mut bytes = v2(0x21, 0x11, &with(&FOUR, &tlvs));
    let at = v2::FIXED_BYTES + FOUR.len() + before.concat().len() + 3;
    let sum = crc32c::sum(&[&bytes]);
    bytes[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// What is taken, and as what.
fn good() -> Vec<(Vec<u8>, Header)> {
    let four = proxied("192.0.2.7:12345", "198.51.100.1:443");
    let line = |text: &str| format!("{text}\r\n").into_bytes();
    let unix = [&[b'/'; 216][..], &tlv(4, b"")].concat();
    vec![
        (line("PROXY TCP4 192.0.2.7 198.51.100.1 12345 443"), four),
        (
            line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535"),
            proxied("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        (line("PROXY TCP4 0.0.0.0 0.0.0.0 0 0"), proxied("0.0.0.0:0", "0.0.0.0:0")),
        (line("PROXY TCP6 2001:db8::7 ::1 1 65535"), proxied("[2001:db8::7]:1", "[::1]:65535")),
        (line("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2"), proxied("[::ffff:192.0.2.7]:1", "[::1]:2")),
        (line("PROXY UNKNOWN"), Header::Local),
        (line("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535"), Header::Local),
        (line(&format!("PROXY UNKNOWN {}", "x".repeat(91))), Header::Local),
        (v2(0x21, 0x11, &FOUR), four),
        (v2(0x21, 0x21, &six()), proxied("[2001::7]:12345", "[::1]:443")),
        (v2(0x21, 0x31, &unix), Header::Local),
        (v2(0x21, 0x00, b""), Header::Local),
        (v2(0x21, 0x00, b"anything"), Header::Local),
        (v2(0x20, 0x00, b""), Header::Local),
        (v2(0x20, 0x11, &FOUR), Header::Local),
        (v2(0x20, 0xEE, b"any"), Header::Local),
        (v2(0x21, 0x11, &with(&FOUR, &[tlv(4, b"padding"), tlv(0xE0, b""), tlv(2, b"shop.test")])), four),
        (v2(0x21, 0x11, &with(&FOUR, &[tlv(4, &vec![0; MAX_BYTES - 16 - 12 - 3])])), four),
        (checked(&[], &[]), four),
        (checked(&[tlv(2, b"shop.test")], &[tlv(4, b"xx"), tlv(5, b"id")]), four),
    ]
}

#[test]
fn headers_are_read_at_every_split_and_nothing_behind_them() {
    for (bytes, header) in good() {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(Progress::Partial), "{end} of {:?}", bytes.escape_ascii().to_string());
        }
        for behind in [&b""[..], b"\r", b"\n", b"PROXY ", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"] {
            let all = [&bytes[..], behind].concat();
            assert_eq!(parse(&all), Ok(Progress::Complete(header, bytes.len())), "{}", all.escape_ascii());
        }
    }
}

#[test]
fn lines_that_are_not_as_they_must_be_are_refused() {
    let table: &[(&str, Malformed)] = &[
        ("GET / HTTP/1.1\r\n", Malformed::NotOne),
        ("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::NotOne),
        (" PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::NotOne),
        ("PROXY\r\n", Malformed::NotOne),
        ("PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::NotOne),
        ("POST / HTTP/1.1\r\n", Malformed::NotOne),
        ("\x16\x03\x01\x02\x00", Malformed::NotOne),
        ("PROXY \r\n", Malformed::Line),
        ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY TCP4\r\n", Malformed::Line),
        ("PROXY TCP4 \r\n", Malformed::Line),
        ("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY UNKNOWNX\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n", Malformed::Line),
        ("PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 256.2.3.4 1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Malformed::Line),
        ("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY TCP6 [::1] [::1] 1 2\r\n", Malformed::Line),
        ("PROXY TCP6 ::1%lo ::1 1 2\r\n", Malformed::Line),
        ("PROXY TCP6 fe80::1::2 ::1 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 localhost 1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4\r1.2.3.4 1 2\r\n", Malformed::Line),
        ("PROXY UNKNOWN \u{fffd}\n\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\0\r\n", Malformed::Line),
    ];
    for (text, expected) in table {
        assert_eq!(parse(text.as_bytes()), Err(*expected), "{text:?}");
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(parse(long.as_bytes()), Err(Malformed::EndlessLine));
    assert_eq!(parse(format!("PROXY UNKNOWN {}", "x".repeat(93)).as_bytes()), Err(Malformed::EndlessLine));
    assert_eq!(parse(&long.as_bytes()[..106]), Ok(Progress::Partial));
    assert_eq!(parse(b"PROXY UNKNOWN \xff\r\n"), Err(Malformed::Line), "not even text");
}

#[test]
fn blocks_that_are_not_as_they_must_be_are_refused() {
    let wrong_sum = |bit: usize| {
        let mut bytes = checked(&[tlv(2, b"shop.test")], &[]);
        bytes[16 + bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let table = [
        (v2(0x11, 0x11, &FOUR), Malformed::Version),
        (v2(0x31, 0x11, &FOUR), Malformed::Version),
        (v2(0x01, 0x11, &FOUR), Malformed::Version),
        (v2(0x22, 0x11, &FOUR), Malformed::Command),
        (v2(0x2F, 0x11, &FOUR), Malformed::Command),
        (v2(0x21, 0x10, &FOUR), Malformed::Family),
        (v2(0x21, 0x12, &FOUR), Malformed::Family),
        (v2(0x21, 0x22, &six()), Malformed::Family),
        (v2(0x21, 0x32, &[0; 216]), Malformed::Family),
        (v2(0x21, 0x41, &FOUR), Malformed::Family),
        (v2(0x21, 0x13, &FOUR), Malformed::Family),
        (v2(0x21, 0x01, b""), Malformed::Family),
        (v2(0x21, 0x11, b""), Malformed::Short),
        (v2(0x21, 0x11, &FOUR[..11]), Malformed::Short),
        (v2(0x21, 0x21, &FOUR), Malformed::Short),
        (v2(0x21, 0x31, &[0; 215]), Malformed::Short),
        (v2(0x21, 0x11, &[0; MAX_BYTES - 15]), Malformed::Long),
        (v2(0x20, 0x00, &[0; 65_535]), Malformed::Long),
        (v2(0x21, 0x11, &with(&FOUR, &[vec![4]])), Malformed::Extension),
        (v2(0x21, 0x11, &with(&FOUR, &[vec![4, 0]])), Malformed::Extension),
        (v2(0x21, 0x11, &with(&FOUR, &[vec![4, 0, 1]])), Malformed::Extension),
        (v2(0x21, 0x11, &with(&FOUR, &[vec![4, 0xFF, 0xFF, 0]])), Malformed::Extension),
        (v2(0x21, 0x11, &with(&FOUR, &[tlv(4, b"x"), vec![0, 0]])), Malformed::Extension),
        (v2(0x21, 0x11, &with(&FOUR, &[tlv(3, b"")])), Malformed::Extension),
        (v2(0x21, 0x11, &with(&FOUR, &[tlv(3, &[0; 5])])), Malformed::Extension),
        (v2(0x21, 0x11, &with(&FOUR, &[tlv(3, &[0; 4])])), Malformed::Checksum),
        (checked(&[], &[tlv(3, &[0; 4])]), Malformed::Checksum),
        (wrong_sum(0), Malformed::Checksum),
        (wrong_sum(12 * 8 + 3 * 8), Malformed::Checksum),
    ];
    for (bytes, expected) in table {
        assert_eq!(parse(&bytes), Err(expected), "{}", bytes.escape_ascii());
    }
    for at in 0..v2::SIGNATURE.len() {
        let mut bytes = v2(0x21, 0x11, &FOUR);
        bytes[at] ^= 1;
        assert_eq!(parse(&bytes), Err(Malformed::NotOne), "byte {at}");
        assert_eq!(parse(&bytes[..=at]), Err(Malformed::NotOne), "byte {at} at once");
    }
}

#[test]
fn what_is_refused_is_refused_however_it_goes_on_and_nothing_panics() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let seeds: Vec<Vec<u8>> = good().into_iter().map(|(bytes, _header)| bytes).collect();
    for _round in 0..20_000 {
        let mut bytes = seeds[random() % seeds.len()].clone();
        for _change in 0..random() % 4 {
            let at = random() % bytes.len();
            match random() % 3 {
                0 => bytes[at] = random() as u8,
                1 => drop(bytes.remove(at)),
                _insert => bytes.insert(at, random() as u8),
            }
        }
        let mut verdict = Ok(Progress::Partial);
        for end in (0..=bytes.len()).filter(|end| *end < 80 || end % 97 == 0 || *end == bytes.len()) {
            let now = parse(&bytes[..end]);
            match verdict {
                Ok(Progress::Partial) => verdict = now,
                settled => assert_eq!(settled, now, "{}", bytes.escape_ascii()),
            }
            if let Ok(Progress::Complete(_, length)) = now {
                assert!(length <= end && length <= MAX_BYTES);
            }
        }
    }
}
