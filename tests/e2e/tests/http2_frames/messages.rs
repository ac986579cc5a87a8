//! Header compression (RFC 7541) and well-formed messages (RFC 9113, section 8).

use mainstay_e2e::h2::code::{COMPRESSION_ERROR, STREAM_CLOSED};
use mainstay_e2e::h2::kind;

use crate::case::Step::{Answered, Fields, Frame, Get, Long, Post};
use crate::case::Verdict::{Connection, Malformed, Status};
use crate::case::{Case, EH, ES, Step, Verdict, WHOLE, get, last, post};

const COMPRESSION: Verdict = Connection(&[COMPRESSION_ERROR]);
const BAD: Verdict = Malformed(1);
const SERVED: Verdict = Status(1, 200);

/// HEADERS that end the stream, with this block.
const fn block(stream: u32, bytes: &'static [u8]) -> Step {
    Frame(kind::HEADERS, WHOLE, stream, bytes)
}

/// A whole request of exactly these fields.
const fn fields(list: &'static [(&'static str, &'static str)]) -> Step {
    Fields(1, ES, list)
}

pub const COMPRESSED: &[Case] = &[
    ("RFC 7541 6.1", "index 0", &[block(1, b"\x82\x86\x84\x80")], COMPRESSION),
    ("RFC 7541 2.3.3", "an index beyond both tables", &[block(1, b"\x82\x86\x84\xbe")], COMPRESSION),
    ("RFC 7541 2.3.3", "an index far beyond both tables", &[block(1, b"\x82\xff\xff\xff\xff\x07")], COMPRESSION),
    ("RFC 7541 2.3.3", "a name's index beyond both tables", &[block(1, b"\x82\x86\x84\x7f\x00\x01a")], COMPRESSION),
    (
        "RFC 7541 5.1",
        "an integer without end",
        &[block(1, b"\x82\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")],
        COMPRESSION,
    ),
    ("RFC 7541 5.1", "an integer cut off", &[block(1, b"\x82\x86\x84\xff")], COMPRESSION),
    ("RFC 7541 5.2", "a string longer than the block", &[block(1, b"\x82\x86\x84\x01\x05a")], COMPRESSION),
    ("RFC 7541 5.2", "a string of 2^28 bytes", &[block(1, b"\x82\x86\x84\x01\x7f\xff\xff\xff\x7fa")], COMPRESSION),
    ("RFC 7541 5.2", "a field without its value", &[block(1, b"\x82\x86\x84\x01")], COMPRESSION),
    ("RFC 7541 5.2", "EOS in a Huffman code", &[block(1, b"\x82\x86\x84\x01\x84\xff\xff\xff\xff")], COMPRESSION),
    ("RFC 7541 5.2", "Huffman padding of zeros", &[block(1, b"\x82\x86\x84\x01\x81\x18")], COMPRESSION),
    (
        "RFC 7541 5.2",
        "Huffman padding of more than seven bits",
        &[block(1, b"\x82\x86\x84\x01\x82\x1f\xff")],
        COMPRESSION,
    ),
    ("RFC 7541 6.3", "a table larger than announced", &[block(1, b"\x3f\xe2\x1f\x82\x86\x84\x01\x01a")], COMPRESSION),
    (
        "RFC 7541 4.2",
        "a change of the table's size behind a field",
        &[block(1, b"\x82\x86\x84\x20\x01\x01a")],
        COMPRESSION,
    ),
    ("4.3", "a bad block as trailers", &[post(1), Frame(kind::DATA, 0, 1, b"abc"), block(1, b"\xbe")], COMPRESSION),
    (
        "4.3",
        "a bad block over two frames",
        &[Frame(kind::HEADERS, ES, 1, b"\x82\x86\x84\x01\x84\xff\xff"), Frame(kind::CONTINUATION, EH, 1, b"\xff\xff")],
        COMPRESSION,
    ),
    (
        "4.3",
        "a bad block on a stream that is over",
        &[get(1), Answered(1), block(1, b"\x80")],
        Connection(&[COMPRESSION_ERROR, STREAM_CLOSED]),
    ),
    (
        "RFC 7541 4.2",
        "changes of the table's size at the beginning",
        &[block(1, b"\x20\x3f\xe1\x1f\x82\x86\x84\x01\x01a")],
        SERVED,
    ),
    (
        "RFC 7541 C.4",
        "Huffman codes, and fields from the table",
        &[
            block(1, b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"),
            Answered(1),
            block(3, b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf"),
        ],
        Status(3, 200),
    ),
    ("RFC 7541 6.2.3", "a field that is never indexed", &[block(1, b"\x82\x86\x84\x11\x01a")], SERVED),
    (
        "4.3",
        "the table is in step behind a malformed request",
        &[block(1, b"\x82\x86\x84\x41\x01a\x40\x01A\x01b"), Frame(kind::HEADERS, WHOLE, 3, b"\x82\x86\x84\xbf")],
        Status(3, 200),
    ),
    (
        "4.3",
        "the table is in step behind trailers of a stream that was reset",
        &[
            post(1),
            Frame(kind::WINDOW_UPDATE, 0, 1, b"\0\0\0\0"),
            block(1, b"\x41\x01a"),
            block(3, b"\x82\x86\x84\xbe"),
        ],
        Status(3, 200),
    ),
];

pub const PSEUDO: &[Case] = &[
    ("8.3.1", "no :method", &[fields(&[(":scheme", "http"), (":authority", "a"), (":path", "/")])], BAD),
    ("8.3.1", "no :scheme", &[fields(&[(":method", "GET"), (":authority", "a"), (":path", "/")])], BAD),
    ("8.3.1", "no :path", &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")])], BAD),
    (
        "8.3.1",
        "an empty :path",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")])],
        BAD,
    ),
    (
        "8.3.1",
        "a :path without a slash",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "x")])],
        BAD,
    ),
    (
        "8.3.1",
        "a :path of * for GET",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "*")])],
        BAD,
    ),
    (
        "8.3.1",
        "an absolute :path",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "http://a/")])],
        BAD,
    ),
    (
        "8.3.1",
        "an empty :method",
        &[fields(&[(":method", ""), (":scheme", "http"), (":authority", "a"), (":path", "/")])],
        BAD,
    ),
    (
        "8.3.1",
        "a :method that is no token",
        &[fields(&[(":method", "GE T"), (":scheme", "http"), (":authority", "a"), (":path", "/")])],
        BAD,
    ),
    (
        "8.3.1",
        "a line end in :path",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/ HTTP/1.1\r\nx: y")])],
        BAD,
    ),
    (
        "8.3.1",
        "a space in :path",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/a b")])],
        BAD,
    ),
    (
        "8.3.1",
        "user information in :authority",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "u@a"), (":path", "/")])],
        BAD,
    ),
    (
        "8.3.1",
        "a path in :authority",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a/b"), (":path", "/")])],
        BAD,
    ),
    (
        "8.3.1",
        "an empty :authority",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", ""), (":path", "/")])],
        BAD,
    ),
    (
        "8.3.1",
        "neither :authority nor host",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/")])],
        BAD,
    ),
    ("8.3.1", "host other than :authority", &[Get(1, &[("host", "b")])], BAD),
    ("8.3.1", "host twice", &[Get(1, &[("host", "a.test"), ("host", "a.test")])], BAD),
    ("8.3.1", "host like :authority", &[Get(1, &[("host", "a.test")])], SERVED),
    (
        "8.3.1",
        "host without :authority",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "a")])],
        SERVED,
    ),
    (
        "8.3.1",
        "OPTIONS *",
        &[fields(&[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")])],
        SERVED,
    ),
    (
        "8.3",
        ":method twice",
        &[fields(&[(":method", "GET"), (":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])],
        BAD,
    ),
    (
        "8.3",
        ":scheme twice",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":scheme", "http"), (":authority", "a"), (":path", "/")])],
        BAD,
    ),
    (
        "8.3",
        ":path twice",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), (":path", "/b")])],
        BAD,
    ),
    (
        "8.3",
        ":authority twice",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":authority", "b"), (":path", "/")])],
        BAD,
    ),
    (
        "8.3",
        "an unknown pseudo-header field",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), (":x", "y")])],
        BAD,
    ),
    (
        "8.3",
        ":status in a request",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), (":status", "200")])],
        BAD,
    ),
    (
        "8.3",
        "a pseudo-header field behind others",
        &[fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "a"), ("x", "y"), (":path", "/")])],
        BAD,
    ),
    (
        "8.3",
        "a pseudo-header field in capitals",
        &[fields(&[(":Method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])],
        BAD,
    ),
    (
        "8.5",
        "CONNECT with :scheme and :path",
        &[fields(&[(":method", "CONNECT"), (":scheme", "http"), (":authority", "a:1"), (":path", "/")])],
        BAD,
    ),
    ("8.5", "CONNECT with :path", &[fields(&[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")])], BAD),
    ("8.5", "CONNECT without :authority", &[fields(&[(":method", "CONNECT"), ("host", "a:1")])], BAD),
    (
        "RFC 8441 4",
        ":protocol with GET",
        &[fields(&[
            (":method", "GET"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ])],
        BAD,
    ),
    (
        "RFC 8441 4",
        ":protocol without :path",
        &[fields(&[(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a")])],
        BAD,
    ),
];

pub const FIELDS: &[Case] = &[
    ("8.2.1", "a name in capitals", &[Get(1, &[("X-Name", "y")])], BAD),
    ("8.2.1", "an empty name", &[Get(1, &[("", "y")])], BAD),
    ("8.2.1", "a space in a name", &[Get(1, &[("a b", "y")])], BAD),
    ("8.2.1", "a space behind a name", &[Get(1, &[("a ", "y")])], BAD),
    ("8.2.1", "a colon in a name", &[Get(1, &[("a:b", "y")])], BAD),
    ("8.2.1", "NUL in a name", &[Get(1, &[("a\0", "y")])], BAD),
    ("8.2.1", "a line end in a name", &[Get(1, &[("a\r\nb", "y")])], BAD),
    ("8.2.1", "DEL in a name", &[Get(1, &[("a\x7f", "y")])], BAD),
    ("8.2.1", "a letter beyond ASCII in a name", &[Get(1, &[("\u{e9}", "y")])], BAD),
    ("8.2.1", "CR in a value", &[Get(1, &[("x", "a\rb")])], BAD),
    ("8.2.1", "LF in a value", &[Get(1, &[("x", "a\nb")])], BAD),
    ("8.2.1", "a smuggled line in a value", &[Get(1, &[("x", "a\r\nhost: b")])], BAD),
    (
        "8.2.1",
        "a smuggled request in a value",
        &[Get(1, &[("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")])],
        BAD,
    ),
    ("8.2.1", "NUL in a value", &[Get(1, &[("x", "a\0b")])], BAD),
    ("8.2.1", "a space before a value", &[Get(1, &[("x", " a")])], BAD),
    ("8.2.1", "a tab behind a value", &[Get(1, &[("x", "a\t")])], BAD),
    ("8.2.1", "letters beyond ASCII in a value", &[Get(1, &[("x", "\u{e9}")])], SERVED),
    ("8.2.2", "connection", &[Get(1, &[("connection", "close")])], BAD),
    ("8.2.2", "connection that names a field", &[Get(1, &[("connection", "x"), ("x", "y")])], BAD),
    ("8.2.2", "keep-alive", &[Get(1, &[("keep-alive", "timeout=5")])], BAD),
    ("8.2.2", "proxy-connection", &[Get(1, &[("proxy-connection", "keep-alive")])], BAD),
    ("8.2.2", "transfer-encoding", &[Post(1, &[("transfer-encoding", "chunked")]), last(1, b"0\r\n\r\n")], BAD),
    ("8.2.2", "upgrade", &[Get(1, &[("upgrade", "websocket")])], BAD),
    ("8.2.2", "te other than trailers", &[Get(1, &[("te", "gzip")])], BAD),
    ("8.2.2", "te with trailers and more", &[Get(1, &[("te", "trailers, deflate")])], BAD),
    ("8.2.2", "te of trailers", &[Get(1, &[("te", "trailers")])], SERVED),
    (
        "8.2.3",
        "cookies in crumbs",
        &[Get(1, &[("cookie", "a=1"), ("cookie", "b=2"), ("x", "y"), ("cookie", "c=3")])],
        SERVED,
    ),
    ("10.5.1", "a header list far too large", &[Long(1, 100_000)], Status(1, 431)),
    ("10.5.1", "a header list that is large but allowed", &[Long(1, 20_000)], SERVED),
    (
        "4.3",
        "the table is in step behind a list that was too large",
        &[
            block(1, b"\x82\x86\x84\x41\x01a"),
            Answered(1),
            Long(3, 100_000),
            Frame(kind::HEADERS, WHOLE, 5, b"\x82\x86\x84\xbe"),
        ],
        Status(5, 200),
    ),
];
