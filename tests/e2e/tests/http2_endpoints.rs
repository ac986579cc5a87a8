//! Endpoints that break HTTP/2 (RFC 9113), frame by frame: the client gets a whole response or learns that there is none,
//! nothing malformed is passed on, and the next request is served.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::h2::{H2, PREFACE, Said, flag, frame, kind};
use mainstay_e2e::wire::Broken;
use mainstay_e2e::{Mainstay, Wire, free};

/// What the client must see.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// The response with the body `ok`.
    Served,
    /// The gateway's own answer, 502 to 504.
    Refused,
    /// That, or, if the head was passed on already, a response that is visibly not whole.
    NotWhole,
    /// Any of the three: the response was whole before the fault.
    Any,
}

use Verdict::{Any, NotWhole, Refused, Served};

/// A frame to answer with: kind, flags, stream, payload. Stream [`S`] is the request's.
type Answer = (u8, u8, u32, &'static [u8]);
type Case = (&'static str, &'static str, &'static [Answer], Verdict);

const S: u32 = 0x7fff_fff0;
const EH: u8 = flag::END_HEADERS;
const ES: u8 = flag::END_STREAM;
/// `:status: 200`.
const OK: Answer = (kind::HEADERS, EH, S, b"\x88");
const BODY: Answer = (kind::DATA, ES, S, b"ok");

/// HEADERS that end the stream.
const fn head(block: &'static [u8]) -> Answer {
    (kind::HEADERS, EH | ES, S, block)
}

/// HEADERS that do not.
const fn open(block: &'static [u8]) -> Answer {
    (kind::HEADERS, EH, S, block)
}

const HARMLESS: &[Case] = &[
    ("8.1", "a plain response", &[OK, BODY], Served),
    (
        "8.1",
        "an empty DATA frame that ends the body",
        &[OK, (kind::DATA, 0, S, b"ok"), (kind::DATA, ES, S, b"")],
        Served,
    ),
    (
        "6.1",
        "padding",
        &[(kind::HEADERS, EH | 8, S, b"\x02\x88\0\0"), (kind::DATA, ES | 8, S, b"\x03ok\0\0\0")],
        Served,
    ),
    ("6.10", "a head in two frames", &[(kind::HEADERS, 0, S, b""), (kind::CONTINUATION, EH, S, b"\x88"), BODY], Served),
    ("8.1", "an interim response", &[open(b"\x08\x03103"), OK, BODY], Served),
    ("8.1", "trailers", &[OK, (kind::DATA, 0, S, b"ok"), head(b"\x00\x05x-sum\x017")], Served),
    ("8.1.1", "content-length", &[open(b"\x88\x0f\x0d\x012"), BODY], Served),
    ("5.5", "frames that nobody knows", &[(0x42, 0xff, 0, b"abc"), OK, (0x42, 0, S, b""), BODY], Served),
    ("5.3.2", "PRIORITY", &[(kind::PRIORITY, 0, S, b"\0\0\0\0\x10"), OK, BODY], Served),
    (
        "6.5",
        "settings, and a table of no size",
        &[(kind::SETTINGS, 0, 0, b"\0\x01\0\0\0\0\x42\x42\0\0\0\x01"), OK, BODY],
        Served,
    ),
    ("6.7", "PING between head and body", &[OK, (kind::PING, 0, 0, b"12345678"), BODY], Served),
    (
        "6.9",
        "WINDOW_UPDATE",
        &[(kind::WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"), (kind::WINDOW_UPDATE, 0, S, b"\0\0\0\x01"), OK, BODY],
        Served,
    ),
    ("8.1", "RST_STREAM of NO_ERROR behind a response", &[OK, BODY, (kind::RST_STREAM, 0, S, b"\0\0\0\0")], Served),
    (
        "6.8",
        "GOAWAY, and the response all the same",
        &[(kind::GOAWAY, 0, 0, b"\x7f\xff\xff\xff\0\0\0\0"), OK, BODY],
        Served,
    ),
    ("5.1", "DATA behind the end", &[OK, BODY, BODY], Any),
    ("RFC 7541 4.2", "a change of the table's size", &[open(b"\x20\x3f\xe1\x1f\x88"), BODY], Served),
];

const HEADS: &[Case] = &[
    ("8.3.2", "no :status", &[head(b"\x00\x01a\x01b")], Refused),
    ("8.3.2", "an empty block", &[head(b"")], Refused),
    ("8.3", ":status twice", &[head(b"\x88\x88")], Refused),
    ("8.3.2", ":status of two digits", &[head(b"\x08\x0220")], Refused),
    ("8.3.2", ":status of four digits", &[head(b"\x08\x042000")], Refused),
    ("8.3.2", ":status that is no number", &[head(b"\x08\x03abc")], Refused),
    ("8.6", "101", &[head(b"\x08\x03101")], Refused),
    ("8.3", ":status behind another field", &[head(b"\x00\x01a\x01b\x88")], Refused),
    ("8.3", "a pseudo-header field of requests", &[head(b"\x88\x84")], Refused),
    ("8.3", "an unknown pseudo-header field", &[head(b"\x88\x00\x02:x\x01y")], Refused),
    ("8.2.1", "a name in capitals", &[head(b"\x88\x00\x01A\x01b")], Refused),
    ("8.2.1", "an empty name", &[head(b"\x88\x00\x00\x01b")], Refused),
    ("8.2.1", "a colon in a name", &[head(b"\x88\x00\x03a:b\x01b")], Refused),
    ("8.2.1", "a line end in a value", &[head(b"\x88\x00\x01a\x06b\r\nc:d")], Refused),
    ("8.2.1", "NUL in a value", &[head(b"\x88\x00\x01a\x02b\0")], Refused),
    ("8.2.2", "connection", &[head(b"\x88\x00\x0aconnection\x05close")], Refused),
    ("8.2.2", "transfer-encoding", &[head(b"\x88\x0f\x2a\x07chunked")], Refused),
    ("8.1.1", "content-length that is no number", &[head(b"\x88\x0f\x0d\x02-1")], Refused),
    ("8.1.1", "content-length without a body", &[head(b"\x88\x0f\x0d\x015")], Refused),
    ("8.1", "an interim response that ends the stream", &[head(b"\x08\x03103")], Refused),
    ("RFC 7541 6.1", "index 0", &[head(b"\x88\x80")], Refused),
    ("RFC 7541 2.3.3", "an index beyond the tables", &[head(b"\x88\xbe")], Refused),
    ("RFC 7541 5.2", "a string longer than the block", &[head(b"\x88\x00\x7f\x00a")], Refused),
    ("RFC 7541 6.3", "a table larger than allowed", &[head(b"\x3f\xe2\x1f\x88")], Refused),
];

const FRAMES: &[Case] = &[
    ("8.1", "DATA before a head", &[BODY], Refused),
    ("5.1", "HEADERS on an idle stream", &[(kind::HEADERS, EH | ES, 0x7fff, b"\x88")], Refused),
    (
        "8.4",
        "PUSH_PROMISE, which was not allowed",
        &[(kind::PUSH_PROMISE, EH, S, b"\0\0\0\x02\x82\x86\x84\x01\x01a")],
        Refused,
    ),
    ("5.1.1", "a stream of the endpoint's", &[(kind::HEADERS, EH | ES, 2, b"\x88")], Refused),
    ("6.4", "RST_STREAM instead of a response", &[(kind::RST_STREAM, 0, S, b"\0\0\0\x02")], Refused),
    ("6.4", "RST_STREAM of NO_ERROR instead of a response", &[(kind::RST_STREAM, 0, S, b"\0\0\0\0")], Refused),
    ("8.7", "REFUSED_STREAM, whenever it is asked", &[(kind::RST_STREAM, 0, S, b"\0\0\0\x07")], Refused),
    ("6.8", "GOAWAY that leaves the request out", &[(kind::GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0")], Refused),
    ("6.1", "DATA on stream 0", &[(kind::DATA, 0, 0, b"x")], Refused),
    ("6.5", "SETTINGS on a stream", &[(kind::SETTINGS, 0, S, b"")], Refused),
    ("6.5", "SETTINGS of 5 bytes", &[(kind::SETTINGS, 0, 0, b"12345")], Refused),
    ("6.5.2", "a server that allows push", &[(kind::SETTINGS, 0, 0, b"\0\x02\0\0\0\x01")], Refused),
    ("6.5.2", "a window of 2^31", &[(kind::SETTINGS, 0, 0, b"\0\x04\x80\0\0\0")], Refused),
    ("6.5.2", "frames of 16,383 bytes", &[(kind::SETTINGS, 0, 0, b"\0\x05\0\0\x3f\xff")], Refused),
    ("6.7", "PING of 4 bytes", &[(kind::PING, 0, 0, b"1234")], Refused),
    ("6.8", "GOAWAY of 4 bytes", &[(kind::GOAWAY, 0, 0, b"1234")], Refused),
    ("6.9", "WINDOW_UPDATE by 0", &[(kind::WINDOW_UPDATE, 0, 0, b"\0\0\0\0")], Refused),
    ("6.9.1", "the connection's window over 2^31-1", &[(kind::WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")], Refused),
    ("6.9.1", "a stream's window over 2^31-1", &[(kind::WINDOW_UPDATE, 0, S, b"\x7f\xff\xff\xff")], Refused),
    ("4.2", "a frame larger than allowed", &[(kind::PING, 0, 0, &[0; 16_385])], Refused),
    ("6.10", "CONTINUATION of nothing", &[(kind::CONTINUATION, EH, S, b"\x88")], Refused),
    ("6.10", "DATA inside a header block", &[(kind::HEADERS, 0, S, b"\x88"), BODY], Refused),
    ("6.2", "padding longer than HEADERS", &[(kind::HEADERS, EH | ES | 8, S, b"\x05\x88")], Refused),
];

const CUT: &[Case] = &[
    ("8.1.1", "less DATA than content-length", &[open(b"\x88\x0f\x0d\x015"), BODY], NotWhole),
    (
        "8.1.1",
        "more DATA than content-length",
        &[open(b"\x88\x0f\x0d\x013"), (kind::DATA, ES, S, b"too much")],
        NotWhole,
    ),
    (
        "6.4",
        "RST_STREAM in the middle of a body",
        &[OK, (kind::DATA, 0, S, b"o"), (kind::RST_STREAM, 0, S, b"\0\0\0\x02")],
        NotWhole,
    ),
    (
        "6.4",
        "RST_STREAM of NO_ERROR in the middle of a body",
        &[OK, (kind::DATA, 0, S, b"o"), (kind::RST_STREAM, 0, S, b"\0\0\0\0")],
        NotWhole,
    ),
    (
        "5.4.1",
        "a broken frame in the middle of a body",
        &[OK, (kind::DATA, 0, S, b"o"), (kind::PING, 0, 0, b"")],
        NotWhole,
    ),
    ("8.1", "trailers that do not end the stream", &[OK, (kind::DATA, 0, S, b"o"), open(b"\x00\x01a\x01b")], NotWhole),
    ("8.3", ":status in trailers", &[OK, (kind::DATA, 0, S, b"o"), head(b"\x88")], NotWhole),
    ("8.2.1", "a line end in trailers", &[OK, (kind::DATA, 0, S, b"o"), head(b"\x00\x01a\x03b\r\n")], NotWhole),
    ("6.1", "padding longer than DATA", &[OK, (kind::DATA, ES | 8, S, b"\x09o")], NotWhole),
    ("RFC 7541 6.1", "index 0 in trailers", &[OK, (kind::DATA, 0, S, b"o"), head(b"\x80")], NotWhole),
];

fn all() -> Vec<Case> {
    [HARMLESS, HEADS, FRAMES, CUT].concat()
}

/// An endpoint that answers `/N` with the frames of case N, and everything else well.
fn endpoint() -> SocketAddr {
    let address = free();
    let listener = TcpListener::bind(address).expect("a free address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten().take(10_000) {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    stream.read_exact(&mut [0; PREFACE.len()]).ok()?;
    let mut wire = H2::over(stream);
    let settings = wire.settings(&[]);
    wire.send(&settings).ok()?;
    for _frame in 0..100_000 {
        match wire.hear().ok()? {
            Said::Head { stream, fields, .. } => {
                let path = &fields.iter().find(|(name, _)| name == ":path")?.1;
                let case = path
                    .strip_prefix('/')
                    .and_then(|path| path.parse().ok())
                    .and_then(|nth: usize| all().get(nth).copied());
                let frames = case.map_or(&[OK, BODY][..], |(_, _, frames, _)| frames);
                let bytes = frames.iter().flat_map(|(kind, flags, id, payload)| {
                    frame(*kind, *flags, if *id == S { stream } else { *id }, payload)
                });
                wire.send(&bytes.collect::<Vec<u8>>()).ok()?;
            }
            Said::Closed => return None,
            _other => {}
        }
    }
    None
}

fn judge(listen: SocketAddr, nth: usize, verdict: Verdict) -> Result<(), String> {
    let mut wire = Wire::try_connect(listen, Duration::from_secs(8)).map_err(|broken| broken.to_string())?;
    wire.send(format!("GET /{nth} HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n")).map_err(|error| error.to_string())?;
    match (verdict, wire.response()) {
        (Served | Any, Ok(response)) if response.status == 200 && response.text() == "ok" => Ok(()),
        (Refused | NotWhole | Any, Ok(response)) if (502..=504).contains(&response.status) => Ok(()),
        (NotWhole | Any, Err(Broken::Truncated(Some(200)) | Broken::Reset)) => Ok(()),
        (_, Ok(response)) => Err(format!("{} {:?} {:?}", response.status, response.reason(), response.text())),
        (_, Err(broken)) => Err(broken.to_string()),
    }
}

#[test]
fn an_endpoint_that_breaks_the_protocol_harms_its_own_response_only() {
    let listen = free();
    let service = "protocol = \"http2\"\nhealth = \"off\"\noutlier = \"off\"";
    let mut gateway = Mainstay::start(&simple(listen, &[endpoint()], service));
    let cases = all();
    let mut wrong = Vec::new();
    for (nth, (section, name, _, verdict)) in cases.iter().enumerate() {
        if let Err(what) = judge(listen, nth, *verdict) {
            wrong.push(format!("{section}, {name}: {what} (verdict {verdict:?})"));
        }
        let after = Wire::connect(listen).exchange("GET /good HTTP/1.1\r\nHost: a\r\n\r\n");
        if after.status != 200 {
            wrong.push(format!("{section}, {name}: {} {:?} afterwards", after.status, after.reason()));
        }
    }
    assert!(gateway.process().is_running(), "the gateway is gone:\n{}", gateway.stderr());
    assert!(wrong.is_empty(), "{} faults in {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
