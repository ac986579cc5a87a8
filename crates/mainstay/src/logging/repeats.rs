//! Lines of the log that come again and again: so many of a message are written in a while, the rest is counted and told of in
//! one line.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use tracing::Level;

/// The while.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Lines of one message in it, from `info` upwards.
pub const LINES_MAX: u32 = 100;
/// Those of finer levels, which somebody has asked for.
pub const FINE_LINES_MAX: u32 = 1_000;
/// Messages that are told apart. They are places in the program, so that there are never so many; all others count as one.
const MESSAGES_MAX: usize = 1_024;

/// The lines of one message.
#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    left_out: u64,
    /// Since when lines are left out that were not told of.
    since: Instant,
    level: Level,
    message: String,
}

/// Lines that were left out, of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// How grave they were.
    pub level: Level,
    /// What they said.
    pub message: String,
    /// How many there were.
    pub count: u64,
}

/// What is known of messages. `K` is what tells one from another.
#[derive(Debug)]
pub struct Repeats<K> {
    windows: HashMap<K, Window>,
    /// For messages that have no place.
    others: Option<Window>,
    left_out: u64,
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self { windows: HashMap::new(), others: None, left_out: 0 }
    }
}

impl<K: Eq + Hash> Repeats<K> {
    /// Whether a line is written. `message` is only asked for the first one that is not.
    pub fn admit(&mut self, key: K, level: Level, now: Instant, message: impl FnOnce() -> String) -> bool {
        let fresh = || Window { began: now, lines: 0, left_out: 0, since: now, level, message: String::new() };
        let has_place = self.windows.len() < MESSAGES_MAX || self.windows.contains_key(&key);
        let window = match has_place {
            true => self.windows.entry(key).or_insert_with(fresh),
            false => self.others.get_or_insert_with(fresh),
        };
        if now.saturating_duration_since(window.began) >= WINDOW {
            (window.began, window.lines) = (now, 0);
        }
        window.lines = window.lines.saturating_add(1);
        let most = if level <= Level::INFO { LINES_MAX } else { FINE_LINES_MAX };
        if window.lines <= most {
            return true;
        }
        if window.left_out == 0 {
            (window.since, window.level, window.message) = (now, level, message());
        }
        window.left_out += 1;
        self.left_out += 1;
        false
    }

    /// What was left out for as long as a window (`None`: for however long), and has not been told yet.
    pub fn tell(&mut self, now: Option<Instant>) -> Vec<LeftOut> {
        let is_over = |window: &Window| now.is_none_or(|now| now.saturating_duration_since(window.since) >= WINDOW);
        let mut told = Vec::new();
        for window in self.windows.values_mut().chain(&mut self.others) {
            if window.left_out > 0 && is_over(window) {
                let message = std::mem::take(&mut window.message);
                told.push(LeftOut { level: window.level, message, count: std::mem::take(&mut window.left_out) });
            }
        }
        told
    }

    /// Lines that were left out since the start.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_in_a_while_is_counted_and_told_once() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut written = |key, level, now| {
            (0..2_000).filter(|_line| repeats.admit(key, level, now, || format!("line {key}"))).count()
        };
        assert_eq!(written(1, Level::WARN, start), 100);
        assert_eq!(written(2, Level::DEBUG, at(1)), 1_000);
        assert_eq!(written(1, Level::WARN, at(9)), 0);
        // Another while.
        assert_eq!(written(1, Level::WARN, at(10)), 100);
        assert_eq!(repeats.left_out(), 1_900 + 1_000 + 2_000 + 1_900);
        assert!(repeats.tell(Some(at(9))).is_empty());
        let told = repeats.tell(Some(at(10)));
        assert_eq!(told, [LeftOut { level: Level::WARN, message: "line 1".to_owned(), count: 5_800 }]);
        assert!(repeats.tell(Some(at(10))).is_empty());
        assert_eq!(repeats.tell(None).len(), 1);
    }

    #[test]
    fn messages_without_a_place_share_one() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let admitted = (0..10_000).filter(|key| repeats.admit(*key, Level::INFO, now, String::new)).count();
        assert_eq!(admitted, MESSAGES_MAX + LINES_MAX as usize);
        assert_eq!(repeats.windows.len(), MESSAGES_MAX);
        assert_eq!(repeats.tell(None).len(), 1);
    }
}
