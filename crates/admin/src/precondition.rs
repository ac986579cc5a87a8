//! Versions of what can be written, and changes that are made only if nobody else has made one since: entity tags and
//! `If-Match` of RFC 9110, 8.8.3 and 13.1.1.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::problem::Problem;
use crate::secret;

/// Bytes of an `If-Match`, at most, and tags in it.
const BYTES_MAX: usize = 1_024;
const TAGS_MAX: usize = 16;

/// A version of something that can be written. It changes with what can be written of it, and with nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The version with this number.
    pub fn number(number: u64) -> Self {
        Self(number.to_string())
    }

    /// The version with this content: whatever can be written, without anything that changes by itself.
    pub fn of(content: &impl Serialize) -> Self {
        // Names, numbers and lists always have a form in JSON.
        let text = serde_json::to_vec(content).unwrap_or_default();
        Self(secret::digest(&text).chars().take(16).collect())
    }

    /// The same with another word of it, for what has several parts.
    #[must_use]
    pub fn and(mut self, word: &str) -> Self {
        // Only what may stand between the quotes of a tag.
        self.0.extend(word.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '-' }));
        self
    }

    /// As headers have it, in quotes.
    pub fn text(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// An answer of this version.
    pub fn on(&self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        if let Ok(value) = HeaderValue::from_str(&self.text()) {
            response.headers_mut().insert(header::ETAG, value);
        }
        response
    }
}

/// What somebody asks for is not done, because what it is about is not as they have seen it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this was changed since you looked at it")]
pub struct Changed {
    /// How it is now, if that is known.
    pub present: Option<Tag>,
}

impl Changed {
    /// As it is answered: 412, with the present version.
    pub fn response(&self) -> Response {
        let hint = "look at it again, and ask with its present ETag in `If-Match` if the change is still wanted";
        let mut problem = Problem::new(StatusCode::PRECONDITION_FAILED, self.to_string()).hint(Some(hint.to_owned()));
        problem.etag = self.present.as_ref().map(Tag::text);
        match &self.present {
            Some(tag) => tag.on(problem),
            None => problem.into_response(),
        }
    }
}

/// Which versions a change may be made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Any, also of nothing.
    #[default]
    None,
    /// Whatever is there (`*`).
    Anything,
    /// One of these, without quotes.
    OneOf(Vec<String>),
}

impl Condition {
    /// What `If-Match` says.
    ///
    /// # Errors
    /// If it is neither `*` nor a list of tags.
    pub fn read(headers: &HeaderMap) -> Result<Self, Box<Problem>> {
        let mut said = String::new();
        for value in headers.get_all(header::IF_MATCH) {
            let Ok(text) = value.to_str() else { return Err(unreadable()) };
            said.push_str(if said.is_empty() { "" } else { "," });
            said.push_str(text);
        }
        let said = said.trim();
        match said {
            // It names no version, so that it holds for none.
            "" if headers.contains_key(header::IF_MATCH) => Ok(Self::OneOf(Vec::new())),
            "" => Ok(Self::None),
            "*" => Ok(Self::Anything),
            list if list.len() > BYTES_MAX => Err(unreadable()),
            list => tags(list).map(Self::OneOf).ok_or_else(unreadable),
        }
    }

    /// Whether a change of the version that is there may be made.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, present: Option<&Tag>) -> Result<(), Changed> {
        let holds = match (self, present) {
            (Self::None, _) | (Self::Anything, Some(_)) => true,
            (Self::OneOf(tags), Some(present)) => tags.contains(&present.0),
            (Self::Anything | Self::OneOf(_), None) => false,
        };
        if holds { Ok(()) } else { Err(Changed { present: present.cloned() }) }
    }

    /// The numbers among the versions; none if any will do.
    pub fn numbers(&self) -> Option<Vec<u64>> {
        match self {
            Self::None | Self::Anything => None,
            Self::OneOf(tags) => Some(tags.iter().filter_map(|tag| tag.parse().ok()).collect()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Condition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Self::read(&parts.headers).map_err(|problem| *problem)
    }
}

/// The tags of a list. Weak ones say too little to write by (RFC 9110, 13.1.1): they are left out, so that they match nothing.
fn tags(list: &str) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    let mut rest = list;
    for _each in 0..TAGS_MAX {
        let (is_weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if !tag.bytes().all(|byte| byte == 0x21 || (0x23..=0x7e).contains(&byte)) {
            return None;
        }
        if !is_weak {
            tags.push(tag.to_owned());
        }
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(tags);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
    None
}

fn unreadable() -> Box<Problem> {
    let what = format!("`If-Match` is neither * nor a list of at most {TAGS_MAX} tags in quotes");
    let problem = Problem::new(StatusCode::BAD_REQUEST, what);
    Box::new(problem.hint(Some("send the ETag of an answer as it came".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Condition, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_str(text).expect("a header"));
        Condition::read(&headers).map_err(|problem| problem.status)
    }

    #[test]
    fn a_condition_holds_for_the_version_that_it_names() {
        let (five, six) = (Tag::number(5), Tag::number(6));
        for (text, of_five, of_nothing) in
            [("*", true, false), ("\"5\"", true, false), ("\"4\" , \"5\"", true, false), ("\"4\"", false, false)]
        {
            let condition = read(text).expect("readable");
            assert_eq!(condition.check(Some(&five)).is_ok(), of_five, "{text}");
            assert_eq!(condition.check(None).is_ok(), of_nothing, "{text}");
        }
        assert_eq!(read("\"5\"").expect("readable").check(Some(&six)), Err(Changed { present: Some(six) }));
        assert_eq!(Condition::read(&HeaderMap::new()), Ok(Condition::None));
        assert!(Condition::None.check(None).is_ok());
        assert!(read("W/\"5\"").expect("readable").check(Some(&five)).is_err(), "a weak tag is not to be written by");
        assert!(read("").expect("readable").check(Some(&five)).is_err(), "it names no version");
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for text in ["5", "\"5", "\"5\" \"6\"", "\"5\",", "W/5", "\"a b\"", "*,\"5\""] {
            assert_eq!(read(text), Err(400), "{text}");
        }
        let many = vec!["\"5\""; TAGS_MAX + 1].join(",");
        assert_eq!(read(&many), Err(400));
    }

    #[test]
    fn a_tag_is_of_what_can_be_written() {
        assert_eq!(Tag::of(&("a", 1)), Tag::of(&("a", 1)));
        assert_ne!(Tag::of(&("a", 1)), Tag::of(&("a", 2)));
        assert_eq!(Tag::number(10).and("-drained by \"x\"").text(), "\"10-drained-by--x-\"");
        let refusal = Changed { present: Some(Tag::number(7)) }.response();
        assert_eq!(
            (refusal.status().as_u16(), &refusal.headers()[header::ETAG]),
            (412, &HeaderValue::from_static("\"7\""))
        );
    }
}
