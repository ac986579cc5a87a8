//! The call that the benchmark makes, without anything around it.

use std::future::{Ready, ready};
use std::io;

use futures_util::FutureExt;
use tower::{Service, ServiceExt};

/// A service that answers at once, and fails at once if it is asked for nothing.
pub fn work(request: u64) -> Ready<Result<u64, io::Error>> {
    ready(if request == 0 { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(request) })
}

/// One call, which ends when it is polled for the first time. Whether it succeeded.
pub fn call<S: Service<u64>>(service: &mut S, request: u64) -> bool {
    let is_ready = service.ready().now_or_never().is_some_and(|result| result.is_ok());
    is_ready && service.call(request).now_or_never().is_some_and(|result| result.is_ok())
}
