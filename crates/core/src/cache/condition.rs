//! Requests that want an answer only if theirs is outdated (RFC 9110, section 13; RFC 9111, section 4.3.2).

use crate::http_date;

/// What tells a stored response from another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// Its `ETag`.
    pub etag: Option<&'a [u8]>,
    /// Its `Last-Modified`; its `Date`, if it has none.
    pub modified: Option<&'a [u8]>,
}

/// Whether a client that has what it names in `If-None-Match` (all its lines) or since `If-Modified-Since` needs no copy of
/// the stored response. `now` in seconds since 1970, for dates with short years.
pub fn is_not_modified<'a>(
    mut if_none_match: impl Iterator<Item = &'a [u8]>,
    if_modified_since: Option<&[u8]>,
    stored: Validators<'_>,
    now: u64,
) -> bool {
    if let Some(first) = if_none_match.next() {
        // With entity tags, dates do not count.
        return names_tag(first, stored.etag) || if_none_match.any(|line| names_tag(line, stored.etag));
    }
    let date = |value: Option<&[u8]>| value.and_then(|value| http_date::parse(value, now));
    match (date(stored.modified), date(if_modified_since)) {
        (Some(modified), Some(since)) => modified <= since,
        (None, _) | (_, None) => false,
    }
}

/// Whether a line of `If-None-Match` names `etag`, compared weakly.
fn names_tag(line: &[u8], etag: Option<&[u8]>) -> bool {
    if line.trim_ascii() == b"*" {
        return true;
    }
    let Some(etag) = etag.map(opaque) else { return false };
    let mut rest = line;
    while let Some(open) = rest.iter().position(|byte| *byte == b'"') {
        let tag = &rest[open..];
        let Some(close) = tag.iter().skip(1).position(|byte| *byte == b'"') else { return false };
        if tag.get(..close + 2) == Some(etag) {
            return true;
        }
        rest = &tag[close + 2..];
    }
    false
}

/// An entity tag without the sign that it is weak.
fn opaque(etag: &[u8]) -> &[u8] {
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: Validators<'static> =
        Validators { etag: Some(b"\"a,b\""), modified: Some(b"Sun, 06 Nov 1994 08:49:37 GMT") };

    fn matches(lines: &[&str], since: Option<&str>, stored: Validators<'_>) -> bool {
        is_not_modified(lines.iter().map(|line| line.as_bytes()), since.map(str::as_bytes), stored, 1_795_219_200)
    }

    #[test]
    fn tags_compare_weakly_and_go_before_dates() {
        for (lines, expected) in [
            (&["\"a,b\""][..], true),
            (&["\"x\", W/\"a,b\""], true),
            (&["\"x\"", "\"a,b\""], true),
            (&["*"], true),
            (&["\"a\", \"b\""], false),
            (&["\"a,b"], false),
            (&["a,b"], false),
            (&[""], false),
        ] {
            assert_eq!(matches(lines, None, STORED), expected, "{lines:?}");
            assert_eq!(matches(lines, Some("Sat, 21 Nov 2026 00:00:00 GMT"), STORED), expected, "{lines:?}");
        }
        let weak = Validators { etag: Some(b"W/\"1\""), modified: None };
        assert!(matches(&["\"1\""], None, weak) && matches(&["W/\"1\""], None, weak));
        assert!(!matches(&["\"1\""], None, Validators::default()));
    }

    #[test]
    fn dates_count_where_there_are_no_tags() {
        for (since, expected) in [
            (Some("Sun, 06 Nov 1994 08:49:37 GMT"), true),
            (Some("Sun, 06 Nov 1994 08:49:38 GMT"), true),
            (Some("Sun, 06 Nov 1994 08:49:36 GMT"), false),
            (Some("yesterday"), false),
            (None, false),
        ] {
            assert_eq!(matches(&[], since, STORED), expected, "{since:?}");
        }
        assert!(!matches(&[], Some("Sun, 06 Nov 1994 08:49:37 GMT"), Validators::default()));
    }
}
