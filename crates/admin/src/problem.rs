//! Errors as the interface answers them: problem details of RFC 9457, with a hint of what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The kind of problem; `about:blank` as long as its status says enough.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status, again, for those who only have the text.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The node that it is about, if another one was asked about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The present version of what was to be changed, if it is not the one that `If-Match` named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// How somebody can log in, where that is asked for: `password`, `token`, and `oidc` with `name` and `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub login: Option<serde_json::Value>,
}

impl Problem {
    /// A problem that its status tells apart from others.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            hint: None,
            node: None,
            etag: None,
            login: None,
        }
    }

    /// With what to do.
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// At this node.
    pub fn at(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// With how somebody can log in.
    pub fn login(mut self, ways: Option<serde_json::Value>) -> Self {
        self.login = ways;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_standard_asks_for() {
        let problem = Problem::new(StatusCode::NOT_FOUND, "no service `a`").hint(Some("look".to_owned()));
        let text = serde_json::to_value(&problem).expect("JSON");
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Not Found", "status": 404, "detail": "no service `a`", "hint": "look"
        });
        assert_eq!(text, expected);
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
    }
}
