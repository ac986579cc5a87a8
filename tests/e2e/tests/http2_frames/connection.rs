//! Preface, settings, sizes of frames, flow control: RFC 9113 sections 3 to 6.

use mainstay_e2e::h2::code::{FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR};
use mainstay_e2e::h2::flag::{ACK, PADDED, PRIORITY};
use mainstay_e2e::h2::kind;

use crate::case::Step::{Answered, Frame, Instead, Raw, Settings, Zeros};
use crate::case::Verdict::{Connection, Either, Ended, Ignored, Status, Stream};
use crate::case::{Case, EH, ES, GET, WHOLE, get, last, post};

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
const SIZE: &[u32] = &[FRAME_SIZE_ERROR];
const FLOW: &[u32] = &[FLOW_CONTROL_ERROR];
/// A payload too short for what its flags promise: 6.1 and 6.2 have no word for it, 4.2 and the padding rule both fit.
const SHORT: &[u32] = &[FRAME_SIZE_ERROR, PROTOCOL_ERROR];
const SERVED: crate::case::Verdict = Status(1, 200);

pub const PREFACE: &[Case] = &[
    (
        "3.4",
        "a preface that ends otherwise",
        &[Instead(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n\0\0\0\x04\0\0\0\0\0")],
        Ended,
    ),
    ("3.4", "a preface of another version", &[Instead(b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")], Ended),
    ("3.4", "a preface of HTTP/1.1", &[Instead(b"PRI * HTTP/1.1\r\nHost: a\r\n\r\nSM\r\n\r\n")], Ended),
    (
        "3.4",
        "PING before SETTINGS",
        &[Instead(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x08\x06\0\0\0\0\0........")],
        Connection(PROTOCOL),
    ),
    (
        "3.4",
        "HEADERS before SETTINGS",
        &[Instead(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x01\x01a")],
        Connection(PROTOCOL),
    ),
    (
        "3.4",
        "an unknown frame before SETTINGS",
        &[Instead(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x21\0\0\0\0\0")],
        Connection(PROTOCOL),
    ),
    (
        "3.4",
        "SETTINGS ACK as the first frame",
        &[Instead(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\x01\0\0\0\0")],
        Connection(PROTOCOL),
    ),
    ("3.4", "requests before the server's SETTINGS", &[get(1)], SERVED),
];

pub const SETTINGS: &[Case] = &[
    ("6.5", "SETTINGS on a stream", &[Frame(kind::SETTINGS, 0, 1, b"")], Connection(PROTOCOL)),
    ("6.5", "SETTINGS of 5 bytes", &[Zeros(kind::SETTINGS, 0, 0, 5)], Connection(SIZE)),
    ("6.5", "SETTINGS of 7 bytes", &[Zeros(kind::SETTINGS, 0, 0, 7)], Connection(SIZE)),
    ("6.5", "SETTINGS ACK with a payload", &[Zeros(kind::SETTINGS, ACK, 0, 6)], Connection(SIZE)),
    ("6.5", "SETTINGS ACK with a byte", &[Zeros(kind::SETTINGS, ACK, 0, 1)], Connection(SIZE)),
    ("6.5", "SETTINGS ACK on a stream", &[Frame(kind::SETTINGS, ACK, 1, b"")], Connection(PROTOCOL)),
    ("6.5.2", "SETTINGS_ENABLE_PUSH of 2", &[Settings(&[(2, 2)])], Connection(PROTOCOL)),
    ("6.5.2", "SETTINGS_ENABLE_PUSH of 2^32-1", &[Settings(&[(2, u32::MAX)])], Connection(PROTOCOL)),
    ("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", &[Settings(&[(4, 1 << 31)])], Connection(FLOW)),
    ("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 0", &[Settings(&[(5, 0)])], Connection(PROTOCOL)),
    ("6.5.2", "SETTINGS_MAX_FRAME_SIZE below the least", &[Settings(&[(5, 16_383)])], Connection(PROTOCOL)),
    ("6.5.2", "SETTINGS_MAX_FRAME_SIZE above the largest", &[Settings(&[(5, 1 << 24)])], Connection(PROTOCOL)),
    ("6.5.2", "a wrong setting behind good ones", &[Settings(&[(1, 100), (3, 7), (5, 1)])], Connection(PROTOCOL)),
    (
        "6.5.2",
        "every setting at its edge",
        &[Settings(&[(2, 1), (4, (1 << 31) - 1), (5, (1 << 24) - 1), (6, u32::MAX)]), get(1)],
        SERVED,
    ),
    ("6.5.2", "the least of every setting", &[Settings(&[(1, 0), (2, 0), (3, 0), (5, 16_384)]), get(1)], SERVED),
    (
        "6.5.2",
        "settings that nobody knows",
        &[Settings(&[(0, 1), (7, 9), (0x1a2a, 5), (0xffff, u32::MAX)]), get(1)],
        SERVED,
    ),
    ("6.5.3", "a setting several times: the last holds", &[Settings(&[(4, 0), (4, 1), (4, 65_535)]), get(1)], SERVED),
    (
        "6.5.3",
        "settings again, and again none",
        &[Settings(&[]), Settings(&[(4, 70_000)]), Settings(&[]), get(1)],
        SERVED,
    ),
    (
        "6.5.3",
        "an acknowledgement that nobody waits for",
        &[Frame(kind::SETTINGS, ACK, 0, b""), Frame(kind::SETTINGS, ACK, 0, b""), get(1)],
        SERVED,
    ),
    (
        "RFC 7541 4.2",
        "the table's size changed to and fro",
        &[Settings(&[(1, 0)]), get(1), Answered(1), Settings(&[(1, 50)]), Settings(&[(1, 4096)]), get(3)],
        Status(3, 200),
    ),
    ("RFC 8441 3", "SETTINGS_ENABLE_CONNECT_PROTOCOL of 2", &[Settings(&[(8, 2)])], Connection(PROTOCOL)),
];

pub const SIZES: &[Case] = &[
    ("4.2", "DATA larger than allowed", &[post(1), Zeros(kind::DATA, ES, 1, 16_385)], Either(1, SIZE)),
    ("4.2", "DATA as large as allowed", &[post(1), Zeros(kind::DATA, ES, 1, 16_384)], SERVED),
    ("4.2", "HEADERS larger than allowed", &[Zeros(kind::HEADERS, WHOLE, 1, 16_385)], Connection(SIZE)),
    ("4.2", "SETTINGS larger than allowed", &[Zeros(kind::SETTINGS, 0, 0, 16_386)], Connection(SIZE)),
    ("4.2", "an unknown frame larger than allowed", &[Zeros(0x42, 0, 0, 16_385)], Connection(SIZE)),
    ("4.2", "the head of a frame of 2^24-1 bytes", &[Raw(b"\xff\xff\xff\x06\0\0\0\0\0")], Connection(SIZE)),
    ("6.3", "PRIORITY of 4 bytes", &[post(1), Zeros(kind::PRIORITY, 0, 1, 4)], Either(1, SIZE)),
    ("6.3", "PRIORITY of 6 bytes", &[post(1), Zeros(kind::PRIORITY, 0, 1, 6)], Either(1, SIZE)),
    ("6.4", "RST_STREAM of 3 bytes", &[post(1), Zeros(kind::RST_STREAM, 0, 1, 3)], Connection(SIZE)),
    ("6.4", "RST_STREAM of 5 bytes", &[post(1), Zeros(kind::RST_STREAM, 0, 1, 5)], Connection(SIZE)),
    ("6.7", "PING of 7 bytes", &[Zeros(kind::PING, 0, 0, 7)], Connection(SIZE)),
    ("6.7", "PING of 9 bytes", &[Zeros(kind::PING, 0, 0, 9)], Connection(SIZE)),
    ("6.7", "PING without a byte", &[Zeros(kind::PING, 0, 0, 0)], Connection(SIZE)),
    ("6.7", "PING ACK of 4 bytes", &[Zeros(kind::PING, ACK, 0, 4)], Connection(SIZE)),
    ("6.8", "GOAWAY of 7 bytes", &[Zeros(kind::GOAWAY, 0, 0, 7)], Connection(SIZE)),
    ("6.9", "WINDOW_UPDATE of 3 bytes", &[Zeros(kind::WINDOW_UPDATE, 0, 0, 3)], Connection(SIZE)),
    ("6.9", "WINDOW_UPDATE of 5 bytes on a stream", &[post(1), Zeros(kind::WINDOW_UPDATE, 0, 1, 5)], Connection(SIZE)),
    (
        "6.2",
        "HEADERS too short for their priority",
        &[Frame(kind::HEADERS, WHOLE | PRIORITY, 1, b"\0\0\0\0")],
        Connection(SHORT),
    ),
];

pub const PADDING: &[Case] = &[
    ("6.1", "padded DATA", &[post(1), Frame(kind::DATA, ES | PADDED, 1, b"\x03abc\0\0\0")], SERVED),
    ("6.1", "DATA of padding alone", &[post(1), Frame(kind::DATA, ES | PADDED, 1, b"\x03\0\0\0")], SERVED),
    (
        "6.1",
        "padding longer than DATA by one",
        &[post(1), Frame(kind::DATA, ES | PADDED, 1, b"\x04\0\0\0")],
        Connection(PROTOCOL),
    ),
    (
        "6.1",
        "padding of 255 in short DATA",
        &[post(1), Frame(kind::DATA, ES | PADDED, 1, b"\xffabc")],
        Connection(PROTOCOL),
    ),
    ("6.1", "padded DATA without the length", &[post(1), Frame(kind::DATA, ES | PADDED, 1, b"")], Connection(SHORT)),
    ("6.2", "padded HEADERS", &[Frame(kind::HEADERS, WHOLE | PADDED, 1, b"\x02\x82\x86\x84\x01\x01a\0\0")], SERVED),
    (
        "6.2",
        "padded HEADERS with a priority",
        &[Frame(kind::HEADERS, WHOLE | PADDED | PRIORITY, 1, b"\x01\0\0\0\0\x10\x82\x86\x84\x01\x01a\0")],
        SERVED,
    ),
    (
        "6.2",
        "padding longer than HEADERS",
        &[Frame(kind::HEADERS, WHOLE | PADDED, 1, b"\x07\x82\x86\x84\x01\x01a")],
        Connection(PROTOCOL),
    ),
    (
        "6.2",
        "padding that leaves no room for the priority",
        &[Frame(kind::HEADERS, WHOLE | PADDED | PRIORITY, 1, b"\x04\0\0\0\0\x10\0\0")],
        Connection(SHORT),
    ),
    ("6.2", "padded HEADERS without the length", &[Frame(kind::HEADERS, WHOLE | PADDED, 1, b"")], Connection(SHORT)),
];

pub const STREAM_ZERO: &[Case] = &[
    ("6.1", "DATA on stream 0", &[Frame(kind::DATA, ES, 0, b"abc")], Connection(PROTOCOL)),
    ("6.2", "HEADERS on stream 0", &[Frame(kind::HEADERS, WHOLE, 0, GET)], Connection(PROTOCOL)),
    ("6.3", "PRIORITY on stream 0", &[Zeros(kind::PRIORITY, 0, 0, 5)], Connection(PROTOCOL)),
    ("6.4", "RST_STREAM on stream 0", &[Zeros(kind::RST_STREAM, 0, 0, 4)], Connection(PROTOCOL)),
    (
        "6.6",
        "PUSH_PROMISE on stream 0",
        &[Frame(kind::PUSH_PROMISE, EH, 0, b"\0\0\0\x02\x82\x86\x84\x01\x01a")],
        Connection(PROTOCOL),
    ),
    (
        "6.6",
        "PUSH_PROMISE from a client",
        &[post(1), Frame(kind::PUSH_PROMISE, EH, 1, b"\0\0\0\x02\x82\x86\x84\x01\x01a")],
        Connection(PROTOCOL),
    ),
    ("6.7", "PING on a stream", &[Zeros(kind::PING, 0, 1, 8)], Connection(PROTOCOL)),
    ("6.8", "GOAWAY on a stream", &[Zeros(kind::GOAWAY, 0, 1, 8)], Connection(PROTOCOL)),
    ("6.10", "CONTINUATION on stream 0", &[Frame(kind::CONTINUATION, EH, 0, GET)], Connection(PROTOCOL)),
];

pub const HARMLESS: &[Case] = &[
    ("4.1", "the reserved bit of a stream's id", &[Frame(kind::HEADERS, WHOLE, 0x8000_0001, GET)], SERVED),
    ("4.1", "flags that mean nothing, on HEADERS", &[Frame(kind::HEADERS, WHOLE | 0xd2, 1, GET)], SERVED),
    ("4.1", "flags that mean nothing, on DATA", &[post(1), Frame(kind::DATA, ES | 0xf6, 1, b"abc")], SERVED),
    (
        "4.1",
        "flags that mean nothing, on SETTINGS and WINDOW_UPDATE",
        &[Frame(kind::SETTINGS, 0xfe, 0, b""), Frame(kind::WINDOW_UPDATE, 0xff, 0, b"\0\0\0\x01"), get(1)],
        SERVED,
    ),
    (
        "5.5",
        "frames that nobody knows",
        &[Zeros(0x0b, 0xff, 0, 100), Zeros(0xff, 0, 5, 0), post(1), Zeros(0x42, 1, 1, 7), last(1, b"x")],
        SERVED,
    ),
    ("6.7", "PING ACK that nobody waits for", &[Zeros(kind::PING, ACK, 0, 8), get(1)], SERVED),
    (
        "6.8",
        "GOAWAY, and what was asked before is served",
        &[get(1), Frame(kind::GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0")],
        SERVED,
    ),
    (
        "6.8",
        "GOAWAY with an unknown code and words",
        &[get(1), Frame(kind::GOAWAY, 0, 0, b"\x7f\xff\xff\xff\xde\xad\xbe\xefgood bye")],
        SERVED,
    ),
    ("7", "RST_STREAM with an unknown code", &[post(1), Frame(kind::RST_STREAM, 0, 1, b"\xde\xad\xbe\xef")], Ignored),
    ("5.3.2", "PRIORITY on an idle stream", &[Frame(kind::PRIORITY, 0, 9, b"\0\0\0\x01\x10"), get(1)], SERVED),
    ("5.3.2", "PRIORITY of a stream on itself", &[Frame(kind::PRIORITY, 0, 1, b"\0\0\0\x01\x10"), get(1)], SERVED),
    (
        "5.3.2",
        "HEADERS whose priority depends on itself",
        &[Frame(kind::HEADERS, WHOLE | PRIORITY, 1, b"\0\0\0\x01\x10\x82\x86\x84\x01\x01a")],
        SERVED,
    ),
    (
        "5.3.2",
        "an exclusive dependency on a stream that is not",
        &[Frame(kind::HEADERS, WHOLE | PRIORITY, 1, b"\x80\0\0\x63\xff\x82\x86\x84\x01\x01a")],
        SERVED,
    ),
];

pub const WINDOWS: &[Case] = &[
    ("6.9", "WINDOW_UPDATE by 0", &[Zeros(kind::WINDOW_UPDATE, 0, 0, 4)], Connection(PROTOCOL)),
    ("6.9", "WINDOW_UPDATE by 0 on a stream", &[post(1), Zeros(kind::WINDOW_UPDATE, 0, 1, 4)], Stream(1, PROTOCOL)),
    (
        "6.9",
        "WINDOW_UPDATE by 0 but for the reserved bit",
        &[Frame(kind::WINDOW_UPDATE, 0, 0, b"\x80\0\0\0")],
        Connection(PROTOCOL),
    ),
    (
        "6.9.1",
        "the connection's window over 2^31-1",
        &[Frame(kind::WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")],
        Connection(FLOW),
    ),
    (
        "6.9.1",
        "the connection's window over 2^31-1 in two steps",
        &[Frame(kind::WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\0"), Frame(kind::WINDOW_UPDATE, 0, 0, b"\0\0\0\x01")],
        Connection(FLOW),
    ),
    (
        "6.9.1",
        "a stream's window over 2^31-1",
        &[post(1), Frame(kind::WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff")],
        Stream(1, FLOW),
    ),
    (
        "6.9.1",
        "the connection's window at 2^31-1",
        &[Frame(kind::WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\0"), get(1)],
        SERVED,
    ),
    (
        "6.9.2",
        "a stream's window over 2^31-1 by SETTINGS",
        &[post(1), Frame(kind::WINDOW_UPDATE, 0, 1, b"\x7f\xff\0\0"), Settings(&[(4, 65_536)])],
        Connection(FLOW),
    ),
    (
        "6.9.2",
        "a window that opens after the request",
        &[Settings(&[(4, 0)]), get(1), Frame(kind::WINDOW_UPDATE, 0, 1, b"\0\0\0\x01"), Settings(&[(4, 100)])],
        SERVED,
    ),
    (
        "6.9.2",
        "a window lowered below what was sent, and widened",
        &[Settings(&[(4, 1)]), get(1), Settings(&[(4, 0)]), Frame(kind::WINDOW_UPDATE, 0, 1, b"\0\0\x10\0")],
        SERVED,
    ),
];
