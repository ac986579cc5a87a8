//! `tracestate`: what the systems that a trace has gone through have to say of it (W3C Trace Context, section 3.3). It is passed
//! on as it came, or not at all if it breaks a rule.

/// Members that a list may have.
pub const MEMBERS_MAX: usize = 32;
/// Bytes that are passed on at most; at least as many must be (section 3.3.1.5).
pub const BYTES_MAX: usize = 512;
/// Members longer than this go first if there is too much.
const LONG: usize = 128;

/// The members of a list, in order, none twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members<'a> {
    members: [&'a [u8]; MEMBERS_MAX],
    count: usize,
}

impl<'a> Members<'a> {
    /// The members, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.members.iter().take(self.count).copied()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the list, commas included.
    fn length(&self) -> usize {
        self.iter().map(<[u8]>::len).sum::<usize>() + self.count.saturating_sub(1)
    }

    fn remove(&mut self, place: usize) {
        self.members.copy_within(place + 1..self.count, place);
        self.count -= 1;
    }

    /// Removes what is too much: long members first, then from the end.
    fn fit(&mut self) {
        while self.length() > BYTES_MAX {
            let long = self.iter().take(self.count).enumerate().filter(|(_place, member)| member.len() > LONG).last();
            self.remove(long.map_or(self.count - 1, |(place, _member)| place));
        }
    }
}

/// Reads the list that the values of all `tracestate` fields make together. `None` if it breaks a rule. Of two members with one
/// key the first stays, which is the newer one.
pub fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Members<'a>> {
    let mut list = Members { members: [&[]; MEMBERS_MAX], count: 0 };
    let mut count = 0;
    for member in lines.flat_map(|line| line.split(|byte| *byte == b',')).map(trimmed) {
        // Empty members are allowed, so that lists can be put together.
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_at(member.iter().position(|byte| *byte == b'=')?);
        count += 1;
        if count > MEMBERS_MAX || !is_key(key) || !is_value(value.get(1..)?) {
            return None;
        }
        let has_key = |known: &[u8]| known.get(..=key.len()).is_some_and(|start| start == &member[..=key.len()]);
        if list.iter().any(has_key) {
            continue;
        }
        *list.members.get_mut(list.count)? = member;
        list.count += 1;
    }
    list.fit();
    Some(list)
}

fn trimmed(member: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = member.iter().position(|byte| !is_blank(byte)).unwrap_or(member.len());
    let end = member.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    &member[start..end]
}

/// A simple key, or a tenant's at a system (section 3.3.1.3.1; a digit may come first since Level 2).
fn is_key(key: &[u8]) -> bool {
    let is_char = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let is_name = |name: &[u8], max: usize, digit_first: bool| {
        let first = name.first().is_some_and(|byte| byte.is_ascii_lowercase() || digit_first && byte.is_ascii_digit());
        first && name.len() <= max && name.iter().all(is_char)
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => is_name(key, 256, true),
        Some(at) => is_name(&key[..at], 241, true) && is_name(&key[at + 1..], 14, false),
    }
}

fn is_value(value: &[u8]) -> bool {
    let is_char = |byte: &u8| matches!(byte, 0x20..=0x2b | 0x2d..=0x3c | 0x3e..=0x7e);
    (1..=256).contains(&value.len()) && value.iter().all(is_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&str]) -> Option<String> {
        let members = read(lines.iter().map(|line| line.as_bytes()))?;
        let texts: Vec<_> = members.iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect();
        Some(texts.join(","))
    }

    #[test]
    fn the_rules_of_tracestate() {
        // The cases of the W3C's validation suite.
        let long = |tenant: usize, system: usize| format!("{}@{}=1", "t".repeat(tenant), "v".repeat(system));
        for (lines, expected) in [
            (vec!["foo=1,bar=2"], Some("foo=1,bar=2")),
            (vec!["foo=1", "bar=2"], Some("foo=1,bar=2")),
            (vec!["foo=1", "", "rojo=1"], Some("foo=1,rojo=1")),
            (vec!["foo=1 \t , \t bar=2, \t baz=3"], Some("foo=1,bar=2,baz=3")),
            (vec!["foo=1,,,"], Some("foo=1")),
            (vec![""], Some("")),
            (vec!["foo=1,foo=2"], Some("foo=1")),
            (vec!["foo=1,bar=1,foo=1"], Some("foo=1,bar=1")),
            (vec!["foo=1", "foo=2"], Some("foo=1")),
            (vec!["foo=1,fo=2,f=3"], Some("foo=1,fo=2,f=3")),
            (vec!["0foo=1"], Some("0foo=1")),
            (
                vec!["abcdefghijklmnopqrstuvwxyz0123456789_-*/= !\"#$%&'()*+-./0123456789:;<>?@AZ[\\]^_`az{|}~"],
                Some("abcdefghijklmnopqrstuvwxyz0123456789_-*/= !\"#$%&'()*+-./0123456789:;<>?@AZ[\\]^_`az{|}~"),
            ),
            (vec!["foo@bar=1"], Some("foo@bar=1")),
            (vec!["foo"], None),
            (vec!["foo="], None),
            (vec!["foo=,bar=3"], None),
            (vec!["=1"], None),
            (vec!["foo=1 2"], Some("foo=1 2")),
            (vec!["foo=bar=baz"], None),
            (vec!["foo =1"], None),
            (vec!["FOO=1"], None),
            (vec!["foo.bar=1"], None),
            (vec!["foo@=1"], None),
            (vec!["@foo=1"], None),
            (vec!["foo@@bar=1"], None),
            (vec!["foo@bar@baz=1"], None),
            (vec!["foo@1bar=1"], None),
            (vec!["foo=\u{7f}"], None),
            (vec!["foo=é"], None),
        ] {
            assert_eq!(told(&lines).as_deref(), expected, "{lines:?}");
        }
        for (tenant, system, good) in [(241, 14, true), (242, 14, false), (241, 15, false)] {
            assert_eq!(told(&[&long(tenant, system)]).is_some(), good, "{tenant} {system}");
        }
        for (key, value, good) in [(256, 1, true), (257, 1, false), (1, 256, true), (1, 257, false)] {
            let member = format!("{}={}", "z".repeat(key), "1".repeat(value));
            assert_eq!(told(&[&member]).is_some(), good, "{key} {value}");
        }
    }

    #[test]
    fn there_are_32_members_or_nothing() {
        let list = |count: usize| (0..count).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(told(&[&list(32)]), Some(list(32)));
        assert_eq!(told(&[&list(33)]), None);
        assert_eq!(told(&[&list(20), &list(13)]), None);
    }

    #[test]
    fn what_is_too_long_loses_long_members_first_and_then_the_oldest() {
        let (long, short) = ("l".repeat(130), "s".repeat(100));
        let list = format!("a={short},b={long},c={short},d={long},e={short},f=1");
        assert_eq!(told(&[&list]), Some(format!("a={short},b={long},c={short},e={short},f=1")));
        let list: Vec<String> = (0..6).map(|number| format!("k{number}={short}")).collect();
        assert_eq!(told(&[&list.join(",")]), Some(list[..4].join(",")));
    }
}
