//! What a case is made of: the frames to send, and the verdict that the RFC asks for.

use mainstay_e2e::h2::{flag, kind};

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// These bytes in place of the preface and the first SETTINGS.
    Instead(&'static [u8]),
    /// These bytes.
    Raw(&'static [u8]),
    /// A frame: kind, flags, stream, payload.
    Frame(u8, u8, u32, &'static [u8]),
    /// A frame with a payload of so many zeros.
    Zeros(u8, u8, u32, usize),
    /// SETTINGS.
    Settings(&'static [(u16, u32)]),
    /// HEADERS with END_HEADERS, these flags more, and exactly these fields.
    Fields(u32, u8, &'static [(&'static str, &'static str)]),
    /// A request without a body: the four pseudo-header fields of GET and these fields.
    Get(u32, &'static [(&'static str, &'static str)]),
    /// The head of a request whose body follows: the four of POST and these fields.
    Post(u32, &'static [(&'static str, &'static str)]),
    /// A field `x-long` so long beside the four of GET, in as many frames as that takes.
    Long(u32, usize),
    /// Nothing is sent until the response on this stream is complete.
    Answered(u32),
}

/// What must become of it.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// The connection ends with GOAWAY and one of these codes.
    Connection(&'static [u32]),
    /// The stream is reset with one of these codes, and the connection goes on.
    Stream(u32, &'static [u32]),
    /// The RFC leaves it open which of the two it is.
    Either(u32, &'static [u32]),
    /// The request is malformed (RFC 9113, section 8.1.1): it is reset with PROTOCOL_ERROR or answered 400, the connection
    /// goes on, and no backend ever sees it whole.
    Malformed(u32),
    /// It is answered with this status, and the connection goes on.
    Status(u32, u16),
    /// The connection ends somehow.
    Ended,
    /// Nothing happens, and the connection goes on.
    Ignored,
}

impl Verdict {
    /// Whether a backend may see whole requests.
    pub fn lets_through(self) -> bool {
        matches!(self, Self::Status(_, 200) | Self::Ignored)
    }
}

/// A case: section of RFC 9113 (or 7541, or 8441, which it then says), name, what is sent, verdict.
pub type Case = (&'static str, &'static str, &'static [Step], Verdict);

/// A header block: GET http://a/ without any table.
pub const GET: &[u8] = b"\x82\x86\x84\x01\x01a";
/// The same with POST.
pub const POST: &[u8] = b"\x83\x86\x84\x01\x01a";
/// GET http://a/hold, which the backend takes its time to answer.
pub const HOLD: &[u8] = b"\x82\x86\x04\x05/hold\x01\x01a";

/// END_HEADERS.
pub const EH: u8 = flag::END_HEADERS;
/// END_STREAM.
pub const ES: u8 = flag::END_STREAM;
/// Both.
pub const WHOLE: u8 = EH | ES;

/// HEADERS that are a whole request.
pub const fn get(stream: u32) -> Step {
    Step::Frame(kind::HEADERS, WHOLE, stream, GET)
}

/// HEADERS whose body follows.
pub const fn post(stream: u32) -> Step {
    Step::Frame(kind::HEADERS, EH, stream, POST)
}

/// A whole request that stays unanswered for a while.
pub const fn hold(stream: u32) -> Step {
    Step::Frame(kind::HEADERS, WHOLE, stream, HOLD)
}

/// DATA that ends the stream.
pub const fn last(stream: u32, bytes: &'static [u8]) -> Step {
    Step::Frame(kind::DATA, ES, stream, bytes)
}
