//! Dates as HTTP fields have them (RFC 9110, section 5.6.7), read into seconds since 1970.

use crate::calendar;

/// Reads a date in any of the three forms that a recipient has to take: `Sun, 06 Nov 1994 08:49:37 GMT`,
/// `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`. Seconds since 1970; `None` if it is none of them or lies
/// before. `now`, in the same seconds, decides the century of two-digit years: never more than 50 years ahead.
pub fn parse(value: &[u8], now: u64) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split([' ', ',', '-']).filter(|part| !part.is_empty());
    let _weekday = parts.next()?;
    let second = parts.next()?;
    let (day, month, year, time) = if second.bytes().all(|byte| byte.is_ascii_digit()) {
        let (month, year, time) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next()? != "GMT" {
            return None;
        }
        (second, month, year, time)
    } else {
        let (day, time, year) = (parts.next()?, parts.next()?, parts.next()?);
        (day, second, year, time)
    };
    if parts.next().is_some() {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let day = number(day, 1..=2)?;
    let year = match year.len() {
        4 => number(year, 4..=4)?,
        2 => century(number(year, 2..=2)?, now),
        _other => return None,
    };
    let mut clock = time.split(':').map(|part| number(part, 2..=2));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if clock.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(calendar::days(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second)
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The year that two digits mean.
fn century(digits: u64, now: u64) -> u64 {
    // 365.2425 days a year: exact enough to tell centuries apart.
    let this_year = 1970 + now / 31_556_952;
    let year = this_year / 100 * 100 + digits;
    if year > this_year + 50 { year - 100 } else { year }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21.
    const NOW: u64 = 1_795_219_200;

    #[test]
    fn all_three_forms_are_read() {
        let same = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
        for text in same {
            assert_eq!(parse(text.as_bytes(), NOW), Some(784_111_777), "{text}");
        }
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Thu, 29 Feb 2024 23:59:59 GMT", 1_709_251_199),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Sat, 21 Nov 2026 00:00:00 GMT", NOW),
            ("Thursday, 01-Jan-70 00:00:00 GMT", 3_155_760_000),
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), Some(seconds), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "\u{fc}",
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), None, "{text}");
        }
    }
}
