//! Requests as clients send them, and what may happen to their bytes: everything that proxies were ever smuggled past with,
//! in random combinations from a seed.

/// A small generator of random numbers, so that a seed gives the same requests everywhere.
pub struct Random(u64);

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound.max(1)
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// The bytes of a case. Every target names the case.
pub fn request(case: usize) -> Vec<u8> {
    let mut random = Random::seeded(case as u64 + 1);
    let mut bytes = base(case, &mut random).into_bytes();
    for _round in 0..=random.below(3) {
        mutate(case, &mut bytes, &mut random);
    }
    bytes
}

fn base(case: usize, random: &mut Random) -> String {
    let inner = format!("GET /c{case}/inner HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let head = |method: &str, more: &str| {
        format!("{method} /c{case}/first HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\n{more}Accept: */*\r\n\r\n")
    };
    let chunked = format!("{:x}\r\n{inner}\r\n5;e=1\r\nhello\r\n0\r\n\r\n", inner.len());
    match random.below(10) {
        0 => head("GET", ""),
        1 => head("POST", &format!("Content-Length: {}\r\n", inner.len())) + &inner,
        2 => head("POST", "Transfer-Encoding: chunked\r\n") + &chunked,
        3 => head("GET", "") + &inner,
        4 => head("HEAD", "") + &inner,
        5 => head("OPTIONS", "Content-Length: 5\r\n") + "hello" + &inner,
        6 => head("POST", "Transfer-Encoding: chunked\r\nTrailer: x\r\n") + "5\r\nhello\r\n0\r\nX: 1\r\n\r\n" + &inner,
        7 => format!("GET http://a.test/c{case}/first HTTP/1.1\r\nHost: a.test\r\n\r\n{inner}"),
        8 => format!("POST /c{case}/first HTTP/1.0\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
        _ => head("PUT", "Expect: 100-continue\r\nContent-Length: 5\r\n") + "hello" + &inner,
    }
}

const HEADERS: &[&str] = &[
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: \x0bchunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding:",
    "Transfer_Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "Content-Length: 0",
    "Content-Length: 3",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 0x5",
    "Content-Length:",
    "Content-Length : 4",
    "Content-Length: 5 ",
    "Content_Length: 3",
    "Content-Length: 99999999999999999999",
    "Connection: close",
    "Connection: Content-Length",
    "Connection: Transfer-Encoding",
    "Connection: Host, keep-alive",
    "Connection: upgrade\r\nUpgrade: websocket",
    "Connection: upgrade\r\nUpgrade: h2c",
    "Host: b.test",
    "Host:",
    "Host: a.test:80",
    "Host: a b",
    "Expect: 100-continue",
    "TE: trailers",
    "Keep-Alive: timeout=1",
    "Max-Forwards: 1",
    " folded",
    "\tfolded",
    "X-No-Colon",
    ": empty",
    "X\0Y: 1",
    "X: \x7f\x01",
    "X: caf\u{e9}",
];

/// `@` stands for the case.
const TARGETS: &[&str] = &[
    "/@",
    "//a.test/@",
    "/%2e%2e/@",
    "/a%00b/@",
    "/@#b",
    "/@?b=c d",
    "/\\/@",
    "http://b.test/@",
    "https://a.test/@",
    "@",
    "/%zz/@",
    "/@/../@",
    "/@%20x",
    "/@?%0d%0aX:y",
    "",
];

const LINE_ENDS: &[&[u8]] = &[b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r\n\r\n", b" \r\n", b"\r\n ", b"\0\r\n", b""];

const SIZES: &[&str] = &[
    "0",
    "00005",
    "5 ",
    " 5",
    "0x5",
    "+5",
    "-1",
    "5;",
    "5;x=\"",
    "5\t",
    "A",
    "fffffffffffffffff",
    "g",
    "",
    "5\r",
    "7",
];

fn mutate(case: usize, bytes: &mut Vec<u8>, random: &mut Random) {
    match random.below(13) {
        0 | 1 => insert_line(bytes, random),
        2 => with_line(bytes, random, |line, _random| [line, b"\r\n", line].concat()),
        3 => with_line(bytes, random, |_line, _random| Vec::new()),
        4 => replace(bytes, random, b"\r\n", |random| random.of(LINE_ENDS).to_vec()),
        5 => replace(bytes, random, b":", |random| random.of(&[" :", "\t:", ":\t", "", "::", ":  "]).into()),
        6 => with_line(bytes, random, |line, random| {
            let flip =
                |byte: &u8, turn: usize| if turn == 0 { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
            line.iter().map(|byte| flip(byte, random.below(2))).collect()
        }),
        7 => {
            let (at, byte) = (random.below(bytes.len() + 1), random.of(b"\0\x01\t\n\x0b\r !\"#%:;?@\x7f\x80\xff0Z"));
            bytes.insert(at, byte);
        }
        8 => {
            let at = random.below(bytes.len());
            bytes.remove(at);
        }
        9 => replace(bytes, random, b"HTTP/1.1", |random| {
            random
                .of(&[
                    "HTTP/1.0",
                    "HTTP/1.2",
                    "HTTP/2.0",
                    "http/1.1",
                    "HTTP/0.9",
                    "HTTP/1.1 ",
                    "HTTP/1",
                    "HTTP/01.1",
                    "",
                ])
                .into()
        }),
        10 => replace(bytes, random, b"\r\n5", |random| format!("\r\n{}", random.of(SIZES)).into_bytes()),
        11 => {
            let target = random.of(TARGETS).replace('@', &format!("c{case}"));
            let line = bytes.iter().position(|byte| *byte == b'\r').unwrap_or(bytes.len());
            let words = String::from_utf8_lossy(&bytes[..line]).into_owned();
            let mut words: Vec<&str> = words.split(' ').collect();
            if let Some(word) = words.get_mut(1) {
                *word = &target;
            }
            bytes.splice(..line, words.join(" ").into_bytes());
        }
        _ => match random.below(3) {
            0 => bytes.truncate(bytes.len() - random.below(bytes.len().min(40))),
            1 => bytes.extend_from_within(..),
            _ => bytes.extend_from_slice(random.of(&[&b"\r\n"[..], b"0\r\n\r\n", b"G", b"\0", b"\n\n"])),
        },
    }
    if bytes.is_empty() {
        bytes.push(b'G');
    }
}

fn insert_line(bytes: &mut Vec<u8>, random: &mut Random) {
    let ends: Vec<usize> =
        bytes.windows(2).enumerate().filter(|(_at, pair)| *pair == b"\r\n").map(|(at, _pair)| at).collect();
    if let Some(at) = ends.get(random.below(ends.len().min(5))) {
        let line = [random.of(HEADERS).as_bytes(), b"\r\n"].concat();
        bytes.splice(at + 2..at + 2, line);
    }
}

fn with_line(bytes: &mut Vec<u8>, random: &mut Random, change: impl FnOnce(&[u8], &mut Random) -> Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = &bytes[..];
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(rest[..at].to_vec());
        rest = &rest[at + 2..];
    }
    lines.push(rest.to_vec());
    let at = random.below(lines.len());
    let changed = change(&lines[at], random);
    lines[at] = changed;
    *bytes = lines.join(&b"\r\n"[..]);
}

fn replace(bytes: &mut Vec<u8>, random: &mut Random, what: &[u8], with: impl FnOnce(&mut Random) -> Vec<u8>) {
    let places = bytes.windows(what.len()).enumerate().filter(|(_at, window)| *window == what);
    let places: Vec<usize> = places.map(|(at, _window)| at).collect();
    if let Some(at) = places.get(random.below(places.len())) {
        let new = with(random);
        bytes.splice(*at..at + what.len(), new);
    }
}
