//! What a client waits for: whether it can be told something that it cannot take for an answer to something else, and how long
//! the answers take.

use std::time::Duration;

use mainstay_core::time::Moment;

use super::manner::Manner;
use super::values::{Kind, Values};
use crate::underway::Underway;

/// A connection, followed in both directions.
#[derive(Debug)]
pub(crate) struct Dialogue {
    up: Values,
    down: Values,
    underway: Underway<Manner>,
    /// There were answers that nobody had asked for (subscriptions, MONITOR), or will be none where some are due: what is
    /// awaited cannot be counted.
    is_odd: bool,
}

impl Dialogue {
    pub(crate) const fn new() -> Self {
        Self { up: Values::commands(), down: Values::answers(), underway: Underway::new(), is_odd: false }
    }

    /// The client has sent this.
    pub(crate) fn up(&mut self, bytes: &[u8], now: Moment) {
        let Self { up, underway, is_odd, .. } = self;
        up.advance(bytes, |_kind, front| match Manner::of(front) {
            Manner::Mute => *is_odd = true,
            manner @ (Manner::Prompt | Manner::Patient) => underway.begin(manner, now),
        });
        self.note_odd();
    }

    /// The client has got this; how long each command took that is answered in it is handed to `took`.
    pub(crate) fn down(&mut self, bytes: &[u8], now: Moment, mut took: impl FnMut(Duration)) {
        let Self { down, underway, is_odd, .. } = self;
        down.advance(bytes, |kind, _front| match kind {
            Kind::Push => {}
            Kind::Value | Kind::Inline => match underway.end() {
                Some((Manner::Prompt, since)) => took(now.since(since)),
                Some((Manner::Patient | Manner::Mute, _since)) => {}
                None => *is_odd = true,
            },
        });
        self.note_odd();
    }

    /// The connection is over: how long each command was waited for that has no answer.
    pub(crate) fn end(&mut self, now: Moment, mut took: impl FnMut(Duration)) {
        while let Some((manner, since)) = self.underway.end() {
            if manner == Manner::Prompt {
                took(now.since(since));
            }
        }
    }

    /// Nothing is under way: what is said now is the answer to the client's next command, which nobody carries out.
    pub(crate) fn is_quiet(&self) -> bool {
        self.underway.is_empty() && !self.is_odd && self.up.is_between() && self.down.is_between()
    }

    /// Where answers cannot be told apart nothing is timed.
    fn note_odd(&mut self) {
        if self.is_odd {
            self.underway.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::ZERO;

    #[test]
    fn commands_and_answers_are_counted() {
        let mut dialogue = Dialogue::new();
        assert!(dialogue.is_quiet());
        dialogue.up(b"*1\r\n$4\r\nPING\r\nPING\r\n*2\r\n", NOW);
        dialogue.down(b"+PONG\r\n+PONG\r\n", NOW, |_took| {});
        assert!(!dialogue.is_quiet(), "a command is on its way");
        dialogue.up(b"$4\r\nINCR\r\n$1\r\na\r\n", NOW);
        dialogue.down(b">1\r\n+invalidate\r\n", NOW, |_took| {});
        assert!(!dialogue.is_quiet(), "what is pushed is no answer");
        dialogue.down(b":1\r\n", NOW, |_took| {});
        assert!(dialogue.is_quiet());
        dialogue.down(b"*3\r\n+message\r\n+a\r\n+b\r\n", NOW, |_took| {});
        assert!(!dialogue.is_quiet(), "nobody has asked for that");
    }

    /// Sends commands at so many milliseconds, and answers at so many, and says how long each of them took.
    fn times(steps: &[(u64, &[u8], &[u8])]) -> Vec<u128> {
        let (mut dialogue, mut found) = (Dialogue::new(), Vec::new());
        for (millis, up, down) in steps {
            let now = Moment::from_millis(*millis);
            dialogue.up(up, now);
            dialogue.down(down, now, |took| found.push(took.as_millis()));
        }
        dialogue.end(Moment::from_millis(1_000), |took| found.push(took.as_millis()));
        found
    }

    #[test]
    fn a_command_takes_until_its_answer_and_one_that_waits_by_itself_is_not_timed() {
        let get: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        let pop: &[u8] = b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n";
        assert_eq!(times(&[(10, get, b""), (12, get, b""), (30, b"", b"$-1\r\n$-1\r\n")]), [20, 18]);
        assert_eq!(times(&[(10, pop, b""), (500, b"", b"*-1\r\n"), (600, get, b""), (604, b"", b"$-1\r\n")]), [4]);
        assert_eq!(times(&[(10, get, b""), (20, pop, b"")]), [990], "what has no answer was waited for until the end");
        // Two answers to one command, and none to another: whose the next ones are is not known.
        assert_eq!(times(&[(10, b"SUBSCRIBE a b\r\n", b"*1\r\n+a\r\n*1\r\n+b\r\n"), (20, get, b"")]), [0]);
        assert_eq!(times(&[(10, b"client reply skip\r\n", b""), (20, get, b""), (30, get, b"$-1\r\n")]), []);
    }
}
