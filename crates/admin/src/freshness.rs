//! Answers that the asker has already: `If-None-Match` of RFC 9110, 13.1.2, for those who ask again and again.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::problem::Problem;
use crate::secret;

/// Bytes of an `If-None-Match` that are read, at most.
const BYTES_MAX: usize = 1_024;

/// What somebody who asks has from before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    looks: bool,
    tags: Vec<String>,
}

impl Known {
    /// What a request says of it.
    pub fn of(request: &Request<Body>) -> Self {
        Self { looks: request.method() == Method::GET, tags: tags(request.headers()) }
    }

    /// The answer, or only that it is the one that is known (304). Each text of JSON has a weak tag of its own. What has a version
    /// is answered always: that is about what can be written of it, and says nothing of the rest.
    pub async fn answer(&self, response: Response) -> Response {
        let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it == "application/json");
        let has_version = response.headers().contains_key(header::ETAG);
        if !self.looks || response.status() != StatusCode::OK || !is_json || has_version {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        // What is answered as JSON was written as a whole, and is in memory: nothing is waited for or copied here.
        let Ok(text) = to_bytes(body, usize::MAX).await else {
            return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer broke off".to_owned()).into_response();
        };
        let digest: String = secret::digest(&text).chars().take(16).collect();
        let tag = format!("\"{digest}\"");
        if let Ok(weak) = HeaderValue::from_str(&format!("W/{tag}")) {
            parts.headers.insert(header::ETAG, weak);
        }
        if !self.tags.iter().any(|known| known == "*" || *known == tag) {
            return Response::from_parts(parts, Body::from(text));
        }
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, Body::empty())
    }
}

/// Its tags, whether weak or not: here it is enough that two texts say the same.
fn tags(headers: &HeaderMap) -> Vec<String> {
    let texts = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    let texts = texts.filter(|text| text.len() <= BYTES_MAX);
    let tags = texts.flat_map(|text| text.split(',')).map(str::trim);
    tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use axum::response::Json;

    use super::*;
    use crate::precondition::Tag;

    fn asks(method: Method, known: &str) -> Known {
        let mut request = Request::builder().method(method);
        if !known.is_empty() {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        Known::of(&request.body(Body::empty()).expect("a request"))
    }

    /// Status, tag and length.
    fn told(known: &Known, response: Response) -> (u16, String, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (parts, body) = known.answer(response).await.into_parts();
            let tag = parts.headers.get(header::ETAG).map(|it| it.to_str().expect("text").to_owned());
            let length = to_bytes(body, 100).await.expect("a body").len();
            (parts.status.as_u16(), tag.unwrap_or_default(), length)
        })
    }

    #[test]
    fn whoever_has_it_is_told_so_and_nothing_more() {
        let answer = || Json([1, 2]).into_response();
        let (status, tag, length) = told(&asks(Method::GET, ""), answer());
        assert_eq!((status, &tag[..3], length), (200, "W/\"", 5));
        for known in [tag.clone(), format!("\"x\", {tag}"), tag[2..].to_owned(), "*".to_owned()] {
            assert_eq!(told(&asks(Method::GET, &known), answer()), (304, tag.clone(), 0), "{known}");
        }
        assert_eq!(told(&asks(Method::GET, &tag), Json([1, 3]).into_response()).0, 200, "it is another one");
    }

    #[test]
    fn changes_failures_and_other_forms_are_left_alone() {
        let answer = || Json([1, 2]).into_response();
        assert_eq!(told(&asks(Method::POST, "*"), answer()), (200, String::new(), 5));
        assert_eq!(told(&asks(Method::GET, "*"), (StatusCode::NOT_FOUND, answer()).into_response()).0, 404);
        let versioned = Tag::number(7).on(answer());
        assert_eq!(told(&asks(Method::GET, "\"7\""), versioned), (200, "\"7\"".to_owned(), 5));
        assert_eq!(told(&asks(Method::GET, "*"), "text".into_response()), (200, String::new(), 4));
    }
}
