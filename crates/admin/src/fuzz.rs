//! Entrances for fuzzing. Nothing else may use them.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, header};

use crate::freshness::Known;
pub use crate::oidc::fuzz::said as provider;
use crate::precondition::{Condition, Tag};

/// Which versions somebody has seen, as `If-Match` and as `If-None-Match`. Each line of the input is a field.
pub fn versions(bytes: &[u8]) {
    let of = |name: HeaderName| {
        let mut request = Request::new(Body::empty());
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                request.headers_mut().append(&name, value);
            }
        }
        request
    };
    let _known = Known::of(&of(header::IF_NONE_MATCH));
    let Ok(condition) = Condition::read(of(header::IF_MATCH).headers()) else { return };
    let present = Tag::number(7);
    match &condition {
        Condition::None => assert!(condition.check(None).is_ok() && condition.check(Some(&present)).is_ok()),
        Condition::Anything => assert!(condition.check(None).is_err() && condition.check(Some(&present)).is_ok()),
        Condition::OneOf(tags) => {
            assert!(tags.len() <= 16 && condition.check(None).is_err());
            assert_eq!(condition.check(Some(&present)).is_ok(), tags.iter().any(|tag| tag == "7"));
            // What was read is written again as it came, and means the same.
            let again = tags.iter().map(|tag| format!("\"{tag}\"")).collect::<Vec<_>>().join(",");
            let mut request = Request::new(Body::empty());
            request.headers_mut().insert(header::IF_MATCH, again.parse().expect("visible characters"));
            assert_eq!(Condition::read(request.headers()).ok(), Some(condition.clone()));
        }
    }
    let _numbers = condition.numbers();
}
