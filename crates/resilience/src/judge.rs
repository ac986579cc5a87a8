//! What the end of a call says of the service, and which calls may be made twice.

use std::time::Duration;

use crate::error::{BoxError, Rejected};

/// What the end of a call says of the service that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It works.
    Success,
    /// It does not; the call may be made again, elsewhere or later.
    Failure,
    /// Nothing: the call was not made, or is itself at fault. It is not made again.
    Ignored,
}

/// Judges how calls end. Functions of a result are judges; [`Errors`] is the one that asks nothing of responses.
pub trait Judge<Response> {
    /// What the result says.
    fn judge(&self, result: &Result<Response, BoxError>) -> Verdict;

    /// When the service asks to be called again, if it says so.
    fn retry_after(&self, result: &Result<Response, BoxError>) -> Option<Duration> {
        let _unknown = result;
        None
    }
}

impl<Response, F: Fn(&Result<Response, BoxError>) -> Verdict> Judge<Response> for F {
    fn judge(&self, result: &Result<Response, BoxError>) -> Verdict {
        self(result)
    }
}

/// Every response is a success and every error a failure, except rejections by limits further in: of a call that was not made
/// nothing is learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors;

impl<Response> Judge<Response> for Errors {
    fn judge(&self, result: &Result<Response, BoxError>) -> Verdict {
        match result {
            Ok(_response) => Verdict::Success,
            Err(error) => verdict_of(error),
        }
    }
}

/// What an error says of the service.
pub(crate) fn verdict_of(error: &BoxError) -> Verdict {
    match Rejected::of(&**error) {
        Some(rejected) if rejected.is_unmade() => Verdict::Ignored,
        Some(_) | None => Verdict::Failure,
    }
}

/// Makes a second request of a first one. Functions of a request are such; [`Clones`] repeats everything.
pub trait Repeat<Request> {
    /// The request once more; `None` if it must not be made twice, or cannot.
    fn repeat(&self, request: &Request) -> Option<Request>;
}

impl<Request, F: Fn(&Request) -> Option<Request>> Repeat<Request> for F {
    fn repeat(&self, request: &Request) -> Option<Request> {
        self(request)
    }
}

/// Clones every request: for services in which every call may be made twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clones;

impl<Request: Clone> Repeat<Request> for Clones {
    fn repeat(&self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}
