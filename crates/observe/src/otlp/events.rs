//! From the line of a request to a log record and to spans: one for the request, one for its wait for a place, one for each
//! attempt, and one for the write of its session into a table. They are made of what the line says, once the request is over, so that no span is kept while it runs.

use mainstay_core::random::{self, Rng};
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};
use serde_json::{Map, Value};

use super::attributes::{any, attribute, text};
use super::line::{Line, bytes_of, nanos};
use super::operations::{self, Operation};

/// The names that OpenTelemetry has for what stands in a line (semantic conventions for HTTP); all else is `mainstay.KEY`.
const NAMES: &[(&str, &str)] = &[
    ("method", "http.request.method"),
    ("status", "http.response.status_code"),
    ("path", "url.path"),
    ("query", "url.query"),
    ("host", "server.address"),
    ("client", "client.address"),
    ("grpc_status", "rpc.grpc.status_code"),
    ("bytes_in", "http.request.body.size"),
    ("bytes_out", "http.response.body.size"),
];

/// Keys that have a place of their own.
const ELSEWHERE: &[&str] = &["trace_id", "span_id", "parent_id"];

/// The record of a request.
pub(super) fn record(line: &Line) -> LogRecord {
    let is_error = failure(line).is_some();
    let severity = if is_error { SeverityNumber::Error } else { SeverityNumber::Info };
    let body = format!("{} {} {}", line.text("method"), line.text("path"), line.number("status"));
    let mut attributes = attributes(line, &[]);
    attributes.push(attribute("mainstay.duration_ms", Any::DoubleValue(line.duration as f64 / 1e6)));
    LogRecord {
        time_unix_nano: line.end,
        observed_time_unix_nano: line.end,
        severity_number: severity.into(),
        severity_text: if is_error { "ERROR" } else { "INFO" }.to_owned(),
        body: Some(AnyValue { value: Some(Any::StringValue(body)) }),
        attributes,
        trace_id: bytes_of(line.text("trace_id")),
        span_id: bytes_of(line.text("span_id")),
        event_name: "mainstay.request".to_owned(),
        ..LogRecord::default()
    }
}

fn attributes(line: &Line, left_out: &[&str]) -> Vec<KeyValue> {
    let wanted =
        line.fields.iter().filter(|(key, _)| !ELSEWHERE.contains(&key.as_str()) && !left_out.contains(&key.as_str()));
    wanted
        .filter_map(|(key, value)| {
            let value = any(value)?;
            let name = NAMES.iter().find(|(ours, _theirs)| ours == key).map(|(_ours, theirs)| *theirs);
            Some(match name {
                Some(name) => attribute(name, value),
                None => attribute(&format!("mainstay.{key}"), value),
            })
        })
        .collect()
}

/// Why the request counts as failed, if it does.
fn failure(line: &Line) -> Option<String> {
    let (status, error) = (line.number("status"), line.text("error"));
    let is_refused = (300..500).contains(&status);
    match (error, status) {
        ("client-gone", _) => None,
        ("", 500..) => Some(format!("status {status}")),
        ("", _) => None,
        (_, _) if is_refused => None,
        (error, _) => Some(error.to_owned()),
    }
}

fn status(failure: Option<String>) -> Option<Status> {
    failure.map(|message| Status { message, code: StatusCode::Error.into() })
}

/// Adds the spans of a request, if it carried a trace.
pub(super) fn spans(line: &Line, spans: &mut Vec<Span>) {
    let (trace_id, span_id) = (bytes_of(line.text("trace_id")), bytes_of(line.text("span_id")));
    if trace_id.len() != 16 || span_id.len() != 8 {
        return;
    }
    let parent = bytes_of(line.text("parent_id"));
    let is_remote = if parent.is_empty() { 0 } else { SpanFlags::ContextIsRemoteMask as u32 };
    let route = line.text("route");
    let name =
        if route.is_empty() { line.text("method").to_owned() } else { format!("{} {route}", line.text("method")) };
    spans.push(Span {
        trace_id: trace_id.clone(),
        span_id: span_id.clone(),
        parent_span_id: parent,
        flags: SpanFlags::ContextHasIsRemoteMask as u32 | is_remote,
        name,
        kind: SpanKind::Server.into(),
        start_time_unix_nano: line.start(),
        end_time_unix_nano: line.end,
        attributes: attributes(line, &["attempts", "session_write"]),
        status: status(failure(line)),
        ..Span::default()
    });
    let child = |id: Vec<u8>, name: &str, kind: SpanKind| Span {
        trace_id: trace_id.clone(),
        span_id: id,
        parent_span_id: span_id.clone(),
        flags: SpanFlags::ContextHasIsRemoteMask as u32,
        name: name.to_owned(),
        kind: kind.into(),
        ..Span::default()
    };
    let attempts =
        || line.fields.get("attempts").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let waited = nanos(line.fields.get("waited_ms"));
    if waited > 0 {
        // It ends where the first attempt begins.
        let end = attempts().next().map_or(line.end, |attempt| line.start() + nanos(attempt.get("start_ms")));
        let id = derived(&span_id, 0);
        let (start_time_unix_nano, end_time_unix_nano) = (end.saturating_sub(waited).max(line.start()), end);
        spans.push(Span { start_time_unix_nano, end_time_unix_nano, ..child(id, "admission", SpanKind::Internal) });
    }
    for attempt in attempts() {
        let get = |key: &str| attempt.get(key).and_then(Value::as_str).unwrap_or_default();
        let start = line.start() + nanos(attempt.get("start_ms"));
        spans.push(Span {
            start_time_unix_nano: start,
            end_time_unix_nano: start + nanos(attempt.get("duration_ms")),
            attributes: of_attempt(line, attempt),
            status: status(Some(get("outcome")).filter(|outcome| *outcome != "ok").map(str::to_owned)),
            ..child(bytes_of(get("span_id")), line.text("method"), SpanKind::Client)
        });
    }
    if let Some(written) = line.fields.get("session_write").and_then(Value::as_object) {
        let outcome = written.get("outcome").and_then(Value::as_str).unwrap_or_default();
        let start = line.start() + nanos(written.get("start_ms"));
        let late = "not acknowledged in time by as many as it should be";
        spans.push(Span {
            start_time_unix_nano: start,
            end_time_unix_nano: start + nanos(written.get("duration_ms")),
            attributes: vec![text("mainstay.service", line.text("service")), text("mainstay.outcome", outcome)],
            status: status((outcome == "unsafe").then(|| late.to_owned())),
            ..child(derived(&span_id, 1), "session write", SpanKind::Internal)
        });
    }
}

/// The id of a span that the line has none for: another one for each `number` of the same request.
fn derived(span_id: &[u8], number: u64) -> Vec<u8> {
    let id = span_id.iter().fold(number, |id: u64, byte| id.rotate_left(8) ^ u64::from(*byte));
    random::mix(!id).to_be_bytes().to_vec()
}

/// Adds the spans of what the cluster did: a trace of its own, with a span for each stage.
pub(super) fn operation(operation: &Operation, rng: &mut Rng, spans: &mut Vec<Span>) {
    let mut id = || rng.next_u64().max(1).to_be_bytes().to_vec();
    let (trace_id, own) = ([id(), id()].concat(), id());
    let attributes = vec![
        text("mainstay.subject", &operation.subject),
        text("mainstay.cause", &operation.cause),
        attribute("mainstay.planned", Any::BoolValue(operation.planned)),
    ];
    let plain = |name: &str, span: operations::Span| Span {
        trace_id: trace_id.clone(),
        flags: SpanFlags::ContextHasIsRemoteMask as u32,
        name: name.to_owned(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        ..Span::default()
    };
    let status = status(operation.failure.clone());
    spans.push(Span { span_id: own.clone(), attributes, status, ..plain(operation.name, operation.span) });
    for (name, span) in &operation.stages {
        spans.push(Span { span_id: id(), parent_span_id: own.clone(), ..plain(name, *span) });
    }
}

fn of_attempt(line: &Line, attempt: &Map<String, Value>) -> Vec<KeyValue> {
    let get = |key: &str| attempt.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut attributes = vec![
        text("http.request.method", line.text("method")),
        text("server.address", get("endpoint")),
        text("mainstay.service", line.text("service")),
        text("mainstay.outcome", get("outcome")),
    ];
    if let Some(status) = attempt.get("status").and_then(any) {
        attributes.push(attribute("http.response.status_code", status));
    }
    if let Some(reused) = attempt.get("reused").and_then(any) {
        attributes.push(attribute("mainstay.reused", reused));
    }
    attributes
}
