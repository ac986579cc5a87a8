//! What a client waits for: whether it can be told something between two answers, and how long the answers take.

use std::time::Duration;

use mainstay_core::time::Moment;

use super::messages::Messages;
use crate::underway::Underway;

/// A connection behind the start-up message, followed in both directions.
#[derive(Debug)]
pub(crate) struct Dialogue {
    up: Messages,
    down: Messages,
    /// The server has been ready for a command.
    has_begun: bool,
    /// When the first message was sent after the last command that the server is due to be ready again after.
    opened: Option<Moment>,
    /// What the server is still to say for that it is ready.
    underway: Underway<Asked>,
    /// The command that is answered next copies data, which takes as long as there is data; nobody waits for an answer.
    is_copy: bool,
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// With itself.
    Whole,
    /// With a Sync.
    Synced,
}

/// Where a client could be told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// In the middle of a message, or nowhere that is known: nothing can be said.
    None,
    /// Between two messages of an answer: what was asked may or may not have been done.
    Busy,
    /// Nothing is under way.
    Quiet,
}

impl Dialogue {
    /// One whose start-up message has been sent.
    pub(crate) const fn new() -> Self {
        Self {
            up: Messages::new(),
            down: Messages::new(),
            has_begun: false,
            opened: None,
            underway: Underway::new(),
            is_copy: false,
        }
    }

    /// The client has sent this.
    pub(crate) fn up(&mut self, bytes: &[u8], now: Moment) {
        let (opened, underway) = (&mut self.opened, &mut self.underway);
        self.up.advance(
            bytes,
            |_letter| false,
            |letter, _content| match letter {
                b'Q' | b'F' => underway.begin(Asked::Whole, opened.take().unwrap_or(now)),
                b'S' => underway.begin(Asked::Synced, opened.take().unwrap_or(now)),
                // Data that is copied, and its end, belong to a command that is under way, and mean nothing without one.
                b'd' | b'c' | b'f' => {}
                _other => *opened = Some(opened.unwrap_or(now)),
            },
        );
    }

    /// The client has got this; a key of the connection that is in it is handed to `key`, and how long each command took that
    /// ends in it to `took`.
    pub(crate) fn down(
        &mut self,
        bytes: &[u8],
        now: Moment,
        mut key: impl FnMut(&[u8]),
        mut took: impl FnMut(Duration),
    ) {
        let Self { down, has_begun, opened, underway, is_copy, .. } = self;
        down.advance(
            bytes,
            |letter| letter == b'K',
            |letter, content| match letter {
                b'Z' if !*has_begun => {
                    // Passwords and the like have gone up before.
                    *has_begun = true;
                    *opened = None;
                    underway.clear();
                }
                b'Z' => {
                    let since = underway.end().map(|(_asked, since)| since).filter(|_since| !*is_copy);
                    *is_copy = false;
                    since.into_iter().for_each(|since| took(now.since(since)));
                }
                b'G' | b'H' | b'W' => {
                    *is_copy = true;
                    // While it takes data in, the server passes over a Sync that was sent before. Another one follows.
                    if letter == b'G' && underway.next() == Some(Asked::Synced) {
                        underway.end();
                    }
                }
                b'K' if !*has_begun => key(content),
                _other => {}
            },
        );
    }

    /// The connection is over: how long each command was waited for that has no answer.
    pub(crate) fn end(&mut self, now: Moment, mut took: impl FnMut(Duration)) {
        if self.is_copy {
            self.underway.end();
        }
        while let Some((_asked, since)) = self.underway.end() {
            took(now.since(since));
        }
    }

    /// Where the client is now.
    pub(crate) fn pause(&self) -> Pause {
        if !self.down.is_between() {
            return Pause::None;
        }
        let is_open = self.opened.is_some() || !self.up.is_between();
        let is_quiet = !self.has_begun || (self.underway.is_empty() && !is_open);
        if is_quiet { Pause::Quiet } else { Pause::Busy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::ZERO;

    fn message(letter: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() + 4) as u32;
        [&[letter][..], &length.to_be_bytes(), content].concat()
    }

    fn begun() -> Dialogue {
        let mut dialogue = Dialogue::new();
        let mut keys = Vec::new();
        dialogue.down(&message(b'R', &[0, 0, 0, 3]), NOW, |_key| {}, |_took| {});
        assert_eq!(dialogue.pause(), Pause::Quiet);
        dialogue.up(&message(b'p', b"secret\0"), NOW);
        let answer = [message(b'R', &[0; 4]), message(b'K', &[1, 2, 3, 4, 5, 6, 7, 8]), message(b'Z', b"I")].concat();
        dialogue.down(&answer, NOW, |key| keys.push(key.to_vec()), |_took| {});
        assert_eq!(keys, [[1, 2, 3, 4, 5, 6, 7, 8]]);
        assert_eq!(dialogue.pause(), Pause::Quiet);
        dialogue
    }

    #[test]
    fn a_query_is_under_way_until_the_server_is_ready() {
        let mut dialogue = begun();
        let query = message(b'Q', b"SELECT 1\0");
        dialogue.up(&query[..3], NOW);
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.up(&query[3..], NOW);
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.down(&message(b'D', &[0; 10])[..9], NOW, |_key| {}, |_took| {});
        assert_eq!(dialogue.pause(), Pause::None);
        dialogue.down(&message(b'D', &[0; 10])[9..], NOW, |_key| {}, |_took| {});
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.down(&message(b'Z', b"T"), NOW, |_key| {}, |_took| {});
        assert_eq!(dialogue.pause(), Pause::Quiet);
    }

    #[test]
    fn of_two_queries_at_once_one_is_still_under_way_after_the_first_answer() {
        let mut dialogue = begun();
        dialogue.up(&[message(b'Q', b"a\0"), message(b'Q', b"b\0")].concat(), NOW);
        dialogue.down(&message(b'Z', b"I"), NOW, |_key| {}, |_took| {});
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.down(&message(b'Z', b"I"), NOW, |_key| {}, |_took| {});
        assert_eq!(dialogue.pause(), Pause::Quiet);
    }

    #[test]
    fn what_no_sync_follows_is_under_way_although_the_server_has_answered() {
        let mut dialogue = begun();
        dialogue
            .up(&[message(b'P', b"\0COMMIT\0\0\0"), message(b'E', b"\0\0\0\0\0"), message(b'H', b"")].concat(), NOW);
        dialogue.down(&message(b'C', b"COMMIT\0"), NOW, |_key| {}, |_took| {});
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.up(&message(b'S', b""), NOW);
        dialogue.down(&message(b'Z', b"I"), NOW, |_key| {}, |_took| {});
        assert_eq!(dialogue.pause(), Pause::Quiet);
    }

    /// What comes down at a moment, and the milliseconds that commands took which end in it.
    fn times(dialogue: &mut Dialogue, millis: u64, letters: &str) -> Vec<u128> {
        let bytes: Vec<u8> = letters.bytes().flat_map(|letter| message(letter, b"I")).collect();
        let mut found = Vec::new();
        dialogue.down(&bytes, Moment::from_millis(millis), |_key| {}, |took| found.push(took.as_millis()));
        found
    }

    fn send(dialogue: &mut Dialogue, millis: u64, letters: &str) {
        let bytes: Vec<u8> = letters.bytes().flat_map(|letter| message(letter, b"")).collect();
        dialogue.up(&bytes, Moment::from_millis(millis));
    }

    #[test]
    fn a_command_takes_from_its_first_message_until_the_server_is_ready() {
        let mut dialogue = begun();
        send(&mut dialogue, 10, "Q");
        assert_eq!(times(&mut dialogue, 15, "TDC"), []);
        assert_eq!(times(&mut dialogue, 40, "Z"), [30]);
        send(&mut dialogue, 50, "PBE");
        send(&mut dialogue, 60, "S");
        send(&mut dialogue, 70, "QQ");
        assert_eq!(times(&mut dialogue, 80, "12CZ"), [30]);
        // What a server says unasked ends nothing.
        assert_eq!(times(&mut dialogue, 90, "ANZZ"), [20, 20]);
        assert_eq!(times(&mut dialogue, 95, "Z"), []);
    }

    #[test]
    fn a_copy_takes_as_long_as_it_takes_and_what_follows_is_timed_again() {
        // As a query, with everything at once, and with the Sync behind the data.
        for (asked, data) in [("Q", "ddc"), ("PBES", "ddcS"), ("PBE", "ddcS")] {
            let mut dialogue = begun();
            send(&mut dialogue, 0, asked);
            assert_eq!(times(&mut dialogue, 1, "G"), []);
            send(&mut dialogue, 5_000, data);
            assert_eq!(times(&mut dialogue, 5_001, "CZ"), [], "{asked}");
            assert_eq!(dialogue.pause(), Pause::Quiet, "{asked}");
            send(&mut dialogue, 6_000, "Q");
            assert_eq!(times(&mut dialogue, 6_007, "CZ"), [7], "{asked}");
        }
        let mut dialogue = begun();
        send(&mut dialogue, 0, "QQ");
        assert_eq!(times(&mut dialogue, 900, "HddcCZCZ"), [900], "the one behind it has waited for it");
    }

    #[test]
    fn what_has_no_answer_in_the_end_was_waited_for_until_then() {
        let left = |dialogue: &mut Dialogue| {
            let mut found = Vec::new();
            dialogue.end(Moment::from_millis(100), |took| found.push(took.as_millis()));
            found
        };
        let mut dialogue = begun();
        send(&mut dialogue, 10, "Q");
        send(&mut dialogue, 30, "PBESX");
        assert_eq!(left(&mut dialogue), [90, 70]);
        let mut copies = begun();
        send(&mut copies, 10, "Q");
        times(&mut copies, 20, "W");
        assert_eq!(left(&mut copies), []);
    }
}
