//! What a client waits for: whether it can be told something between two answers.

use super::messages::Messages;

/// A connection behind the start-up message, followed in both directions.
#[derive(Debug)]
pub(crate) struct Dialogue {
    up: Messages,
    down: Messages,
    /// The server has been ready for a command.
    has_begun: bool,
    /// Something was sent after the last command that the server is due to be ready again after.
    is_open: bool,
    /// How often the server is still to say that it is ready.
    awaited: u64,
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
        Self { up: Messages::new(), down: Messages::new(), has_begun: false, is_open: false, awaited: 0 }
    }

    /// The client has sent this.
    pub(crate) fn up(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.is_open = true;
        let (awaited, is_open) = (&mut self.awaited, &mut self.is_open);
        // A simple query, a function call and a Sync each end with the server being ready again.
        self.up.advance(
            bytes,
            |_letter| false,
            |letter, _content| {
                let is_last = matches!(letter, b'Q' | b'F' | b'S');
                *awaited += u64::from(is_last);
                *is_open = !is_last;
            },
        );
        self.is_open |= !self.up.is_between();
    }

    /// The client has got this; a key of the connection that is in it is handed to `key`.
    pub(crate) fn down(&mut self, bytes: &[u8], mut key: impl FnMut(&[u8])) {
        let (awaited, has_begun, is_open) = (&mut self.awaited, &mut self.has_begun, &mut self.is_open);
        self.down.advance(
            bytes,
            |letter| letter == b'K',
            |letter, content| match letter {
                b'Z' if !*has_begun => {
                    // Passwords and the like have gone up before.
                    *has_begun = true;
                    (*awaited, *is_open) = (0, false);
                }
                b'Z' => *awaited = awaited.saturating_sub(1),
                b'K' if !*has_begun => key(content),
                _other => {}
            },
        );
    }

    /// Where the client is now.
    pub(crate) const fn pause(&self) -> Pause {
        if !self.down.is_between() {
            return Pause::None;
        }
        let is_quiet = !self.has_begun || (self.awaited == 0 && !self.is_open);
        if is_quiet { Pause::Quiet } else { Pause::Busy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(letter: u8, content: &[u8]) -> Vec<u8> {
        let length = (content.len() + 4) as u32;
        [&[letter][..], &length.to_be_bytes(), content].concat()
    }

    fn begun() -> Dialogue {
        let mut dialogue = Dialogue::new();
        let mut keys = Vec::new();
        dialogue.down(&message(b'R', &[0, 0, 0, 3]), |_key| {});
        assert_eq!(dialogue.pause(), Pause::Quiet);
        dialogue.up(&message(b'p', b"secret\0"));
        let answer = [message(b'R', &[0; 4]), message(b'K', &[1, 2, 3, 4, 5, 6, 7, 8]), message(b'Z', b"I")].concat();
        dialogue.down(&answer, |key| keys.push(key.to_vec()));
        assert_eq!(keys, [[1, 2, 3, 4, 5, 6, 7, 8]]);
        assert_eq!(dialogue.pause(), Pause::Quiet);
        dialogue
    }

    #[test]
    fn a_query_is_under_way_until_the_server_is_ready() {
        let mut dialogue = begun();
        let query = message(b'Q', b"SELECT 1\0");
        dialogue.up(&query[..3]);
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.up(&query[3..]);
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.down(&message(b'D', &[0; 10])[..9], |_key| {});
        assert_eq!(dialogue.pause(), Pause::None);
        dialogue.down(&message(b'D', &[0; 10])[9..], |_key| {});
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.down(&message(b'Z', b"T"), |_key| {});
        assert_eq!(dialogue.pause(), Pause::Quiet);
    }

    #[test]
    fn of_two_queries_at_once_one_is_still_under_way_after_the_first_answer() {
        let mut dialogue = begun();
        dialogue.up(&[message(b'Q', b"a\0"), message(b'Q', b"b\0")].concat());
        dialogue.down(&message(b'Z', b"I"), |_key| {});
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.down(&message(b'Z', b"I"), |_key| {});
        assert_eq!(dialogue.pause(), Pause::Quiet);
    }

    #[test]
    fn what_no_sync_follows_is_under_way_although_the_server_has_answered() {
        let mut dialogue = begun();
        dialogue.up(&[message(b'P', b"\0COMMIT\0\0\0"), message(b'E', b"\0\0\0\0\0"), message(b'H', b"")].concat());
        dialogue.down(&message(b'C', b"COMMIT\0"), |_key| {});
        assert_eq!(dialogue.pause(), Pause::Busy);
        dialogue.up(&message(b'S', b""));
        dialogue.down(&message(b'Z', b"I"), |_key| {});
        assert_eq!(dialogue.pause(), Pause::Quiet);
    }
}
