//! Bodies whose parts come as they happen.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame};
use mainstay_runtime::task::AbortOnDrop;
use tokio::sync::mpsc;

/// An answer of a media type whose body is what `told` brings; whoever tells ends with the reader.
pub(super) fn answer(media_type: &'static str, told: mpsc::Receiver<Bytes>, telling: AbortOnDrop) -> Response {
    ([(header::CONTENT_TYPE, media_type)], Body::new(Parts { told, _telling: telling })).into_response()
}

struct Parts {
    told: mpsc::Receiver<Bytes>,
    _telling: AbortOnDrop,
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.told.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}
