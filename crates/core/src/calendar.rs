//! Days of the Gregorian calendar, counted from 1970-01-01, in UTC (Howard Hinnant, "chrono-compatible low-level date
//! algorithms": years begin in March, so that the leap day is the last one).

/// Year, month and day of a number of days since 1970-01-01.
pub const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + (month <= 2) as u64, month, day)
}

/// Days from 1970-01-01 to a date; `None` for one that lies before, whose month is none, or whose day no month has.
pub const fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_of_a_thousand_years_follows_the_one_before() {
        let mut before = (1969, 12, 31);
        for number in 0..366_000 {
            let (year, month, day) = date(number);
            let follows = match before {
                (last, 12, 31) => (year, month, day) == (last + 1, 1, 1),
                (same, last, _) if day == 1 => (year, month) == (same, last + 1),
                (same_year, same_month, last) => (year, month, day) == (same_year, same_month, last + 1),
            };
            assert!(follows && days(year, month, day) == Some(number), "{before:?} {:?}", (year, month, day));
            before = (year, month, day);
        }
        assert_eq!(days(2024, 2, 29).zip(days(2024, 3, 1)), Some((19_782, 19_783)));
        assert_eq!(
            (days(1969, 12, 31), days(2024, 13, 1), days(2024, 0, 1), days(2024, 1, 0)),
            (None, None, None, None)
        );
    }
}
