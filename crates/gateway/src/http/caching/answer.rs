//! Answers from the cache.

use std::sync::Arc;

use mainstay_core::cache::is_not_modified;

use super::asked;
use super::{count, counters};
use crate::cache::object::Object;
use crate::http::connection::Next;
use crate::http::exchange::{Exchange, Run};
use crate::http::ready::{self, Ready};
use crate::http1::write;
use crate::stream::Stream;

/// How a request came to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It was stored, and fresh.
    Hit,
    /// Another request has brought it.
    Coalesced,
    /// It is stale and is validated meanwhile.
    Refreshing,
    /// It is stale, which the client allows.
    Stale,
    /// It is stale, and its origin cannot be asked.
    OnError,
    /// It is stale, and a fallback has nothing better.
    Fallback,
    /// It was stored, and its origin has said that it is still good.
    Validated,
    /// It has just been fetched and stored.
    Fetched,
    /// It has just been fetched, and was out of date before it was there.
    Unstored,
}

/// Sends a stored response, or 304 to a client that has it already.
pub(crate) async fn send(
    run: &Run<'_>,
    client: &mut Stream,
    exchange: &mut Exchange,
    object: &Arc<Object>,
    how: How,
) -> Next {
    note(run, exchange, how);
    let mut marks = Vec::new();
    mark(run, object, how, &mut marks);
    if how == How::Fallback {
        marks.extend_from_slice(crate::fallback::mark(mainstay_core::fallback::Form::Stale));
    }
    let has_it = object.status == 200
        && is_not_modified(
            asked::lines(exchange, "if-none-match"),
            asked::line(exchange, "if-modified-since"),
            object.validators(),
            run.worker.seconds(),
        );
    let ready = Ready {
        status: if has_it { 304 } else { object.status },
        fields: &object.fields,
        marks: &marks,
        body: if has_it { b"" } else { &object.body },
        has_date: true,
        error: None,
    };
    ready::send(run, client, exchange, ready).await
}

/// Counts the answer, and notes for the log how it came.
fn note(run: &Run<'_>, exchange: &mut Exchange, how: How) {
    let counters = counters(run);
    match how {
        How::Hit => count(exchange, &counters.hits, "hit"),
        How::Coalesced => count(exchange, &counters.hits, "coalesced"),
        How::Refreshing | How::Stale | How::OnError | How::Fallback => count(exchange, &counters.stale, "stale"),
        How::Validated => count(exchange, &counters.validated, "validated"),
        // The miss was counted when the request went.
        How::Fetched | How::Unstored => {}
    }
}

/// Writes `Age`, and `Cache-Status` (RFC 9211).
fn mark(run: &Run<'_>, object: &Object, how: How, out: &mut Vec<u8>) {
    let age = object.freshness.age_at(run.worker.now());
    out.extend_from_slice(b"age: ");
    write::decimal(out, age.as_secs());
    out.extend_from_slice(b"\r\ncache-status: mainstay; ");
    out.extend_from_slice(match how {
        How::Hit | How::Refreshing | How::Stale | How::OnError | How::Fallback => b"hit",
        How::Coalesced => b"fwd=uri-miss; collapsed",
        How::Validated => b"fwd=stale; fwd-status=304; stored",
        How::Fetched => b"fwd=uri-miss; stored",
        How::Unstored => b"fwd=uri-miss",
    });
    let lifetime = object.freshness.lifetime;
    match lifetime.checked_sub(age) {
        Some(left) => {
            out.extend_from_slice(b"; ttl=");
            write::decimal(out, left.as_secs());
        }
        None => {
            out.extend_from_slice(b"; ttl=-");
            write::decimal(out, (age - lifetime).as_secs());
        }
    }
    out.extend_from_slice(match how {
        How::Refreshing => b"; detail=stale-while-revalidate",
        How::OnError => b"; detail=stale-if-error",
        How::Fallback => b"; detail=fallback",
        _plain => b"",
    });
    out.extend_from_slice(b"\r\n");
}
