//! What a line of the access log comes to.

use mainstay_core::random::Rng;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::attributes::Origin;
use super::{Job, Signals, events, line, messages, operations};

const LINE: &str = r#"{"time":"2026-11-21T12:00:00.100Z","id":"x","client":"10.0.0.9","listener":"web","route":"shop","service":"cart","method":"GET","host":"shop.test","path":"/cart","status":502,"bytes_in":0,"bytes_out":5,"duration_ms":40.000,"waited_ms":5.000,"error":"upstream-reset","session_write":{"start_ms":24.000,"duration_ms":2.500,"outcome":"unsafe"},"sample_rate":1,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"53995c3f42cd8ad8","parent_id":"00f067aa0ba902b7","attempts":[{"endpoint":"10.0.1.10:80","outcome":"reset","duration_ms":3.100,"reused":true,"start_ms":10.000,"span_id":"9a3c1d0e6f2b4875"},{"endpoint":"10.0.1.11:80","outcome":"ok","status":200,"duration_ms":8.400,"reused":true,"start_ms":15.300,"span_id":"1be07d45c2a98f36"}]}"#;

const LATE: &str = "not acknowledged in time by as many as it should be";

fn lines(lines: &str) -> Job {
    Job::Lines(lines.as_bytes().to_vec())
}

#[test]
fn a_request_becomes_a_tree_of_spans() {
    let line = line::Line::read(LINE.as_bytes()).expect("a line");
    let mut spans = Vec::new();
    events::spans(&line, &mut spans);
    let start = 1_795_262_400_060_u64;
    let micros = |nanos: u64| nanos / 1_000 - start * 1_000;
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            (span.name.as_str(), span.kind(), micros(span.start_time_unix_nano), micros(span.end_time_unix_nano))
        })
        .collect();
    let expected = [
        ("GET shop", SpanKind::Server, 0, 40_000),
        ("admission", SpanKind::Internal, 5_000, 10_000),
        ("GET", SpanKind::Client, 10_000, 13_100),
        ("GET", SpanKind::Client, 15_300, 23_700),
        ("session write", SpanKind::Internal, 24_000, 26_500),
    ];
    assert_eq!(told, expected);
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id && span.span_id.len() == 8));
    assert!(spans[1..].iter().all(|span| span.parent_span_id == spans[0].span_id));
    assert_eq!(spans[0].parent_span_id, [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    let failed: Vec<_> = spans.iter().map(|span| span.status.as_ref().map(|status| status.message.as_str())).collect();
    assert_eq!(failed, [Some("upstream-reset"), None, Some("reset"), None, Some(LATE)]);
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len());
    let acknowledged = line::Line::read(LINE.replace("unsafe", "safe").as_bytes()).expect("a line");
    let mut spans = Vec::new();
    events::spans(&acknowledged, &mut spans);
    assert_eq!(spans.last().map(|span| span.status.is_some()), Some(false));
    let fields = format!("{:?}", spans[0].attributes);
    assert!(
        !fields.contains("session_write") && !fields.contains("attempts"),
        "they have spans of their own: {fields}"
    );
}

#[test]
fn what_the_cluster_did_is_a_trace_of_its_own_with_its_stages() {
    let span = |start, end| operations::Span { start, end };
    let release = operations::Operation {
        name: "configuration release",
        subject: "8".to_owned(),
        span: span(10, 50),
        failure: Some("vetoed".to_owned()),
        cause: "lb2 cannot serve it".to_owned(),
        planned: true,
        stages: vec![("validating", span(10, 20)), ("canary", span(20, 50))],
    };
    let mut spans = Vec::new();
    events::operation(&release, &mut Rng::seeded(7), &mut spans);
    let told: Vec<_> =
        spans.iter().map(|it| (it.name.as_str(), it.start_time_unix_nano, it.end_time_unix_nano)).collect();
    assert_eq!(told, [("configuration release", 10, 50), ("validating", 10, 20), ("canary", 20, 50)]);
    assert!(
        spans.iter().all(|it| it.trace_id == spans[0].trace_id && it.trace_id.len() == 16 && it.span_id.len() == 8)
    );
    assert!(spans[1..].iter().all(|it| it.parent_span_id == spans[0].span_id));
    assert_eq!(spans[0].status.as_ref().map(|status| status.message.as_str()), Some("vetoed"));
}

#[test]
fn signals_are_sent_as_asked_for_and_in_pieces() {
    let origin = Origin { node: "lb1".to_owned(), version: "0" };
    let without_trace = LINE.replace("trace_id", "another");
    let round = [lines(&format!("{LINE}\n{without_trace}\n{{\"cut")), lines(&format!("{LINE}\n").repeat(2_500))];
    let items = |logs, traces| -> Vec<u64> {
        let signals = Signals { logs, traces, metrics: true };
        let rng = &mut Rng::seeded(1);
        messages(&round, &signals, &origin, rng).iter().map(super::send::Message::items).collect()
    };
    assert_eq!(items(true, false), [2_000, 502]);
    assert_eq!(items(false, true).iter().sum::<u64>(), 2_501 * 5);
    assert!(items(false, false).is_empty());
}
