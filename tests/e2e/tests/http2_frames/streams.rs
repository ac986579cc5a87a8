//! Ids and states of streams, and header blocks over several frames: RFC 9113 sections 4.3, 5.1 and 6.

use mainstay_e2e::h2::code::{PROTOCOL_ERROR, STREAM_CLOSED};
use mainstay_e2e::h2::kind;

use crate::case::Step::{Answered, Frame, Zeros};
use crate::case::Verdict::{Connection, Either, Ignored, Status};
use crate::case::{Case, EH, ES, GET, POST, WHOLE, get, hold, last, post};

const PROTOCOL: &[u32] = &[PROTOCOL_ERROR];
const CLOSED: &[u32] = &[STREAM_CLOSED];
/// HEADERS on a stream that was closed: the state (5.1) and the order of ids (5.1.1) each have a code for that.
const CLOSED_OR_OLD: &[u32] = &[STREAM_CLOSED, PROTOCOL_ERROR];

const UPDATE: &[u8] = b"\0\0\0\x01";
const CANCEL: &[u8] = b"\0\0\0\x08";

pub const IDS: &[Case] = &[
    ("5.1.1", "an even id", &[get(2)], Connection(PROTOCOL)),
    ("5.1.1", "an id lower than the last", &[get(5), Answered(5), get(3)], Connection(CLOSED_OR_OLD)),
    ("5.1.1", "an id lower than one still open", &[post(5), get(3)], Connection(CLOSED_OR_OLD)),
    ("5.1.1", "ids left out", &[get(1), Answered(1), get(7), Answered(7), get(101)], Status(101, 200)),
    ("5.1.1", "the largest id", &[get(0x7fff_ffff)], Status(0x7fff_ffff, 200)),
];

pub const IDLE: &[Case] = &[
    ("5.1", "DATA on an idle stream", &[last(1, b"abc")], Connection(PROTOCOL)),
    ("5.1", "DATA on an idle stream beside an open one", &[post(1), last(3, b"abc")], Connection(PROTOCOL)),
    ("5.1", "RST_STREAM on an idle stream", &[Frame(kind::RST_STREAM, 0, 1, CANCEL)], Connection(PROTOCOL)),
    ("5.1", "WINDOW_UPDATE on an idle stream", &[Frame(kind::WINDOW_UPDATE, 0, 1, UPDATE)], Connection(PROTOCOL)),
    ("5.1", "DATA on a stream of the server's that is none", &[last(2, b"abc")], Connection(PROTOCOL)),
    (
        "5.1",
        "RST_STREAM on a stream of the server's that is none",
        &[Frame(kind::RST_STREAM, 0, 2, CANCEL)],
        Connection(PROTOCOL),
    ),
    (
        "5.1",
        "WINDOW_UPDATE on a stream of the server's that is none",
        &[Frame(kind::WINDOW_UPDATE, 0, 2, UPDATE)],
        Connection(PROTOCOL),
    ),
];

pub const HALF_CLOSED: &[Case] = &[
    ("5.1", "DATA behind the end", &[hold(1), last(1, b"abc")], Either(1, CLOSED)),
    ("5.1", "empty DATA behind the end", &[hold(1), Frame(kind::DATA, 0, 1, b"")], Either(1, CLOSED)),
    ("5.1", "HEADERS behind the end", &[hold(1), Frame(kind::HEADERS, WHOLE, 1, GET)], Either(1, CLOSED)),
    (
        "5.1",
        "trailers behind the end",
        &[hold(1), Frame(kind::HEADERS, WHOLE, 1, b"\x00\x01a\x01b")],
        Either(1, CLOSED),
    ),
    (
        "5.1",
        "trailers behind DATA that ended the stream",
        &[
            Frame(kind::HEADERS, EH, 1, b"\x83\x86\x04\x05/hold\x01\x01a"),
            last(1, b"abc"),
            Frame(kind::HEADERS, WHOLE, 1, b"\x00\x01a\x01b"),
        ],
        Either(1, CLOSED),
    ),
    ("5.1", "WINDOW_UPDATE behind the end", &[hold(1), Frame(kind::WINDOW_UPDATE, 0, 1, UPDATE)], Ignored),
    ("5.1", "PRIORITY behind the end", &[hold(1), Zeros(kind::PRIORITY, 0, 1, 5)], Ignored),
    ("5.1", "RST_STREAM behind the end", &[hold(1), Frame(kind::RST_STREAM, 0, 1, CANCEL)], Ignored),
    ("5.1", "CONTINUATION behind the end", &[hold(1), Frame(kind::CONTINUATION, EH, 1, GET)], Connection(PROTOCOL)),
];

pub const OVER: &[Case] = &[
    ("5.1", "DATA behind an exchange that is over", &[get(1), Answered(1), last(1, b"abc")], Either(1, CLOSED)),
    ("5.1", "HEADERS behind an exchange that is over", &[get(1), Answered(1), get(1)], Either(1, CLOSED_OR_OLD)),
    (
        "5.1",
        "CONTINUATION behind an exchange that is over",
        &[get(1), Answered(1), Frame(kind::CONTINUATION, EH, 1, GET)],
        Connection(PROTOCOL),
    ),
    (
        "5.1",
        "WINDOW_UPDATE behind an exchange that is over",
        &[get(1), Answered(1), Frame(kind::WINDOW_UPDATE, 0, 1, UPDATE), get(3)],
        Status(3, 200),
    ),
    (
        "5.1",
        "RST_STREAM behind an exchange that is over",
        &[get(1), Answered(1), Frame(kind::RST_STREAM, 0, 1, CANCEL), get(3)],
        Status(3, 200),
    ),
    (
        "5.1",
        "PRIORITY behind an exchange that is over",
        &[get(1), Answered(1), Zeros(kind::PRIORITY, 0, 1, 5), get(3)],
        Status(3, 200),
    ),
    (
        "5.1",
        "DATA on a stream that the client has reset",
        &[post(1), Frame(kind::RST_STREAM, 0, 1, CANCEL), last(1, b"abc")],
        Either(1, CLOSED),
    ),
    (
        "5.1",
        "HEADERS on a stream that the client has reset",
        &[post(1), Frame(kind::RST_STREAM, 0, 1, CANCEL), get(1)],
        Either(1, CLOSED_OR_OLD),
    ),
    (
        "5.4.2",
        "frames on a stream that the server has reset",
        &[post(1), Zeros(kind::WINDOW_UPDATE, 0, 1, 4), Frame(kind::DATA, 0, 1, b"abc"), last(1, b"def"), get(3)],
        Status(3, 200),
    ),
    (
        "5.4.2",
        "RST_STREAM twice",
        &[post(1), Frame(kind::RST_STREAM, 0, 1, CANCEL), Frame(kind::RST_STREAM, 0, 1, CANCEL), get(3)],
        Status(3, 200),
    ),
];

pub const CONTINUATIONS: &[Case] = &[
    (
        "6.10",
        "a header block in two frames",
        &[Frame(kind::HEADERS, ES, 1, b"\x82\x86"), Frame(kind::CONTINUATION, EH, 1, b"\x84\x01\x01a")],
        Status(1, 200),
    ),
    (
        "6.10",
        "a header block cut in every field, and empty frames",
        &[
            Frame(kind::HEADERS, ES, 1, b""),
            Frame(kind::CONTINUATION, 0, 1, b"\x82\x86\x84\x01"),
            Frame(kind::CONTINUATION, 0, 1, b""),
            Frame(kind::CONTINUATION, 0, 1, b"\x01"),
            Frame(kind::CONTINUATION, EH, 1, b"a"),
        ],
        Status(1, 200),
    ),
    (
        "6.10",
        "END_STREAM means nothing on CONTINUATION",
        &[
            Frame(kind::HEADERS, 0, 1, b"\x83\x86"),
            Frame(kind::CONTINUATION, EH | ES, 1, b"\x84\x01\x01a"),
            last(1, b"abc"),
        ],
        Status(1, 200),
    ),
    (
        "6.10",
        "trailers in two frames",
        &[
            post(1),
            Frame(kind::DATA, 0, 1, b"abc"),
            Frame(kind::HEADERS, ES, 1, b"\x00\x01a"),
            Frame(kind::CONTINUATION, EH, 1, b"\x01b"),
        ],
        Status(1, 200),
    ),
    ("6.10", "CONTINUATION of nothing", &[Frame(kind::CONTINUATION, EH, 1, GET)], Connection(PROTOCOL)),
    (
        "6.10",
        "CONTINUATION behind END_HEADERS",
        &[post(1), Frame(kind::CONTINUATION, EH, 1, GET)],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "CONTINUATION behind DATA",
        &[post(1), Frame(kind::DATA, 0, 1, b"abc"), Frame(kind::CONTINUATION, EH, 1, GET)],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "CONTINUATION on another stream",
        &[Frame(kind::HEADERS, ES, 1, GET), Frame(kind::CONTINUATION, EH, 3, b"")],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "DATA inside a header block",
        &[Frame(kind::HEADERS, 0, 1, POST), Frame(kind::DATA, ES, 1, b"abc")],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "HEADERS inside a header block",
        &[Frame(kind::HEADERS, ES, 1, GET), Frame(kind::HEADERS, WHOLE, 1, GET)],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "HEADERS of another stream inside a header block",
        &[Frame(kind::HEADERS, ES, 1, GET), Frame(kind::HEADERS, WHOLE, 3, GET)],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "PRIORITY inside a header block",
        &[Frame(kind::HEADERS, ES, 1, GET), Zeros(kind::PRIORITY, 0, 1, 5)],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "RST_STREAM inside a header block",
        &[Frame(kind::HEADERS, ES, 1, GET), Frame(kind::RST_STREAM, 0, 1, CANCEL)],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "SETTINGS inside a header block",
        &[Frame(kind::HEADERS, ES, 1, GET), Frame(kind::SETTINGS, 0, 0, b"")],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "PING inside a header block",
        &[Frame(kind::HEADERS, ES, 1, GET), Zeros(kind::PING, 0, 0, 8)],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "GOAWAY inside a header block",
        &[Frame(kind::HEADERS, ES, 1, GET), Zeros(kind::GOAWAY, 0, 0, 8)],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "WINDOW_UPDATE inside a header block",
        &[Frame(kind::HEADERS, ES, 1, GET), Frame(kind::WINDOW_UPDATE, 0, 0, UPDATE)],
        Connection(PROTOCOL),
    ),
    (
        "6.10",
        "an unknown frame inside a header block",
        &[Frame(kind::HEADERS, ES, 1, GET), Zeros(0x42, 0, 1, 3)],
        Connection(PROTOCOL),
    ),
];
