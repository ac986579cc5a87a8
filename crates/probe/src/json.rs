//! What the JSON body of an answer must say: pure, over a parsed document.

use std::fmt;

use serde_json::Value;

/// Letters of a value that a reason repeats, so that a body cannot fill the status table.
const SHOWN_MAX: usize = 80;

/// What must hold of a body. Everything is looked at; what fails speaks before what is merely degraded.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The word that the endpoint says of itself, if it is asked for.
    pub status: Option<StatusWord>,
    /// What else must hold, in order.
    pub assertions: Vec<Assertion>,
    /// Bytes of body that are read; a longer one fails the check.
    pub body_max: usize,
}

/// Where the endpoint says how it is, and which words mean what. Case is of no account; any other word fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusWord {
    /// Where the word stands.
    pub at: Pointer,
    /// Words of one that is well.
    pub up: Vec<String>,
    /// Words of one that serves while something is amiss.
    pub degraded: Vec<String>,
}

impl StatusWord {
    /// Words that mean well: those of health+json drafts, Spring Boot, ASP.NET and the source documents.
    pub const UP: &[&str] = &["up", "ok", "pass", "passing", "healthy"];
    /// Words that mean degraded, from the same.
    pub const DEGRADED: &[&str] = &["degraded", "warn", "warning"];

    /// The usual words, at `at`.
    pub fn usual(at: Pointer) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self { at, up: owned(Self::UP), degraded: owned(Self::DEGRADED) }
    }
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// Of which value.
    pub at: Pointer,
    /// What of it.
    pub wants: Wants,
    /// How much it matters.
    pub otherwise: Severity,
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Wants {
    /// It is there (`null` is), or it is not.
    Present(bool),
    /// It equals one of these.
    OneOf(Vec<Scalar>),
    /// It is a number within inclusive bounds.
    Within {
        /// At least this.
        min: Option<f64>,
        /// At most this.
        max: Option<f64>,
    },
}

/// A value that others are compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A string, to the letter.
    Text(String),
    /// A number, whether it is written as 1 or 1.0.
    Number(f64),
    /// A flag.
    Flag(bool),
}

/// What an assertion that does not hold means for the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It is not well.
    Failed,
    /// It is degraded.
    Degraded,
}

/// A place in a document: `/checks/db/0` (RFC 6901) or `checks.db.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    keys: Vec<String>,
}

impl Pointer {
    /// Reads a place; a text that begins with a slash is a pointer of RFC 6901, another one has dots between its keys.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let keys: Vec<String> = match text.strip_prefix('/') {
            Some(rest) => {
                rest.split('/').map(unescape).collect::<Option<_>>().ok_or("a ~ stands before 0 or 1 only")?
            }
            None if text.is_empty() => return Err("a path is needed here"),
            None => text.split('.').map(str::to_owned).collect(),
        };
        if !text.starts_with('/') && keys.iter().any(String::is_empty) {
            return Err("there is nothing between two dots");
        }
        Ok(Self { text: text.to_owned(), keys })
    }

    /// The value at this place.
    pub fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.keys.iter().try_fold(document, |value, key| match value {
            Value::Object(members) => members.get(key),
            // RFC 6901, section 4: no leading zeros, no signs.
            Value::Array(entries) if key == "0" || !key.starts_with(['0', '+']) => {
                entries.get(key.parse::<usize>().ok()?)
            }
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }
}

fn unescape(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        out.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _other => return None,
        });
        out.push_str(part.get(1..)?);
    }
    Some(out)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a body says of its endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All is well.
    Well,
    /// It serves, but something is amiss: what.
    Degraded(String),
    /// It is not well: why.
    Failed(String),
}

impl Finding {
    /// The graver of two; of two alike, the first.
    pub fn and(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Failed(_), _) | (_, Self::Well) | (Self::Degraded(_), Self::Degraded(_)) => self,
            (Self::Well | Self::Degraded(_), _) => other,
        }
    }
}

impl Rules {
    /// Judges a body.
    pub fn judge(&self, body: &[u8]) -> Finding {
        let document: Value = match serde_json::from_slice(body) {
            Ok(document) => document,
            // The parser's words name a line and a column, and repeat nothing of the body.
            Err(error) => return Finding::Failed(format!("the body is not JSON: {error}")),
        };
        let status = self.status.as_ref().map_or(Finding::Well, |status| status.judge(&document));
        self.assertions.iter().fold(status, |worst, assertion| worst.and(assertion.judge(&document)))
    }
}

impl StatusWord {
    fn judge(&self, document: &Value) -> Finding {
        let at = &self.at;
        match at.find(document) {
            Some(Value::String(word)) => {
                let is_one_of = |words: &[String]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
                if is_one_of(&self.up) {
                    Finding::Well
                } else if is_one_of(&self.degraded) {
                    Finding::Degraded(format!("`{at}` is {}", shown(word)))
                } else {
                    Finding::Failed(format!("`{at}` is {}", shown(word)))
                }
            }
            Some(other) => Finding::Failed(format!("`{at}` is {}, not a string", describe(other))),
            None => Finding::Failed(format!("the body has no `{at}`")),
        }
    }
}

impl Assertion {
    fn judge(&self, document: &Value) -> Finding {
        match (self.complaint(self.at.find(document)), self.otherwise) {
            (None, _) => Finding::Well,
            (Some(reason), Severity::Failed) => Finding::Failed(reason),
            (Some(reason), Severity::Degraded) => Finding::Degraded(reason),
        }
    }

    fn complaint(&self, found: Option<&Value>) -> Option<String> {
        let at = &self.at;
        let value = match (&self.wants, found) {
            (Wants::Present(true), Some(_)) | (Wants::Present(false), None) => return None,
            (Wants::Present(false), Some(_)) => return Some(format!("the body has `{at}`, and must not")),
            (_, None) => return Some(format!("the body has no `{at}`")),
            (Wants::OneOf(_) | Wants::Within { .. }, Some(value)) => value,
        };
        let is = describe(value);
        match &self.wants {
            Wants::Present(_) => None,
            Wants::OneOf(known) => (!known.iter().any(|known| known.equals(value))).then(|| {
                let known: Vec<String> = known.iter().map(Scalar::to_string).collect();
                format!("`{at}` is {is}, expected {}", known.join(" or "))
            }),
            Wants::Within { min, max } => match value.as_f64() {
                None => Some(format!("`{at}` is {is}, not a number")),
                Some(number) if min.is_some_and(|min| number < min) => {
                    Some(format!("`{at}` is {is}, below {}", min.unwrap_or_default()))
                }
                Some(number) if max.is_some_and(|max| number > max) => {
                    Some(format!("`{at}` is {is}, above {}", max.unwrap_or_default()))
                }
                Some(_within) => None,
            },
        }
    }
}

impl Scalar {
    fn equals(&self, value: &Value) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            Self::Number(number) => value.as_f64() == Some(*number),
            Self::Flag(flag) => value.as_bool() == Some(*flag),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&shown(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => shown(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A text of the endpoint's in quotes: one line, not long.
fn shown(text: &str) -> String {
    let clean: String = text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().count() > SHOWN_MAX { format!("\"{clean}...\"") } else { format!("\"{clean}\"") }
}

#[cfg(test)]
mod tests;
