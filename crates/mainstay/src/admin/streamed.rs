//! Bodies whose parts come as they happen.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame};
use mainstay_runtime::task::AbortOnDrop;
use serde::Serialize;
use tokio::sync::mpsc;

/// Lines of JSON.
pub(super) const LINES: &str = "application/x-ndjson";

/// An answer of a media type whose body is what `told` brings; whoever tells ends with the reader.
pub(super) fn answer(media_type: &'static str, mut told: mpsc::Receiver<Bytes>, telling: AbortOnDrop) -> Response {
    polled(media_type, move |context| {
        let _ends_with_the_body = &telling;
        told.poll_recv(context)
    })
}

/// An answer of a media type whose body is what `next` brings, up to its first `None`. What `next` holds is dropped with the body:
/// the connection may have to send the last of it still, or the reader has gone.
pub(super) fn polled<F>(media_type: &'static str, next: F) -> Response
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Send + Unpin + 'static,
{
    ([(header::CONTENT_TYPE, media_type)], Body::new(Parts(next))).into_response()
}

/// One of [`LINES`].
pub(super) fn line(of: &impl Serialize) -> Bytes {
    // An event is names and numbers, which always have a form in JSON.
    let mut line = serde_json::to_vec(of).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

struct Parts<F>(F);

impl<F> hyper::body::Body for Parts<F>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + Unpin,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        (self.0)(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}
