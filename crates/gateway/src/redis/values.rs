//! Where values begin and end: a line with a kind and mostly a number, and what that number announces.

/// No number in a line is longer.
const DIGITS_MAX: usize = 20;

/// So much of a command's text is kept, which is more than any name has.
const FRONT_BYTES: usize = 20;

/// What a value that has ended was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything but what follows.
    Value,
    /// What a server says unasked (RESP 3).
    Push,
    /// A line without a kind, which servers take for a command if it is not empty.
    Inline,
}

/// Follows the values of one direction.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    place: Place,
    /// Values that are missing until the outermost one is whole.
    missing: u64,
    kind: Kind,
    /// What these values are; of commands the front is kept.
    takes: Takes,
}

#[derive(Clone, Debug)]
enum Takes {
    Answers,
    /// Lines without a kind are commands, too.
    Commands(Front),
}

/// The texts that a command begins with, as a line has them or each with the line's end that stands behind it.
#[derive(Clone, Debug)]
struct Front {
    text: [u8; FRONT_BYTES],
    seen: usize,
}

impl Front {
    const EMPTY: Self = Self { text: [0; FRONT_BYTES], seen: 0 };

    fn keep(&mut self, bytes: &[u8]) {
        keep(&mut self.text, &mut self.seen, bytes);
    }

    fn text(&self) -> &[u8] {
        self.text.get(..self.seen).unwrap_or(&self.text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// At the front of a line.
    Front,
    /// Within a line of this kind, with the front of what stands behind it.
    Line { kind: u8, text: [u8; DIGITS_MAX], seen: usize },
    /// Within as many bytes of text.
    Text(u64),
    /// Something came that is no value: nothing is known any more.
    Lost,
}

impl Values {
    /// What a server sends.
    pub(crate) const fn answers() -> Self {
        Self { place: Place::Front, missing: 0, kind: Kind::Value, takes: Takes::Answers }
    }

    /// What a client sends.
    pub(crate) const fn commands() -> Self {
        Self { place: Place::Front, missing: 0, kind: Kind::Value, takes: Takes::Commands(Front::EMPTY) }
    }

    /// Takes in the next bytes, and hands the kind of each outermost value that ends in them to `ended`, with the front of its text
    /// if it is a command.
    pub(crate) fn advance(&mut self, bytes: &[u8], mut ended: impl FnMut(Kind, &[u8])) {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            match &mut self.place {
                Place::Lost => return,
                Place::Text(left) => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= skipped as u64;
                    let (now, after) = rest.split_at(skipped);
                    if let Takes::Commands(front) = &mut self.takes {
                        front.keep(now);
                    }
                    rest = after;
                    if *left == 0 {
                        self.place = Place::Front;
                        self.end_one(&mut ended);
                    }
                }
                Place::Front => {
                    if self.missing == 0 {
                        self.begin(*first);
                    }
                    self.place = Place::Line { kind: *first, text: [0; DIGITS_MAX], seen: 0 };
                    // An empty line has its end for a kind.
                    rest = if *first == b'\n' { rest } else { after };
                }
                Place::Line { kind, text, seen } => match memchr::memchr(b'\n', rest) {
                    Some(at) => {
                        keep(text, seen, &rest[..at]);
                        let (kind, text, seen) = (*kind, *text, *seen);
                        rest = &rest[at + 1..];
                        self.end_line(kind, text.get(..seen).unwrap_or(&text), &mut ended);
                    }
                    None => {
                        keep(text, seen, rest);
                        return;
                    }
                },
            }
        }
    }

    /// Whether the last byte was the last one of a value.
    pub(crate) fn is_between(&self) -> bool {
        self.place == Place::Front && self.missing == 0
    }

    /// An outermost value begins with this byte.
    fn begin(&mut self, first: u8) {
        self.missing = 1;
        self.kind = match (first, &mut self.takes) {
            (b'>', _) => Kind::Push,
            (b'*', Takes::Commands(front)) => {
                *front = Front::EMPTY;
                Kind::Value
            }
            (_line, Takes::Commands(front)) => {
                *front = Front::EMPTY;
                front.keep(&[first]);
                Kind::Inline
            }
            (_other, Takes::Answers) => Kind::Value,
        };
    }

    fn end_line(&mut self, kind: u8, text: &[u8], ended: &mut impl FnMut(Kind, &[u8])) {
        self.place = Place::Front;
        if self.kind == Kind::Inline {
            if let Takes::Commands(front) = &mut self.takes {
                front.keep(text);
            }
            // `\r\n` alone is nothing.
            if matches!(kind, b'\r' | b'\n') {
                self.missing = 0;
                return;
            }
            return self.end_one(ended);
        }
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => self.end_one(ended),
            b'$' | b'!' | b'=' => match number(text) {
                // Missing altogether, as RESP 2 has it.
                Some(-1) => self.end_one(ended),
                Some(length @ 0..) => self.place = Place::Text(length.unsigned_abs().saturating_add(2)),
                Some(_) | None => self.place = Place::Lost,
            },
            b'*' | b'~' | b'>' => self.expect(number(text), 1, ended),
            b'%' => self.expect(number(text), 2, ended),
            // Attributes stand in front of the value that they belong to, which is still missing after them.
            b'|' => {
                self.missing = self.missing.saturating_add(1);
                self.expect(number(text), 2, ended);
            }
            _unknown => self.place = Place::Lost,
        }
    }

    /// A value that consists of `count` times `each` others has begun.
    fn expect(&mut self, count: Option<i64>, each: u64, ended: &mut impl FnMut(Kind, &[u8])) {
        match count {
            Some(-1) => {}
            Some(count @ 0..) => {
                self.missing = self.missing.saturating_add(count.unsigned_abs().saturating_mul(each));
            }
            Some(_) | None => {
                self.place = Place::Lost;
                return;
            }
        }
        self.end_one(ended);
    }

    fn end_one(&mut self, ended: &mut impl FnMut(Kind, &[u8])) {
        self.missing = self.missing.saturating_sub(1);
        if self.missing == 0 {
            match &self.takes {
                Takes::Commands(front) => ended(self.kind, front.text()),
                Takes::Answers => ended(self.kind, b""),
            }
        }
    }
}

/// Keeps the front of a line.
fn keep(text: &mut [u8; DIGITS_MAX], seen: &mut usize, bytes: &[u8]) {
    let room = text.get_mut(*seen..).unwrap_or_default();
    let taken = room.len().min(bytes.len());
    if let (Some(room), Some(bytes)) = (room.get_mut(..taken), bytes.get(..taken)) {
        room.copy_from_slice(bytes);
    }
    *seen += taken;
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text.strip_suffix(b"\r").unwrap_or(text)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(mut values: Values, bytes: &[u8], size: usize) -> (Vec<Kind>, bool) {
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            values.advance(piece, |kind, _front| found.push(kind));
        }
        (found, values.is_between())
    }

    #[test]
    fn values_of_every_kind_are_found_however_they_are_cut() {
        for (bytes, expected) in [
            (&b"+OK\r\n-ERR no\r\n:12\r\n_\r\n,1.5\r\n#t\r\n(12345678901234567890123\r\n"[..], 7),
            (b"$5\r\nhe\nlo\r\n$0\r\n\r\n$-1\r\n!3\r\nERR\r\n=7\r\ntxt:abc\r\n", 5),
            (b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n:2\r\n*0\r\n*-1\r\n", 3),
            (b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n~1\r\n+x\r\n", 2),
            (b"|1\r\n+ttl\r\n:3\r\n*1\r\n|0\r\n+x\r\n+next\r\n", 2),
        ] {
            for size in [1, 2, 3, 7, bytes.len()] {
                let (found, between) = follow(Values::answers(), bytes, size);
                assert_eq!((found, between), (vec![Kind::Value; expected], true), "{bytes:?} in pieces of {size}");
            }
            assert!(!follow(Values::answers(), &bytes[..bytes.len() - 1], 4).1);
        }
        let pushed = b">2\r\n+message\r\n+x\r\n+OK\r\n";
        assert_eq!(follow(Values::answers(), pushed, 3).0, [Kind::Push, Kind::Value]);
    }

    #[test]
    fn commands_may_be_lines() {
        let bytes = b"PING\r\n\r\n\n*2\r\n$3\r\nGET\r\n$1\r\n\n\r\nset a 1\n+odd\r\n";
        let expected = [Kind::Inline, Kind::Value, Kind::Inline, Kind::Inline];
        for size in [1, 2, 5, bytes.len()] {
            assert_eq!(follow(Values::commands(), bytes, size), (expected.to_vec(), true), "in pieces of {size}");
        }
    }

    #[test]
    fn the_front_of_a_command_is_known_however_it_is_cut() {
        let bytes =
            b"*2\r\n$5\r\nBLPOP\r\n$30\r\nqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq\r\nclient reply off\r\n*1\r\n$4\r\nPING\r\n";
        for size in [1, 2, 5, bytes.len()] {
            let (mut values, mut found) = (Values::commands(), Vec::new());
            for piece in bytes.chunks(size) {
                values.advance(piece, |_kind, front| found.push(front.to_vec()));
            }
            let expected = [&b"BLPOP\r\nqqqqqqqqqqqqq"[..], b"client reply off\r", b"PING\r\n"];
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_value_leaves_nothing_known() {
        for bytes in [&b"hello\r\n"[..], b"$x\r\n", b"*-2\r\n", b"$123456789012345678901234\r\n", b"$?\r\n"] {
            let bytes = [bytes, b"+OK\r\n"].concat();
            assert_eq!(follow(Values::answers(), &bytes, bytes.len()), (vec![], false));
        }
    }
}
