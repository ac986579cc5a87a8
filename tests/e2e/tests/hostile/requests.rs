//! Hostile and merely odd requests as raw bytes, each with its verdict.

/// What must become of a request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// Answered with this status and one of the reasons (separated by `|`, empty for any), then closed; no backend sees it.
    Refused(u16, &'static str),
    /// Forwarded whole: the backend sees this request line.
    Forwarded(&'static str),
    /// The standard leaves it open: refused with a 4xx, 501 or 505, or forwarded well-formed.
    Either,
    /// The head may travel; the backend must never see the body end, the client gets an error or a closed connection.
    NeverWhole,
}

use Verdict::{Either, Forwarded, NeverWhole, Refused};

/// A case: name, bytes, verdict.
pub type Case = (&'static str, &'static [u8], Verdict);

const FRAMING: Verdict = Refused(400, "bad-framing|malformed-head");
const MALFORMED: Verdict = Refused(400, "malformed-head");
const HOST: Verdict = Refused(400, "bad-host|malformed-head");
const TARGET: Verdict = Refused(400, "bad-target|malformed-head");

/// Content-Length and Transfer-Encoding.
pub const FRAMINGS: &[Case] = &[
    ("cl and te", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", FRAMING),
    ("te and cl", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", FRAMING),
    ("two cl that differ", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", FRAMING),
    ("two cl that agree", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Either),
    ("cl list that agrees", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", Either),
    ("cl list that differs", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello", FRAMING),
    ("cl list with an end", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,\r\n\r\nhello", FRAMING),
    ("cl with plus", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", FRAMING),
    ("cl negative", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nhello", FRAMING),
    ("cl hexadecimal", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", FRAMING),
    ("cl with space inside", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello", FRAMING),
    ("cl empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello", FRAMING),
    ("cl overflow", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello", FRAMING),
    ("cl with parameter", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5;a\r\n\r\nhello", FRAMING),
    ("cl with exponent", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e1\r\n\r\nhello", FRAMING),
    ("cl with fraction", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello", FRAMING),
    ("cl with underscore", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nhello", FRAMING),
    ("cl of other digits", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa5\r\n\r\nhello", FRAMING),
    ("cl with leading zeros", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello", Either),
    ("cl with blanks around", b"POST /w HTTP/1.1\r\nHost: a\r\nContent-Length: \t 5 \t\r\n\r\nhello", Forwarded("POST /w HTTP/1.1")),
    ("te gzip then chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Either),
    ("te chunked then gzip", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", FRAMING),
    ("te chunked twice in a list", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", FRAMING),
    ("te chunked twice", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", FRAMING),
    ("te chunked and identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", FRAMING),
    ("te identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", FRAMING),
    ("te identity with cl", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", FRAMING),
    ("te xchunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", FRAMING),
    ("te chunked with parameter", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", FRAMING),
    ("te quoted", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", FRAMING),
    ("te empty", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", FRAMING),
    ("te with vertical tab", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", FRAMING),
    ("te with trailing vertical tab", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n", FRAMING),
    ("te with leading comma", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n", Either),
    ("te on 1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", FRAMING),
    ("te in capitals", b"POST /c HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n", Forwarded("POST /c HTTP/1.1")),
    ("te with a space before the colon", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", MALFORMED),
    ("te with a tab before the colon", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", MALFORMED),
    ("te folded", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", MALFORMED),
    ("te hidden by a folded line", b"POST / HTTP/1.1\r\nHost: a\r\nX: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", MALFORMED),
    ("te after a bare CR", b"POST / HTTP/1.1\r\nHost: a\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", MALFORMED),
    ("te after a bare LF", b"POST / HTTP/1.1\r\nHost: a\r\nX: a\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", MALFORMED),
    ("te with NUL in its name", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\0: chunked\r\n\r\n0\r\n\r\n", MALFORMED),
    ("upgrade with a body", b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello", Refused(400, "upgrade-with-body")),
    ("upgrade with chunks", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused(400, "upgrade-with-body")),
    ("an expectation nobody knows", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-perhaps\r\nContent-Length: 5\r\n\r\nhello", Refused(417, "unsupported-expectation")),
];

/// Header lines, the host and the request line.
pub const HEADS: &[Case] = &[
    ("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", MALFORMED),
    ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", MALFORMED),
    ("bare LF ends the head", b"GET / HTTP/1.1\r\nHost: a\r\n\n", MALFORMED),
    ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", MALFORMED),
    ("bare CR in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\rY: a\r\n\r\n", MALFORMED),
    ("two CR", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", MALFORMED),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", MALFORMED),
    ("control character in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", MALFORMED),
    ("DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", MALFORMED),
    ("escape sequence in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[31m\r\n\r\n", MALFORMED),
    ("obs-text in a value", b"GET /t HTTP/1.1\r\nHost: a\r\nX: caf\xe9\r\n\r\n", Either),
    ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nNonsense\r\n\r\n", MALFORMED),
    ("empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", MALFORMED),
    ("space in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", MALFORMED),
    ("no token in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX(): 1\r\n\r\n", MALFORMED),
    ("obs-text in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\xff: 1\r\n\r\n", MALFORMED),
    ("space before the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", MALFORMED),
    ("folded value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", MALFORMED),
    ("empty value", b"GET /e HTTP/1.1\r\nHost: a\r\nX-Empty:\r\n\r\n", Forwarded("GET /e HTTP/1.1")),
    ("no host", b"GET / HTTP/1.1\r\n\r\n", HOST),
    ("no host on 1.0", b"GET /o HTTP/1.0\r\n\r\n", Forwarded("GET /o HTTP/1.1")),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", HOST),
    ("the same host twice", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HOST),
    ("empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Either),
    ("host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HOST),
    ("host with a slash", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HOST),
    ("host with user information", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HOST),
    ("host with a comma", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", HOST),
    ("host with a bad port", b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", HOST),
    ("host with a port too large", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", HOST),
    ("host with an open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HOST),
    ("host of IPv6 and port", b"GET /6 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Forwarded("GET /6 HTTP/1.1")),
    ("absolute form, other host", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", HOST),
    ("absolute form, same host", b"GET http://a/same HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded("GET /same HTTP/1.1")),
    ("absolute form without a path", b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", Forwarded("GET / HTTP/1.1")),
    (
        "absolute form with user information",
        b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused(400, "bad-target|bad-host|malformed-head"),
    ),
    (
        "absolute form without an authority",
        b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        Refused(400, "bad-target|bad-host|malformed-head"),
    ),
    ("absolute form of another scheme", b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", TARGET),
    ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", TARGET),
    ("two spaces before the version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", TARGET),
    ("space after the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", MALFORMED),
    ("tabs in the request line", b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", MALFORMED),
    ("no version", b"GET /\r\n\r\n", MALFORMED),
    ("version in small letters", b"GET / http/1.1\r\nHost: a\r\n\r\n", MALFORMED),
    ("version 2", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refused(505, "unsupported-version")),
    ("version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Either),
    (
        "version of three digits",
        b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
        Refused(400, "malformed-head|unsupported-version"),
    ),
    ("preface that is not that of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n", Refused(505, "unsupported-version")),
    ("method of no token", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", MALFORMED),
    ("empty method", b" / HTTP/1.1\r\nHost: a\r\n\r\n", MALFORMED),
    ("method in small letters", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", Either),
    ("space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", TARGET),
    ("control character in the target", b"GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n", TARGET),
    ("NUL in the target", b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n", TARGET),
    ("obs-text in the target", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", Either),
    ("fragment in the target", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Either),
    ("target without a slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", TARGET),
    ("target of a query only", b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", TARGET),
    ("asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", TARGET),
    ("asterisk with OPTIONS", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Either),
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Refused(405, "connect-refused-method")),
    ("an empty line first", b"\r\nGET /l HTTP/1.1\r\nHost: a\r\n\r\n", Either),
    ("a greeting of TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 AAAA\r\n\r\n", MALFORMED),
    ("bytes of no meaning", b"\x00\xff\x00\xff\x00\xff\r\n\r\n", MALFORMED),
];

/// Bodies in chunks, and bodies that end too soon.
pub const BODIES: &[Case] = &[
    (
        "chunk size of no digits",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk size empty",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk size negative",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk size with plus",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk size with 0x",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk size overflow",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk size with leading space",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk size with underscore",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0_5\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk size with trailing space",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        Either,
    ),
    (
        "chunk size ends with LF",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk size ends with CR",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\rhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk data ends with LF",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk longer than its size",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk without an end",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
        NeverWhole,
    ),
    (
        "LF in a chunk extension",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "NUL in a chunk extension",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\0b\r\nhello\r\n0\r\n\r\n",
        NeverWhole,
    ),
    (
        "chunk extension",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\n\r\n",
        Forwarded("POST /x HTTP/1.1"),
    ),
    (
        "chunk sizes with zeros",
        b"POST /z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0005\r\nhello\r\n000\r\n\r\n",
        Forwarded("POST /z HTTP/1.1"),
    ),
    (
        "last chunk ends with LF",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\n\r\n",
        NeverWhole,
    ),
    (
        "trailer without a colon",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nnonsense\r\n\r\n",
        NeverWhole,
    ),
    (
        "trailer with a space in its name",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX Y: 1\r\n\r\n",
        NeverWhole,
    ),
    (
        "trailer with a bare CR",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\rY: 2\r\n\r\n",
        NeverWhole,
    ),
    (
        "trailer folded",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n",
        NeverWhole,
    ),
];

/// Sent and then closed before their end.
pub const CUT: &[Case] = &[
    ("half a request line", b"GET /half", Either),
    ("half a head", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", Either),
    ("half a body", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello", NeverWhole),
    ("half a chunk", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhello", NeverWhole),
    (
        "chunks without the last",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        NeverWhole,
    ),
    (
        "no end of the trailers",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n",
        NeverWhole,
    ),
];
