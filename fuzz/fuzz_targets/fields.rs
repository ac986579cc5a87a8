//! Values of fields that are understood on their way: traces, loads of endpoints, caching, dates, gRPC. Lines of the input are
//! lines of a field.
#![no_main]

use mainstay_core::cache::{RequestControl, ResponseControl, Vary};
use mainstay_core::load_report::{self, Report};
use mainstay_core::trace_context::{self, b3, tracestate};
use mainstay_core::{criticality, grpc, http_date, timestamp};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for report in [load_report::parse(bytes), load_report::members(bytes)].into_iter().flatten() {
        is_plausible(&report);
    }
    traces(bytes);
    let (mut request, mut response) = (RequestControl::default(), ResponseControl::default());
    request.read(bytes);
    request.read_pragma(bytes);
    response.read(bytes);
    if let Vary::Fields(names) = Vary::read(lines(bytes)) {
        assert!(names.is_sorted() && names.iter().all(|name| !name.is_empty()));
    }
    for now in [0, 1_800_000_000, 253_402_300_800] {
        let _seconds = http_date::parse(bytes, now);
    }
    // An offset may lead beyond the year 9999, which has no form.
    let time = std::str::from_utf8(bytes).ok().and_then(timestamp::parse).filter(|millis| *millis < 253_402_300_800_000);
    if let Some(millis) = time {
        assert_eq!(timestamp::parse(&timestamp::rfc3339(millis)), Some(millis));
    }
    let _class = criticality::Criticality::parse(bytes);
    let _code = grpc::Status::parse(bytes);
    let _pushback = grpc::Pushback::parse(bytes);
    if let Some(timeout) = grpc::parse_timeout(bytes) {
        let mut text = Vec::new();
        grpc::write_timeout(timeout, &mut text);
        assert!(grpc::parse_timeout(&text).is_some_and(|again| again <= timeout), "what is passed on is no longer");
    }
});

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n')
}

fn is_plausible(report: &Report) {
    assert!(!report.is_empty());
    let figures = [report.cpu, report.memory, report.application, report.requests, report.errors];
    assert!(figures.into_iter().flatten().all(|figure| figure.is_finite() && figure >= 0.0), "{report:?}");
}

fn traces(bytes: &[u8]) {
    let _parent = trace_context::traceparent(bytes);
    let _parent = b3::single(bytes);
    let mut parts = lines(bytes);
    if let (Some(trace), Some(span)) = (parts.next(), parts.next()) {
        let _parent = b3::multi(trace, span, parts.next(), parts.next());
    }
    if let Some(members) = tracestate::read(lines(bytes)) {
        assert!(members.iter().count() <= 32);
    }
}
