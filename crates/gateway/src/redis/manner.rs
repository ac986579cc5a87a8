//! What answers a command has.

/// Commands that wait for something that others do, for as long as they say.
const PATIENT: [&[u8]; 12] = [
    b"BLMOVE",
    b"BLMPOP",
    b"BLPOP",
    b"BRPOP",
    b"BRPOPLPUSH",
    b"BZMPOP",
    b"BZPOPMAX",
    b"BZPOPMIN",
    b"WAIT",
    b"WAITAOF",
    b"XREAD",
    b"XREADGROUP",
];

/// How a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As soon as the server can.
    Prompt,
    /// When what it waits for has happened.
    Patient,
    /// It turns answers off or on again, its own included.
    Mute,
}

impl Manner {
    /// That of a command with this front: its first words, with white space between them.
    pub(crate) fn of(front: &[u8]) -> Self {
        let mut words = front.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        if PATIENT.iter().any(|patient| patient.eq_ignore_ascii_case(name)) {
            Self::Patient
        } else if name.eq_ignore_ascii_case(b"CLIENT")
            && words.next().is_some_and(|it| it.eq_ignore_ascii_case(b"REPLY"))
        {
            Self::Mute
        } else {
            Self::Prompt
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_by_their_first_words() {
        for (front, expected) in [
            (&b"GET BLPOP"[..], Manner::Prompt),
            (b"blpop queue 0", Manner::Patient),
            (b"XREADGROUP GROUP g c", Manner::Patient),
            (b"XREADGROUPS", Manner::Prompt),
            (b"CLIENT SETNAME REPLY", Manner::Prompt),
            (b"client reply OFF", Manner::Mute),
            (b"CLIENT\r\nREPLY\r\nSKIP", Manner::Mute),
            (b"CLIENT", Manner::Prompt),
            (b"", Manner::Prompt),
        ] {
            assert_eq!(Manner::of(front), expected, "{}", front.escape_ascii());
        }
    }
}
