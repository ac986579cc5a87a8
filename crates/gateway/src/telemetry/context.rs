//! The trace that a request carries: taken from its headers or begun, and passed on to endpoints with the span of each
//! attempt. Ids live in the exchange; nothing is allocated.

use mainstay_core::random::Rng;
use mainstay_core::trace_context::{self, Parent, b3, tracestate};

use crate::http::exchange::{Exchange, Run};
use crate::http1::field::Name;
use crate::http1::request::Head;
use crate::http1::write::{self, Ops};
use crate::worker::{Worker, hexadecimal};

/// In which headers a trace came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// In none: it begins here.
    #[default]
    Own,
    /// `traceparent`, perhaps with `tracestate`.
    W3c,
    /// `b3`.
    B3,
    /// `x-b3-*`.
    B3Headers,
}

/// The trace of one request; all 0 if it carries none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Context {
    pub(crate) trace: u128,
    /// The request's own span.
    pub(crate) span: u64,
    /// The span of whoever has sent it; 0 if the trace begins here.
    pub(crate) parent: u64,
    /// Whether the sender records the trace, if it says.
    sampled: Option<bool>,
    random: bool,
    form: Form,
    /// A proxy that is believed records it, so that its part of the trace is not to miss this one.
    pub(crate) wanted: bool,
}

impl Context {
    /// The trace of the request whose head was read, or a new one.
    pub(crate) fn of(worker: &Worker, head: &Head, bytes: &[u8], is_trusted: bool) -> Self {
        let span = worker.with_rng(|rng| id(rng.next_u64()));
        if let Some((parent, form)) = received(head, bytes) {
            let Parent { trace, span: parent, sampled, random } = parent;
            return Self { trace, span, parent, sampled, random, form, wanted: is_trusted && sampled == Some(true) };
        }
        let (high, low) = worker.with_rng(|rng| (rng.next_u64(), rng.next_u64()));
        let trace = (u128::from(high) << 64) | u128::from(id(low));
        Self { trace, span, parent: 0, sampled: None, random: true, form: Form::Own, wanted: false }
    }

    /// The same trace for a request that this one gives rise to.
    pub(crate) fn beside(self, worker: &Worker) -> Self {
        if self.trace == 0 {
            return self;
        }
        Self { parent: self.span, span: worker.with_rng(|rng| id(Rng::next_u64(rng))), ..self }
    }

    /// What the request's `nth` attempt at an endpoint has as its span.
    pub(crate) const fn attempt(&self, endpoint: usize, nth: usize, elsewhere: bool) -> u64 {
        trace_context::attempt_span(self.span, endpoint, nth, elsewhere)
    }
}

const fn id(bits: u64) -> u64 {
    if bits == 0 { 1 } else { bits }
}

/// The trace that the headers name, if they name one rightly. W3C Trace Context comes before B3.
fn received(head: &Head, bytes: &[u8]) -> Option<(Parent, Form)> {
    let (mut parents, mut singles) = (None, None);
    let (mut trace, mut span, mut sampled, mut flags) = (None, None, None, None);
    let mut is_once = true;
    for field in &head.fields {
        let value = field.value.get(bytes);
        match field.known {
            // Which of several would be meant cannot be told.
            Name::TraceParent => is_once &= parents.replace(value).is_none(),
            Name::B3 => match field.name.get(bytes).len() {
                2 => singles = Some(value),
                10 => flags = Some(value),
                11 => span = Some(value),
                12 if field.name.get(bytes).eq_ignore_ascii_case(b"x-b3-sampled") => sampled = Some(value),
                12 => trace = Some(value),
                _parent_span => {}
            },
            _ => {}
        }
    }
    let w3c = parents.filter(|_value| is_once).and_then(trace_context::traceparent);
    let single = || singles.and_then(b3::single).map(|parent| (parent, Form::B3));
    let multi = || Some((b3::multi(trace?, span?, sampled, flags)?, Form::B3Headers));
    w3c.map(|parent| (parent, Form::W3c)).or_else(single).or_else(multi)
}

/// What the endpoint of an attempt is told of the trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    trace: u128,
    /// The attempt's span.
    span: u64,
    /// The request's.
    own: u64,
    sampled: bool,
    random: bool,
    form: Form,
}

/// What the endpoint at `index` is told of the trace in the attempt that begins, if the request carries one.
pub(crate) fn passed(run: &Run<'_>, exchange: &Exchange, index: usize) -> Option<Passed> {
    let context = &exchange.context;
    if context.trace == 0 {
        return None;
    }
    let elsewhere = run.route.primary.is_some();
    let earlier = exchange.attempts.iter().filter(|it| it.endpoint == index && it.elsewhere == elsewhere).count();
    let sampled = context.sampled.unwrap_or_else(|| {
        let policy = run.worker.choice.policy(run.listener, Some(run.route), run.worker.now());
        policy.rate.keeps(context.trace)
    });
    Some(Passed {
        trace: context.trace,
        span: context.attempt(index, earlier, elsewhere),
        own: context.span,
        sampled,
        random: context.random,
        form: context.form,
    })
}

/// The digits of a trace's id.
pub(crate) fn trace_digits(trace: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    digits[..16].copy_from_slice(&hexadecimal((trace >> 64) as u64));
    digits[16..].copy_from_slice(&hexadecimal(trace as u64));
    digits
}

impl Passed {
    /// Writes the headers that tell the endpoint, in place of those that came.
    pub(crate) fn write(&self, out: &mut Vec<u8>, head: &Head, bytes: &[u8], ops: &Ops) {
        let (trace, span) = (trace_digits(self.trace), hexadecimal(self.span));
        if !ops.removes(b"traceparent") {
            let sampled = if self.sampled { trace_context::SAMPLED } else { 0 };
            let random = if self.random { trace_context::RANDOM } else { 0 };
            out.extend_from_slice(b"traceparent: 00-");
            out.extend_from_slice(&trace);
            out.push(b'-');
            out.extend_from_slice(&span);
            out.extend_from_slice(&[b'-', b'0', b'0' + (sampled | random), b'\r', b'\n']);
        }
        match self.form {
            Form::Own => {}
            Form::W3c => state(out, head, bytes, ops),
            Form::B3 if ops.removes(b"b3") => {}
            Form::B3 => {
                out.extend_from_slice(b"b3: ");
                out.extend_from_slice(&trace);
                out.push(b'-');
                out.extend_from_slice(&span);
                out.extend_from_slice(if self.sampled { b"-1-" } else { b"-0-" });
                out.extend_from_slice(&hexadecimal(self.own));
                out.extend_from_slice(b"\r\n");
            }
            Form::B3Headers if ops.removes(b"x-b3-traceid") => {}
            Form::B3Headers => {
                write::field(out, b"x-b3-traceid", &trace);
                write::field(out, b"x-b3-spanid", &span);
                write::field(out, b"x-b3-parentspanid", &hexadecimal(self.own));
                write::field(out, b"x-b3-sampled", if self.sampled { b"1" } else { b"0" });
            }
        }
    }
}

/// Writes `tracestate` as it came, if it keeps the rules.
fn state(out: &mut Vec<u8>, head: &Head, bytes: &[u8], ops: &Ops) {
    if head.find(Name::TraceState).is_none() || ops.removes(b"tracestate") {
        return;
    }
    let lines = head.fields.iter().filter(|field| field.known == Name::TraceState).map(|it| it.value.get(bytes));
    let Some(members) = tracestate::read(lines).filter(|members| !members.is_empty()) else { return };
    out.extend_from_slice(b"tracestate: ");
    for (number, member) in members.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
    out.extend_from_slice(b"\r\n");
}
