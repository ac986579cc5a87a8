//! The record of one request: what was tried, how it ended, and the line that it leaves in the access log.

use std::time::Duration;

use mainstay_core::grpc::Status;
use mainstay_core::retry::Failure;

use super::exchange::Exchange;
use super::{isolation, sticky};
use crate::explain::ring::End;
use crate::fallback::Fallback;
use crate::http1::write::decimal;
use crate::state::Exemplar;
use crate::telemetry::{context, redact};
use crate::worker::table::{Listener, Route};
use crate::worker::{Worker, hexadecimal};

/// One attempt at an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Index in the service.
    pub(crate) endpoint: usize,
    pub(crate) outcome: Outcome,
    pub(crate) duration: Duration,
    /// On a connection that had carried a request before.
    pub(crate) reused: bool,
    /// At the service that the route falls back on.
    pub(crate) elsewhere: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered with this status.
    Answered(u16),
    /// It failed.
    Failed(Failure),
    /// The client left or the deadline of the whole request came first.
    Abandoned,
}

impl Outcome {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Answered(_) => "ok",
            Self::Abandoned => "abandoned",
            Self::Failed(failure) => match failure {
                Failure::Connect => "connect-failed",
                Failure::Refused => "refused",
                Failure::Unavailable => "unavailable",
                Failure::StaleConnection => "stale-connection",
                Failure::Reset => "reset",
                Failure::Timeout => "timeout",
                Failure::Status(_) => "status",
                Failure::Malformed => "malformed",
            },
        }
    }

    pub(crate) const fn status(self) -> Option<u16> {
        match self {
            Self::Answered(status) | Self::Failed(Failure::Status(status)) => Some(status),
            Self::Failed(_) | Self::Abandoned => None,
        }
    }
}

/// How the request ended, as far as the record tells.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ending {
    /// The status that the client got; 0 if none.
    pub(crate) status: u16,
    /// Why the gateway answered itself, or why the response broke off.
    pub(crate) error: Option<&'static str>,
    /// The client left before the end.
    pub(crate) client_gone: bool,
}

/// Counts the request and writes its line.
pub(crate) fn finish(
    worker: &Worker,
    listener: &Listener,
    route: Option<&Route>,
    exchange: &Exchange,
    ending: Ending,
    bytes: (u64, u64),
) {
    let duration = worker.now().since(exchange.started);
    match route {
        Some(route) => count(worker, route, exchange, ending, duration),
        None => listener.state.shards.of(worker.index).rejected.add(1),
    }
    worker.explain.borrow_mut().keep(listener, route, exchange, End { ending, bytes, duration });
    if worker.log.is_on()
        && let Some(rate) = worker.choice.keep(listener, route, exchange, (ending, duration), worker.now())
    {
        if let (Some(route), trace @ 1..) = (route, exchange.context.trace) {
            let exemplar = Exemplar { trace, duration, at: worker.since_1970() };
            route.state.shards.of(worker.index).exemplars.note(exemplar);
        }
        let told = Told { worker, listener, route, exchange, end: End { ending, bytes, duration }, rate };
        worker.log.line(|line| told.write(line));
    }
}

/// What a line tells.
struct Told<'a> {
    worker: &'a Worker,
    listener: &'a Listener,
    route: Option<&'a Route>,
    exchange: &'a Exchange,
    end: End,
    /// How many requests the line stands for.
    rate: u32,
}

fn count(worker: &Worker, route: &Route, exchange: &Exchange, ending: Ending, duration: Duration) {
    let counters = route.state.shards.of(worker.index);
    // A gRPC call that failed is no success for all that its HTTP status is 200.
    let said = exchange.call.and_then(|call| call.status).map(Status::http_equivalent);
    let status = if ending.status == 200 { said.unwrap_or(200) } else { ending.status };
    if let Some(class) = counters.by_class.get(usize::from(status / 100).wrapping_sub(1)) {
        class.add(1);
    }
    sticky::count(&counters.isolation, exchange);
    if ending.client_gone {
        counters.client_gone.add(1);
    }
    if ending.error.is_some() && !ending.client_gone && exchange.fallback.is_none() {
        counters.own_errors.add(1);
        isolation::count(&counters.isolation, ending);
    }
    counters.duration.record(duration);
}

impl Told<'_> {
    fn write(&self, line: &mut Vec<u8>) {
        let Self { exchange, route, .. } = self;
        let End { ending, bytes: (bytes_in, bytes_out), duration } = self.end;
        self.write_asked(line);
        number(line, b"\",\"status\":", u64::from(ending.status));
        if let Some(status) = exchange.call.and_then(|call| call.status) {
            number(line, b",\"grpc_status\":", u64::from(status.0));
        }
        number(line, b",\"bytes_in\":", bytes_in);
        number(line, b",\"bytes_out\":", bytes_out);
        millis(line, duration);
        if route.is_some_and(|route| route.state.spec.admission.criticality.is_some()) {
            text(line, b",\"criticality\":\"", exchange.admission.class.word().as_bytes());
            line.push(b'"');
        }
        if !exchange.admission.waited.is_zero() {
            micros(line, b",\"waited_ms\":", exchange.admission.waited);
        }
        let error = if ending.client_gone { Some("client-gone") } else { ending.error };
        if let Some(error) = error {
            line.extend_from_slice(b",\"error\":\"");
            line.extend_from_slice(error.as_bytes());
            line.push(b'"');
        }
        if let Some(written) = exchange.isolation.pin.written {
            micros(line, b",\"session_write\":{\"start_ms\":", written.start);
            millis(line, written.duration);
            text(line, b",\"outcome\":\"", written.bound.word().as_bytes());
            line.extend_from_slice(b"\"}");
        }
        if let Some(word) = exchange.cache.word {
            text(line, b",\"cache\":\"", word.as_bytes());
            line.push(b'"');
        }
        if let Some(form) = exchange.fallback {
            text(line, b",\"fallback\":\"", form.word().as_bytes());
            line.push(b'"');
        }
        if exchange.head.length > 0 {
            redact::write(line, &self.listener.telemetry.events, &exchange.head, exchange.head_bytes());
        }
        number(line, b",\"sample_rate\":", u64::from(self.rate));
        self.write_trace(line);
        self.write_attempts(line);
        line.extend_from_slice(b"]}\n");
    }

    /// Who asked for what, up to an open string.
    fn write_asked(&self, line: &mut Vec<u8>) {
        let Self { exchange, route, .. } = self;
        let head = exchange.head_bytes();
        line.extend_from_slice(b"{\"time\":\"");
        self.worker.write_time(line);
        // Neither an id nor an address holds anything that would have to be escaped.
        line.extend_from_slice(b"\",\"id\":\"");
        line.extend_from_slice(&exchange.request_id);
        line.extend_from_slice(b"\",\"client\":\"");
        line.extend_from_slice(exchange.client.as_bytes());
        line.extend_from_slice(&self.listener.log_part);
        if let Some(route) = route {
            line.extend_from_slice(&route.log_part);
        }
        if exchange.head.length > 0 {
            text(line, b"\",\"method\":\"", exchange.head.method.get(head));
            text(line, b"\",\"host\":\"", exchange.head.authority.get(head));
            text(line, b"\",\"path\":\"", exchange.head.path.get(head));
            line.extend_from_slice(b"\",\"protocol\":\"");
            line.extend_from_slice(exchange.head.protocol());
        }
        if let Some(route) = route {
            exchange.isolation.log(line, &route.service);
        }
    }

    /// The trace that the request carries, if it carries one.
    fn write_trace(&self, line: &mut Vec<u8>) {
        let context = &self.exchange.context;
        if context.trace == 0 {
            return;
        }
        line.extend_from_slice(b",\"trace_id\":\"");
        line.extend_from_slice(&context::trace_digits(context.trace));
        line.extend_from_slice(b"\",\"span_id\":\"");
        line.extend_from_slice(&hexadecimal(context.span));
        if context.parent != 0 {
            line.extend_from_slice(b"\",\"parent_id\":\"");
            line.extend_from_slice(&hexadecimal(context.parent));
        }
        line.push(b'"');
    }

    fn write_attempts(&self, line: &mut Vec<u8>) {
        let exchange = self.exchange;
        line.extend_from_slice(b",\"attempts\":[");
        let mut starts = exchange.trace.starts();
        for (index, attempt) in exchange.attempts.iter().enumerate() {
            if index > 0 {
                line.push(b',');
            }
            write_attempt(line, self.route, attempt);
            if exchange.context.trace != 0 {
                let same = |it: &&Attempt| it.endpoint == attempt.endpoint && it.elsewhere == attempt.elsewhere;
                let earlier = exchange.attempts.iter().take(index).filter(same).count();
                let span = exchange.context.attempt(attempt.endpoint, earlier, attempt.elsewhere);
                let start = starts.next().map_or(Duration::ZERO, |start| start.since(exchange.started));
                micros(line, b",\"start_ms\":", start);
                line.extend_from_slice(b",\"span_id\":\"");
                line.extend_from_slice(&hexadecimal(span));
                line.push(b'"');
            }
            line.push(b'}');
        }
    }
}

fn write_attempt(line: &mut Vec<u8>, route: Option<&Route>, attempt: &Attempt) {
    let service = route.map(|route| match &route.primary {
        Some(primary) if !attempt.elsewhere => primary,
        Some(_) | None => route
            .fallback
            .as_ref()
            .filter(|_it| attempt.elsewhere)
            .and_then(Fallback::service)
            .unwrap_or(&route.service),
    });
    let endpoint = service.and_then(|service| service.endpoints.get(attempt.endpoint));
    line.extend_from_slice(b"{\"endpoint\":\"");
    line.extend_from_slice(endpoint.map_or(&b""[..], |endpoint| &endpoint.log_name));
    match attempt.outcome {
        Outcome::Answered(_) => line.extend_from_slice(b"\",\"outcome\":\"ok\""),
        Outcome::Failed(_) | Outcome::Abandoned => {
            text(line, b"\",\"outcome\":\"", attempt.outcome.word().as_bytes());
            line.push(b'"');
        }
    }
    if let Some(status) = attempt.outcome.status() {
        number(line, b",\"status\":", u64::from(status));
    }
    millis(line, attempt.duration);
    line.extend_from_slice(if attempt.reused { b",\"reused\":true" } else { b",\"reused\":false" });
}

/// Writes what every line of a listener or a route has in common, once: `","key":"value`, for each pair.
pub(crate) fn part(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut part = Vec::new();
    for (key, value) in pairs {
        part.extend_from_slice(b"\",\"");
        part.extend_from_slice(key.as_bytes());
        text(&mut part, b"\":\"", value.as_bytes());
    }
    part
}

/// Writes `before`, which closes the string before it and opens the next one, and then `value`, so that a line is written
/// in one pass.
pub(crate) fn text(line: &mut Vec<u8>, before: &[u8], value: &[u8]) {
    line.extend_from_slice(before);
    escape(line, value);
}

fn number(line: &mut Vec<u8>, before: &[u8], value: u64) {
    line.extend_from_slice(before);
    decimal(line, value);
}

fn millis(line: &mut Vec<u8>, duration: Duration) {
    micros(line, b",\"duration_ms\":", duration);
}

/// Milliseconds with three decimals.
fn micros(line: &mut Vec<u8>, before: &[u8], duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(line, before, micros / 1000);
    let rest = micros % 1000;
    line.extend_from_slice(&[b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8]);
}

/// Writes `value` so that it stands safely between quotes. Bytes beyond ASCII come from clients in any encoding; they are
/// written as the characters of Latin-1, so that the line is valid JSON whatever they were.
pub(crate) fn escape(line: &mut Vec<u8>, value: &[u8]) {
    // Without an early exit, so that the compiler looks at many bytes at once: nearly every value is plain.
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) & (*byte != b'"') & (*byte != b'\\');
    if value.iter().fold(true, |plain, byte| plain & is_plain(byte)) {
        return line.extend_from_slice(value);
    }
    for byte in value {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => line.push(*byte),
            _control_or_high => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                line.extend_from_slice(b"\\u00");
                line.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
}
