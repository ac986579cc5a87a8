//! Bodies, their lengths and their trailers: RFC 9113, section 8.1.

use mainstay_e2e::h2::kind;

use crate::case::Step::{Fields, Frame, Get, Post};
use crate::case::Verdict::{Malformed, Status};
use crate::case::{Case, EH, ES, Verdict, last, post};

const BAD: Verdict = Malformed(1);
const SERVED: Verdict = Status(1, 200);

pub const BODIES: &[Case] = &[
    ("8.1.1", "less DATA than content-length", &[Post(1, &[("content-length", "5")]), last(1, b"abc")], BAD),
    ("8.1.1", "more DATA than content-length", &[Post(1, &[("content-length", "5")]), last(1, b"abcdef")], BAD),
    (
        "8.1.1",
        "more DATA than content-length, and then more",
        &[Post(1, &[("content-length", "3")]), Frame(kind::DATA, 0, 1, b"ab"), Frame(kind::DATA, 0, 1, b"cd")],
        BAD,
    ),
    ("8.1.1", "content-length without a body", &[Get(1, &[("content-length", "5")])], BAD),
    (
        "8.1.1",
        "content-length, and trailers too early",
        &[Post(1, &[("content-length", "5")]), Frame(kind::DATA, 0, 1, b"abc"), Fields(1, ES, &[("x", "y")])],
        BAD,
    ),
    ("8.1.1", "content-length that is no number", &[Post(1, &[("content-length", "5x")]), last(1, b"hello")], BAD),
    ("8.1.1", "content-length with a sign", &[Post(1, &[("content-length", "+5")]), last(1, b"hello")], BAD),
    ("8.1.1", "an empty content-length", &[Post(1, &[("content-length", "")]), last(1, b"")], BAD),
    (
        "8.1.1",
        "two lengths that differ",
        &[Post(1, &[("content-length", "5"), ("content-length", "6")]), last(1, b"hello")],
        BAD,
    ),
    (
        "8.1.1",
        "a length that overflows",
        &[Post(1, &[("content-length", "18446744073709551621")]), last(1, b"hello")],
        BAD,
    ),
    (
        "8.1.1",
        "as much DATA as content-length says",
        &[
            Post(1, &[("content-length", "5")]),
            Frame(kind::DATA, 0, 1, b"he"),
            Frame(kind::DATA, 0, 1, b""),
            last(1, b"llo"),
        ],
        SERVED,
    ),
    ("8.1.1", "content-length of 0 without DATA", &[Get(1, &[("content-length", "0")])], SERVED),
    (
        "8.1",
        "a body, then trailers",
        &[post(1), Frame(kind::DATA, 0, 1, b"abc"), Fields(1, ES, &[("x-sum", "7")])],
        SERVED,
    ),
    ("8.1", "trailers without a body", &[post(1), Fields(1, ES, &[("x-sum", "7")])], SERVED),
    (
        "8.1",
        "trailers that do not end the stream",
        &[post(1), Frame(kind::DATA, 0, 1, b"abc"), Fields(1, 0, &[("x", "y")])],
        BAD,
    ),
    (
        "8.1",
        "a second head that does not end the stream",
        &[post(1), Frame(kind::HEADERS, EH, 1, b"\x83\x86\x84\x01\x01a")],
        BAD,
    ),
    (
        "8.3",
        "a pseudo-header field in trailers",
        &[post(1), Frame(kind::DATA, 0, 1, b"abc"), Fields(1, ES, &[(":path", "/b")])],
        BAD,
    ),
    ("8.2.1", "capitals in trailers", &[post(1), Frame(kind::DATA, 0, 1, b"abc"), Fields(1, ES, &[("X", "y")])], BAD),
    (
        "8.2.1",
        "a line end in trailers",
        &[post(1), Frame(kind::DATA, 0, 1, b"abc"), Fields(1, ES, &[("x", "y\r\nz: w")])],
        BAD,
    ),
    (
        "8.2.2",
        "connection in trailers",
        &[post(1), Frame(kind::DATA, 0, 1, b"abc"), Fields(1, ES, &[("connection", "close")])],
        BAD,
    ),
];
