//! The monotonic clock behind every [`Moment`], and wall-clock time for people.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mainstay_core::calendar;
use mainstay_core::time::Moment;

static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// The process's monotonic clock. All copies share one origin, so that their moments compare.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// The clock; its origin is the first call in the process.
    pub fn new() -> Self {
        Self { origin: *ORIGIN.get_or_init(Instant::now) }
    }

    /// The present moment.
    pub fn now(self) -> Moment {
        self.at(Instant::now())
    }

    /// The moment that an instant stands for.
    pub fn at(self, instant: Instant) -> Moment {
        let nanos = instant.saturating_duration_since(self.origin).as_nanos();
        Moment::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The instant of a moment; `None` for one so far away that the system cannot name it, such as [`Moment::NEVER`].
    pub fn instant(self, moment: Moment) -> Option<Instant> {
        if moment == Moment::NEVER {
            return None;
        }
        self.origin.checked_add(Duration::from_nanos(moment.as_nanos()))
    }

    /// Waits until `moment`; for ever if it never comes.
    pub async fn sleep_until(self, moment: Moment) {
        match self.instant(moment) {
            Some(instant) => tokio::time::sleep_until(instant.into()).await,
            None => std::future::pending().await,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The clock that leases are counted with: CLOCK_BOOTTIME, which goes on while the machine is suspended, is the same for all
/// processes of a machine, and cannot be set. Its moments do not compare with those of [`Clock`].
///
/// A clock for tests leaps when it is told to; all copies are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Boottime {
    leapt: Option<Arc<AtomicI64>>,
}

impl Boottime {
    /// The system's.
    pub const fn system() -> Self {
        Self { leapt: None }
    }

    /// One that runs as the system's does, and that [`Self::leap`] moves.
    pub fn leaping() -> Self {
        Self { leapt: Some(Arc::default()) }
    }

    /// The present moment, counted from the start of the machine.
    pub fn now(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0));
        let leapt = self.leapt.as_ref().map_or(0, |leapt| leapt.load(Ordering::SeqCst));
        Moment::from_nanos(nanos.saturating_add_signed(leapt))
    }

    /// Moves a clock for tests by so many milliseconds; the system's stays as it is.
    pub fn leap(&self, millis: i64) {
        if let Some(leapt) = &self.leapt {
            leapt.fetch_add(millis.saturating_mul(1_000_000), Ordering::SeqCst);
        }
    }

    /// Waits until `moment`; for ever if it is [`Moment::NEVER`]. What the machine sleeps counts, and is noticed within a
    /// tenth of a second of running.
    pub async fn sleep_until(&self, moment: Moment) {
        if moment == Moment::NEVER {
            std::future::pending::<()>().await;
        }
        loop {
            let left = moment.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(Duration::from_millis(100))).await;
        }
    }
}

/// Writes wall-clock times in UTC, as RFC 3339 with milliseconds and as HTTP wants them, without allocating. The date is
/// worked out once a second.
#[derive(Clone, Debug)]
pub struct Wall {
    second: u64,
    text: [u8; 24],
    http: [u8; 29],
}

impl Wall {
    /// A formatter.
    pub fn new() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000Z", http: *b"Thu, 01 Jan 1970 00:00:00 GMT" }
    }

    /// Appends `time`. Times before 1970 come out as its first moment, times after 9999 as the last second of that year.
    pub fn write(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = self.advance(time);
        digits(&mut self.text[20..23], u64::from(since.subsec_millis()));
        out.extend_from_slice(&self.text);
    }

    /// `time` as the `Date` header has it (RFC 9110, section 5.6.7), within the same bounds.
    pub fn http_date(&mut self, time: SystemTime) -> [u8; 29] {
        self.advance(time);
        self.http
    }

    fn advance(&mut self, time: SystemTime) -> Duration {
        const LAST: u64 = 253_402_300_799;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs().min(LAST);
        if second != self.second {
            self.second = second;
            self.text = date_and_time(second);
            self.http = http_date(second, &self.text);
        }
        since
    }
}

impl Default for Wall {
    fn default() -> Self {
        Self::new()
    }
}

fn date_and_time(second: u64) -> [u8; 24] {
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let (year, month, day) = calendar::date(second / 86_400);
    let of_day = second % 86_400;
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], of_day / 3600);
    digits(&mut text[14..16], of_day / 60 % 60);
    digits(&mut text[17..19], of_day % 60);
    text
}

/// The same moment in the other order of words; `text` is what [`date_and_time`] made of it.
fn http_date(second: u64, text: &[u8; 24]) -> [u8; 29] {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut http = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let month = usize::from(text[5] - b'0') * 10 + usize::from(text[6] - b'0');
    http[..3].copy_from_slice(DAYS[(second / 86_400 % 7) as usize]);
    http[5..7].copy_from_slice(&text[8..10]);
    http[8..11].copy_from_slice(&MONTHS[month * 3 - 3..month * 3]);
    http[12..16].copy_from_slice(&text[..4]);
    http[17..25].copy_from_slice(&text[11..19]);
    http
}

fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(seconds: u64, millis: u64) -> String {
        let mut out = Vec::new();
        let mut wall = Wall::new();
        wall.write(UNIX_EPOCH + Duration::from_secs(seconds), &mut out);
        out.clear();
        wall.write(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn wall_times_are_rfc_3339() {
        for (seconds, millis, expected) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, 7, "2000-02-29T00:00:00.007Z"),
            (1_709_164_799, 999, "2024-02-28T23:59:59.999Z"),
            (1_709_164_800, 0, "2024-02-29T00:00:00.000Z"),
            (4_107_542_400, 1, "2100-03-01T00:00:00.001Z"),
            (1_795_257_942, 250, "2026-11-21T10:45:42.250Z"),
            (999_999_999_999, 0, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(written(seconds, millis), expected);
        }
    }

    #[test]
    fn http_dates_are_those_of_the_standard() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        ] {
            let text = Wall::new().http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(std::str::from_utf8(&text).unwrap(), expected);
        }
    }

    #[test]
    fn moments_and_instants_correspond() {
        let clock = Clock::new();
        let now = Instant::now();
        assert_eq!(clock.instant(clock.at(now)), Some(now.max(clock.origin)));
        assert_eq!(clock.instant(Moment::NEVER), None);
        assert!(Clock::new().now() >= clock.at(now));
    }

    #[test]
    fn boottime_runs_leaps_for_tests_and_is_waited_for() {
        let system = Boottime::system();
        let before = system.now();
        crate::thread::run_here(async {
            system.sleep_until(before.after(Duration::from_millis(120))).await;
            assert!(system.now().since(before) >= Duration::from_millis(120));
        })
        .unwrap();
        system.leap(1_000_000_000);
        assert!(system.now().since(before) < Duration::from_secs(100_000), "the system's cannot be moved");
        let (leaping, before) = (Boottime::leaping(), system.now());
        let same = leaping.clone();
        same.leap(3_600_000);
        assert!(leaping.now().since(before) >= Duration::from_secs(3600));
        same.leap(-7_200_000);
        assert!(leaping.now() < before);
    }
}
