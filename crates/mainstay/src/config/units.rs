//! Quantities as people write them: `500ms`, `64KiB`, `20%`. A number without its unit is refused, since a guess that
//! is wrong by a factor of a thousand is an outage.

use std::time::Duration;

use super::problem::Fault;

/// Units of durations, from small to large.
const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of sizes.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("KiB", 1_024),
    ("MB", 1_000_000),
    ("MiB", 1_048_576),
    ("GB", 1_000_000_000),
    ("GiB", 1_073_741_824),
];

/// Reads a duration such as `500ms`, `2s`, `1m`, `1h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    match quantity(text, DURATIONS) {
        Ok(millis) => Ok(Duration::from_millis(millis)),
        Err(Unreadable::NoUnit) => Err(duration_without_unit(text)),
        Err(Unreadable::Fraction) => {
            Err(Fault::new(format!("`{text}` is not a whole number of its unit"))
                .hint("use a smaller unit: \"1500ms\""))
        }
        Err(Unreadable::Unit) => Err(Fault::new(format!("`{text}` is not a duration"))
            .hint("units are ms, s, m, h and d, one of them right after the number: \"500ms\", \"2s\"")),
        Err(Unreadable::Number) => {
            Err(Fault::new(format!("`{text}` is not a duration"))
                .hint("write a number and its unit: \"500ms\", \"2s\""))
        }
        Err(Unreadable::TooLarge) => Err(Fault::new(format!("`{text}` is too long"))),
    }
}

/// What is said of a duration that is a mere number.
pub(super) fn duration_without_unit(number: &str) -> Fault {
    Fault::new("a duration needs a unit")
        .hint(format!("write \"{number}s\" for seconds or \"{number}ms\" for milliseconds"))
}

/// Reads a size such as `64KiB` in bytes.
pub(super) fn size(text: &str) -> Result<u64, Fault> {
    let examples = "units are B, KB, KiB, MB, MiB, GB and GiB, one of them right after the number: \"64KiB\"";
    match quantity(text, SIZES) {
        Ok(bytes) => Ok(bytes),
        Err(Unreadable::NoUnit) => Err(size_without_unit(text)),
        Err(Unreadable::TooLarge) => Err(Fault::new(format!("`{text}` is too large"))),
        Err(Unreadable::Fraction | Unreadable::Unit | Unreadable::Number) => {
            Err(Fault::new(format!("`{text}` is not a size")).hint(examples))
        }
    }
}

/// What is said of a size that is a mere number.
pub(super) fn size_without_unit(number: &str) -> Fault {
    Fault::new("a size needs a unit").hint(format!("write \"{number}B\" for bytes or \"{number}KiB\" for kibibytes"))
}

/// Reads a percentage such as `20%` as a share: 0.2.
pub(super) fn share(text: &str) -> Result<f64, Fault> {
    let Some(number) = text.strip_suffix('%') else {
        return Err(share_without_unit(text));
    };
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(percent) if plain && percent.is_finite() => Ok(percent / 100.0),
        Ok(_) | Err(_) => {
            Err(Fault::new(format!("`{text}` is not a percentage")).hint("write a number and a %: \"20%\""))
        }
    }
}

/// What is said of a percentage that is a mere number.
pub(super) fn share_without_unit(number: &str) -> Fault {
    let fault = Fault::new("a percentage needs a % sign");
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() && value.fract() == 0.0 => fault.hint(format!("write \"{number}%\"")),
        Ok(_) | Err(_) => fault.hint("write a number and a %: \"20%\""),
    }
}

/// A duration as it would be written in a configuration.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show(millis, DURATIONS)
}

/// A size as it would be written in a configuration.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, &[("B", 1), ("KiB", 1_024), ("MiB", 1_048_576), ("GiB", 1_073_741_824)])
}

/// A share as it would be written in a configuration.
pub(super) fn show_share(share: f64) -> String {
    format!("{}%", (share * 100_000.0).round() / 1_000.0)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().rev().find(|(_name, factor)| value >= *factor && value.is_multiple_of(*factor));
    match unit.or(units.first()) {
        Some((name, factor)) => format!("{}{name}", value / factor),
        None => value.to_string(),
    }
}

enum Unreadable {
    NoUnit,
    Fraction,
    Unit,
    Number,
    TooLarge,
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Result<u64, Unreadable> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Unreadable::Number);
    }
    if unit.is_empty() {
        return Err(Unreadable::NoUnit);
    }
    if unit.starts_with('.') {
        return Err(Unreadable::Fraction);
    }
    let Some((_name, factor)) = units.iter().find(|(name, _factor)| *name == unit) else {
        return Err(Unreadable::Unit);
    };
    let number: u64 = number.parse().map_err(|_overflow| Unreadable::TooLarge)?;
    number.checked_mul(*factor).ok_or(Unreadable::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("500ms", 500), ("2s", 2_000), ("1m", 60_000), ("1h", 3_600_000), ("7d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(duration(text).expect(text), Duration::from_millis(millis), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "5 s",
            "5S",
            "5sec",
            "99999999999999999999s",
            "99999999999999999d",
            "1m30s",
            "五s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("1B", 1), ("64KiB", 65_536), ("1MB", 1_000_000), ("1GiB", 1_073_741_824)] {
            assert_eq!(size(text).expect(text), bytes, "{text}");
        }
        for text in ["", "64", "64kib", "64 KiB", "1.5MiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares() {
        for (text, value) in [("20%", 0.2), ("0%", 0.0), ("100%", 1.0), ("12.5%", 0.125)] {
            assert!((share(text).expect(text) - value).abs() < 1e-12, "{text}");
        }
        for text in ["", "%", "20", "0.2", "-5%", "inf%", "nan%", "1e3%", "1.2.3%", "20 %"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in ["1ms", "1500ms", "90s", "2m", "36h", "7d"] {
            assert_eq!(show_duration(duration(text).expect(text)), text);
        }
        for text in ["1000B", "64KiB", "1MiB"] {
            assert_eq!(show_size(size(text).expect(text)), text);
        }
        assert_eq!(show_share(0.2), "20%");
    }
}
