//! Verdicts on HTTP responses, and which HTTP requests may be made twice.

use std::time::Duration;

use ::http::header::RETRY_AFTER;
use ::http::{Method, Request, Response, StatusCode};

use crate::error::BoxError;
use crate::judge::{Judge, Repeat, Verdict, verdict_of};

/// Answers 5xx and errors are failures; 501 and 505 are not, since they say something of the request, nor is any other answer.
/// An answer 503 or 429 with `retry-after` in seconds says when to come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses;

impl<B> Judge<Response<B>> for Statuses {
    fn judge(&self, result: &Result<Response<B>, BoxError>) -> Verdict {
        match result {
            Err(error) => verdict_of(error),
            Ok(response) => match response.status() {
                StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Verdict::Success,
                StatusCode::TOO_MANY_REQUESTS => Verdict::Ignored,
                status if status.is_server_error() => Verdict::Failure,
                _fine => Verdict::Success,
            },
        }
    }

    fn retry_after(&self, result: &Result<Response<B>, BoxError>) -> Option<Duration> {
        let response = result.as_ref().ok()?;
        let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

/// Repeats requests whose method is idempotent (RFC 9110, section 9.2.2) or that carry an `idempotency-key`, if their body can
/// be cloned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idempotent;

impl<B: Clone> Repeat<Request<B>> for Idempotent {
    fn repeat(&self, request: &Request<B>) -> Option<Request<B>> {
        let idempotent = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE];
        let may = idempotent.contains(request.method()) || request.headers().contains_key("idempotency-key");
        may.then(|| request.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_judged() {
        let judge = |status: u16| {
            let response = Response::builder().status(status).header("retry-after", "7").body(()).expect("a response");
            let result = Ok(response);
            assert_eq!(Statuses.retry_after(&result), Some(Duration::from_secs(7)));
            Statuses.judge(&result)
        };
        for (status, verdict) in [
            (200, Verdict::Success),
            (404, Verdict::Success),
            (429, Verdict::Ignored),
            (500, Verdict::Failure),
            (501, Verdict::Success),
            (503, Verdict::Failure),
        ] {
            assert_eq!(judge(status), verdict, "{status}");
        }
        assert_eq!(Judge::<Response<()>>::judge(&Statuses, &Err("reset".into())), Verdict::Failure);
    }

    #[test]
    fn only_what_is_idempotent_is_repeated() {
        let request = |method: &str, key: bool| {
            let builder = Request::builder().method(method);
            let builder = if key { builder.header("idempotency-key", "1") } else { builder };
            Idempotent.repeat(&builder.body("x").expect("a request")).is_some()
        };
        assert!(request("GET", false) && request("PUT", false) && request("POST", true));
        assert!(!request("POST", false) && !request("PATCH", false));
    }
}
