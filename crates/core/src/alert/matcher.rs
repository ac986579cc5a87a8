//! Matchers: which alerts a silence, a receiver or a question is about. The forms are Alertmanager's.
//!
//! Patterns are a part of regular expressions that needs no backtracking and no crate: text, `.`, `.*`, `.+`, `\` before a
//! character, and alternatives by `|` on the outside. They match whole values. Others are refused when they are read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::labels::Labels;

/// Bytes of a matcher's value, at most.
const VALUE_BYTES_MAX: usize = 512;
/// Alternatives of a pattern, at most.
const ALTERNATIVES_MAX: usize = 32;

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Comparison {
    /// `=`
    Is,
    /// `!=`
    IsNot,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

impl Comparison {
    const ALL: [(Self, &'static str); 4] =
        [(Self::IsNot, "!="), (Self::MatchesNot, "!~"), (Self::Matches, "=~"), (Self::Is, "=")];

    /// Whether it compares with a pattern.
    pub const fn is_pattern(self) -> bool {
        matches!(self, Self::Matches | Self::MatchesNot)
    }

    /// Whether it asks for being alike.
    pub const fn is_equal(self) -> bool {
        matches!(self, Self::Is | Self::Matches)
    }
}

/// A condition on one label. A label that is not there has the value "".
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: String,
}

/// Why a matcher cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl Matcher {
    /// A matcher from its parts.
    ///
    /// # Errors
    /// If the name is none, the value is too long or the pattern is of a kind that is not understood.
    pub fn new(name: &str, comparison: Comparison, value: &str) -> Result<Self, Unreadable> {
        let is_name = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && text.len() <= 32
        };
        if !is_name(name) {
            return Err(Unreadable(format!("`{}` is not the name of a label", clip(name))));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(Unreadable(format!("the value of `{name}` is longer than {VALUE_BYTES_MAX} bytes")));
        }
        if comparison.is_pattern() {
            alternatives(value)?;
        }
        Ok(Self { name: name.to_owned(), comparison, value: value.to_owned() })
    }

    /// Reads `name=value`, `name!=value`, `name=~pattern` or `name!~pattern`; the value may be in double quotes.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let text = text.trim();
        let end = text.find(['=', '!']).ok_or_else(|| {
            Unreadable(format!("`{}` is not a matcher: write name=value, or with !=, =~ or !~", clip(text)))
        })?;
        let (name, rest) = text.split_at(end);
        let found = Comparison::ALL.iter().find_map(|(comparison, sign)| Some((*comparison, rest.strip_prefix(sign)?)));
        let (comparison, value) = found.ok_or_else(|| Unreadable(format!("`{}` is not a matcher", clip(text))))?;
        let value = value.trim();
        let value = match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
            None => value.to_owned(),
        };
        Self::new(name.trim(), comparison, &value)
    }

    /// Whether the labels are so.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name);
        match self.comparison {
            Comparison::Is => value == self.value,
            Comparison::IsNot => value != self.value,
            Comparison::Matches => pattern_matches(&self.value, value),
            Comparison::MatchesNot => !pattern_matches(&self.value, value),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign =
            Comparison::ALL.iter().find(|(known, _sign)| *known == self.comparison).map_or("=", |(_, sign)| sign);
        write!(f, "{}{sign}{:?}", self.name, self.value)
    }
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Exactly(char),
    Any,
    /// Any number of them.
    Run,
}

fn alternatives(pattern: &str) -> Result<Vec<Vec<Step>>, Unreadable> {
    let refused = |what: char| {
        Unreadable(format!(
            "`{what}` in the pattern `{}` is not understood: patterns have text, `.`, `.*`, `.+` and `|`; write `\\{what}` \
             for the character itself",
            clip(pattern)
        ))
    };
    // Prometheus' patterns match whole values, and people write the anchors and one group around all all the same.
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let inner = inner.strip_suffix('$').filter(|_| !inner.ends_with("\\$")).unwrap_or(inner);
    let grouped = inner.strip_prefix("(?:").or_else(|| inner.strip_prefix('('));
    let inner = grouped.and_then(|rest| rest.strip_suffix(')')).unwrap_or(inner);
    let mut all = Vec::new();
    let mut steps = Vec::new();
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => steps.push(Step::Exactly(characters.next().ok_or_else(|| refused('\\'))?)),
            '.' => match characters.peek() {
                Some('*') => {
                    characters.next();
                    steps.push(Step::Run);
                }
                Some('+') => {
                    characters.next();
                    steps.extend([Step::Any, Step::Run]);
                }
                _ => steps.push(Step::Any),
            },
            '|' if all.len() < ALTERNATIVES_MAX => all.push(std::mem::take(&mut steps)),
            '|' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return Err(refused(character)),
            other => steps.push(Step::Exactly(other)),
        }
    }
    all.push(steps);
    Ok(all)
}

fn pattern_matches(pattern: &str, value: &str) -> bool {
    // What cannot be read was refused when the matcher was made; one from elsewhere matches nothing.
    let Ok(alternatives) = alternatives(pattern) else { return false };
    let value: Vec<char> = value.chars().collect();
    alternatives.iter().any(|steps| steps_match(steps, &value))
}

/// Greedy matching with one point to come back to, as for file name patterns: time is at most the product of the lengths.
fn steps_match(steps: &[Step], value: &[char]) -> bool {
    let (mut step, mut at) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        match (steps.get(step), value.get(at)) {
            (None, None) => return true,
            (Some(Step::Run), _) => {
                back = Some((step + 1, at));
                step += 1;
                continue;
            }
            (Some(Step::Any), Some(_)) => {
                (step, at) = (step + 1, at + 1);
                continue;
            }
            (Some(Step::Exactly(wanted)), Some(found)) if wanted == found => {
                (step, at) = (step + 1, at + 1);
                continue;
            }
            (Some(Step::Any | Step::Exactly(_)) | None, _) => {}
        }
        let Some((after, from)) = back.filter(|(_after, from)| *from < value.len()) else { return false };
        back = Some((after, from + 1));
        (step, at) = (after, from + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_as_people_and_amtool_write_them() {
        let labels = Labels::new().with("service", "checkout").with("severity", "P1");
        for (text, expected) in [
            ("service=checkout", true),
            ("service = \"checkout\"", true),
            ("service!=checkout", false),
            ("severity=~P1|P2", true),
            ("severity=~\"^(?:P2|P3)$\"", false),
            ("service=~check.*", true),
            ("service=~.*out", true),
            ("service=~ch.+k.*t", true),
            ("service=~check", false),
            ("service!~check", true),
            ("zone=", true),
            ("zone!=\"\"", false),
            ("service=~c\\..*", false),
        ] {
            let matcher = Matcher::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(matcher.matches(&labels), expected, "{text}");
            assert_eq!(Matcher::parse(&matcher.to_string()), Ok(matcher.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_reason() {
        for (text, expected) in
            [("service", "not a matcher"), ("a b=c", "name of a label"), ("a=~[xy]", "`[`"), ("a=~x{3}", "`{`")]
        {
            let why = Matcher::parse(text).expect_err(text).to_string();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
