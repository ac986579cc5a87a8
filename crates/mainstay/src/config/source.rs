//! The text of a configuration file: positions in it, and excerpts of it that give no secret away.

use std::ops::Range;

/// The longest excerpt, in characters; longer lines are cut around what they show.
const EXCERPT_CHARS_MAX: usize = 120;

/// Words that mark a line whose value may be a secret, whatever section it is in.
const SECRET_WORDS: &[&str] =
    &["headers", "authorization", "password", "passwd", "secret", "token", "cookie", "api-key", "api_key", "apikey"];

/// Whether what stands under this key may be a secret.
pub(super) fn is_secret_word(key: &str) -> bool {
    // The body of a request that a check sends.
    if key == "body" {
        return true;
    }
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// A text and where its lines begin.
#[derive(Debug)]
pub(super) struct Source<'t> {
    text: &'t str,
    line_starts: Vec<usize>,
    /// Bytes that are never shown.
    secret: Vec<Range<usize>>,
    /// Where values stand is not known for sure, so that lines are judged by their words.
    is_recovered: bool,
}

/// A position for people: both count from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// The line that a problem is on, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, with secrets masked and cut if it is very long.
    pub line: String,
    /// Characters before the part that is meant.
    pub indent: usize,
    /// Characters of the part that is meant; at least 1.
    pub width: usize,
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str, is_recovered: bool) -> Self {
        let mut line_starts = vec![0];
        line_starts.extend(text.bytes().enumerate().filter(|(_at, byte)| *byte == b'\n').map(|(at, _byte)| at + 1));
        Self { text, line_starts, secret: Vec::new(), is_recovered }
    }

    /// Keeps the bytes of `spans`, of which none overlaps another, out of every excerpt.
    pub(super) fn hide(&mut self, mut spans: Vec<Range<usize>>) {
        spans.sort_by_key(|span| span.start);
        self.secret = spans;
    }

    fn is_hidden(&self, offset: usize) -> bool {
        let next = self.secret.partition_point(|span| span.start <= offset);
        next.checked_sub(1).and_then(|last| self.secret.get(last)).is_some_and(|span| span.contains(&offset))
    }

    pub(super) fn is_recovered(&self) -> bool {
        self.is_recovered
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let offset = self.floor(offset);
        let line = self.line_of(offset);
        let start = self.line_starts.get(line).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count());
        Position { line: line + 1, column: column + 1 }
    }

    /// The line that `span` begins on; `None` for an empty text.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> Option<Excerpt> {
        let from = self.floor(span.start);
        let number = self.line_of(from);
        let start = self.line_starts.get(number).copied()?;
        let end = self.line_starts.get(number + 1).map_or(self.text.len(), |next| next - 1);
        let line = self.text.get(start..end)?.trim_end_matches('\r');
        if line.trim().is_empty() {
            return None;
        }
        let masked = self.mask(number, start, line);
        let indent = line.get(..from.saturating_sub(start)).map_or(masked.len(), |before| before.chars().count());
        let until = self.floor(span.end).clamp(from, start + line.len().max(from - start));
        let width = self.text.get(from..until).map_or(1, |part| part.chars().count()).max(1);
        Some(cut(&masked, indent, width))
    }

    /// The characters of `line`, those of secrets replaced one by one so that columns stay.
    fn mask(&self, number: usize, start: usize, line: &str) -> Vec<char> {
        let equals = line.find('=');
        let all_secret = self.is_recovered && self.may_hold_a_secret(number, line);
        line.char_indices()
            .map(|(at, character)| {
                let is_hidden = self.is_hidden(start + at) || (all_secret && equals.is_none_or(|equals| at > equals));
                match character {
                    '"' | ' ' if is_hidden => character,
                    _ if is_hidden => '*',
                    '\t' => ' ',
                    other if other.is_control() => '\u{fffd}',
                    other => other,
                }
            })
            .collect()
    }

    /// Judged by the text alone, since spans are not to be had of what does not parse.
    fn may_hold_a_secret(&self, number: usize, line: &str) -> bool {
        if line.trim_start().starts_with('[') {
            return false;
        }
        if is_secret_word(line) {
            return true;
        }
        // The table's header counts too: below `[route.request_headers.set]` every line sets a header.
        let before = self.line_starts.get(number).and_then(|start| self.text.get(..*start)).unwrap_or_default();
        let header = before.lines().rev().find(|line| line.trim_start().starts_with('['));
        header.is_some_and(is_secret_word)
    }

    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// The nearest boundary of a character at or before `offset`.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

fn cut(line: &[char], indent: usize, width: usize) -> Excerpt {
    let indent = indent.min(line.len());
    let from = if line.len() > EXCERPT_CHARS_MAX { indent.saturating_sub(EXCERPT_CHARS_MAX / 2) } else { 0 };
    let shown: String = line.iter().skip(from).take(EXCERPT_CHARS_MAX).collect();
    let indent = indent - from;
    let width = width.min(EXCERPT_CHARS_MAX.saturating_sub(indent)).max(1);
    Excerpt { line: shown, indent, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new("a = 1\nüb = 2\n", false);
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(8), Position { line: 2, column: 2 });
        assert_eq!(source.position(7), Position { line: 2, column: 1 }, "inside a character");
        assert_eq!(source.position(999), Position { line: 3, column: 1 });
    }

    #[test]
    fn excerpts_hide_what_may_be_secret() {
        for (text, at) in [
            ("x = { authorization = \"Bearer s3cret\" }", 4),
            ("[route.request_headers.set]\n# sent on\nx-a = \"s3cret\"", 38),
            ("[node]\nadmin_token = \"s3cret\"", 7),
        ] {
            let excerpt = Source::new(text, true).excerpt(&(at..at + 3)).expect("a line");
            assert!(!excerpt.line.contains("s3cret"), "{excerpt:?}");
        }
        let text = "a = \"s3cret\", b = 2, c = \"s3cret\"";
        let mut source = Source::new(text, false);
        source.hide(vec![25..33, 4..12]);
        assert_eq!(source.excerpt(&(14..15)).expect("a line").line, "a = \"******\", b = 2, c = \"******\"");
    }

    #[test]
    fn long_lines_are_cut_around_the_problem() {
        let text = format!("{}here{}", "x".repeat(500), "y".repeat(500));
        let excerpt = Source::new(&text, false).excerpt(&(500..504)).expect("a line");
        assert_eq!(excerpt.line.chars().skip(excerpt.indent).take(excerpt.width).collect::<String>(), "here");
    }
}
