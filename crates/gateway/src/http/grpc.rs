//! gRPC calls: their deadlines, and what their trailers say about the endpoint. To everything else a call is a request.

use std::time::Duration;

use mainstay_core::grpc::{Pushback, Status, is_content_type, parse_timeout};
use mainstay_core::retry::Failure;

use super::attempts;
use super::exchange::{Exchange, Run};
use super::respond::OwnError;
use crate::http1::field::Name;
use crate::http1::{request, write};

/// What is known of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// What the client allows, from its sending on.
    pub(crate) timeout: Option<Duration>,
    /// What the endpoint has said, in the head of an answer without a body or in trailers.
    pub(crate) status: Option<Status>,
    /// Whether and when the endpoint wants to be asked again.
    pub(crate) pushback: Option<Pushback>,
}

impl Call {
    /// The call that a request is, if it is one.
    pub(crate) fn of(head: &request::Head, bytes: &[u8]) -> Option<Self> {
        // gRPC is spoken over HTTP/2 only.
        let content_type = head.is_http2.then(|| head.find(Name::ContentType)).flatten()?;
        if !is_content_type(content_type.value.get(bytes)) {
            return None;
        }
        let timeout = head.find(Name::GrpcTimeout).and_then(|it| parse_timeout(it.value.get(bytes)));
        Some(Self { timeout, status: None, pushback: None })
    }

    /// The endpoint does not want to be asked again.
    pub(crate) fn is_pushed_back(self) -> bool {
        self.pushback == Some(Pushback::Never)
    }

    /// When the endpoint wants to be asked again.
    pub(crate) fn asked_wait(self) -> Option<Duration> {
        match self.pushback {
            Some(Pushback::After(wait)) => Some(wait),
            Some(Pushback::Never) | None => None,
        }
    }

    fn read(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"grpc-status" => self.status = Status::parse(value),
            b"grpc-retry-pushback-ms" => self.pushback = Some(Pushback::parse(value)),
            _other => {}
        }
    }
}

/// Reads what the head of an answer says: all there is, if no body follows.
pub(crate) fn read_head(exchange: &mut Exchange) {
    let Some(call) = &mut exchange.call else { return };
    (call.status, call.pushback) = (None, None);
    let bytes = exchange.output.all();
    for field in &exchange.response.fields {
        call.read(field.name.get(bytes), field.value.get(bytes));
    }
}

/// Begins the head of an answer of the gateway's own, which for a call is all there is: status and reason.
pub(crate) fn own_head(out: &mut Vec<u8>, error: OwnError) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: ");
    write::decimal(out, u64::from(Status::of_http(error.status).0));
    out.extend_from_slice(b"\r\n");
    write::field(out, b"grpc-message", error.reason.as_bytes());
}

/// Reads the trailers of an answer that is through, and counts what they say for or against the endpoint.
pub(crate) fn read_trailers(run: &Run<'_>, index: usize, exchange: &mut Exchange, is_complete: bool) {
    let Some(call) = &mut exchange.call else { return };
    if call.status.is_some() {
        return;
    }
    for line in exchange.down.trailers().split(|byte| *byte == b'\n') {
        if let Some(colon) = memchr::memchr(b':', line) {
            call.read(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
    let Some(endpoint) = run.route.service.endpoints.get(index) else { return };
    match call.status.map(Status::http_equivalent) {
        Some(status @ 500..) => {
            run.worker.endpoint_failed(&run.route.service, index, Failure::Status(status));
            attempts::belie(run, index);
        }
        Some(_works) => endpoint.state.works(),
        None if is_complete => {
            run.worker.endpoint_failed(&run.route.service, index, Failure::Malformed);
            attempts::belie(run, index);
        }
        None => {}
    }
}
