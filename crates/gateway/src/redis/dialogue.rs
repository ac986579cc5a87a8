//! What a client waits for: whether it can be told something that it cannot take for an answer to something else.

use super::values::{Kind, Values};

/// A connection, followed in both directions.
#[derive(Debug)]
pub(crate) struct Dialogue {
    up: Values,
    down: Values,
    awaited: u64,
    /// There were answers that nobody had asked for (subscriptions, MONITOR): what is awaited cannot be counted.
    is_odd: bool,
}

impl Dialogue {
    pub(crate) const fn new() -> Self {
        Self { up: Values::commands(), down: Values::answers(), awaited: 0, is_odd: false }
    }

    /// The client has sent this.
    pub(crate) fn up(&mut self, bytes: &[u8]) {
        let awaited = &mut self.awaited;
        self.up.advance(bytes, |_kind| *awaited += 1);
    }

    /// The client has got this.
    pub(crate) fn down(&mut self, bytes: &[u8]) {
        let (awaited, is_odd) = (&mut self.awaited, &mut self.is_odd);
        self.down.advance(bytes, |kind| match (kind, awaited.checked_sub(1)) {
            (Kind::Push, _) => {}
            (Kind::Value | Kind::Inline, Some(less)) => *awaited = less,
            (Kind::Value | Kind::Inline, None) => *is_odd = true,
        });
    }

    /// Nothing is under way: what is said now is the answer to the client's next command, which nobody carries out.
    pub(crate) fn is_quiet(&self) -> bool {
        self.awaited == 0 && !self.is_odd && self.up.is_between() && self.down.is_between()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_answers_are_counted() {
        let mut dialogue = Dialogue::new();
        assert!(dialogue.is_quiet());
        dialogue.up(b"*1\r\n$4\r\nPING\r\nPING\r\n*2\r\n");
        dialogue.down(b"+PONG\r\n+PONG\r\n");
        assert!(!dialogue.is_quiet(), "a command is on its way");
        dialogue.up(b"$4\r\nINCR\r\n$1\r\na\r\n");
        dialogue.down(b">1\r\n+invalidate\r\n");
        assert!(!dialogue.is_quiet(), "what is pushed is no answer");
        dialogue.down(b":1\r\n");
        assert!(dialogue.is_quiet());
        dialogue.down(b"*3\r\n+message\r\n+a\r\n+b\r\n");
        assert!(!dialogue.is_quiet(), "nobody has asked for that");
    }
}
