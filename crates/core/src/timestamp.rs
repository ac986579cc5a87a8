//! Times of day as text (RFC 3339), from and to milliseconds since 1970.

use crate::calendar;

/// `2026-11-21T10:33:07.042Z` of milliseconds since 1970.
pub fn rfc3339(millis: u64) -> String {
    let seconds = millis / 1000;
    let (year, month, day) = calendar::date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", millis % 1000)
}

/// Reads a time with its offset, such as `2026-11-21T10:33:07.042Z` or `2026-11-21T11:33:07+01:00`, into milliseconds since
/// 1970; from 1970 to 9999, and `None` for anything else. What is finer than a millisecond is cut off.
pub fn parse(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let sign = |at: usize, wanted: &[u8]| text.as_bytes().get(at).is_some_and(|byte| wanted.contains(byte));
    let is_parted = sign(4, b"-") && sign(7, b"-") && sign(10, b"Tt ") && sign(13, b":") && sign(16, b":");
    let days = calendar::days(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !is_parted || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (millis, zone) = fraction(text.get(19..)?)?;
    let local = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let utc = local.checked_add_signed(-60 * offset_minutes(zone)?)?;
    Some(utc * 1000 + millis)
}

/// Milliseconds of what follows the seconds, and the rest.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Some((0, text)) };
    let (digits, rest) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let padded: String = digits.chars().chain("000".chars()).take(3).collect();
    (!digits.is_empty()).then(|| padded.parse().ok()).flatten().map(|millis| (millis, rest))
}

/// Minutes that a local time is ahead of UTC.
fn offset_minutes(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let two =
        |text: &str| (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok());
    let (hours, minutes): (i64, i64) = (two(hours)??, two(minutes)??);
    let ahead = hours * 60 + minutes;
    match zone.as_bytes().first()? {
        _ if hours > 23 || minutes > 59 => None,
        b'+' => Some(ahead),
        b'-' => Some(-ahead),
        _other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_text_and_back() {
        for (text, millis) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T00:00:00.000Z", 951_782_400_000),
            ("2024-02-29T23:59:59.999Z", 1_709_251_199_999),
            ("2026-11-21T10:33:07.042Z", 1_795_257_187_042),
        ] {
            assert_eq!(rfc3339(millis), text);
            assert_eq!(parse(text), Some(millis));
        }
        assert_eq!(parse("2026-11-21T11:33:07.0421234+01:00"), Some(1_795_257_187_042));
        assert_eq!(parse("2026-11-21T09:03:07-01:30"), Some(1_795_257_187_000));
        assert_eq!(parse("2026-11-21T10:33:07Z"), Some(1_795_257_187_000));
    }

    #[test]
    fn anything_else_is_no_time() {
        for wrong in [
            "",
            "2026",
            "2026-11-21",
            "2026-13-21T10:33:07Z",
            "2026-11-21T24:33:07Z",
            "2026-11-21T10:33:07",
            "2026-11-21T10:33:07.Z",
            "2026-11-21T10:33:07+99:00",
            "2026-11-21T10:33:07+1:00",
            "2026-11-21T10:33:07 01:00",
            "1970-01-01T00:00:00+01:00",
            "é026-11-21T10:33",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
