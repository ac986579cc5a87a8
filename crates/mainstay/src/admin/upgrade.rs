//! `POST /api/v1/upgrade`: asks the main thread for an upgrade, and answers with a line for each step of it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::ADMIN;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::admin::Node;
use crate::admin::api::{error, read};
use crate::upgrade::event::{Event, UpgradeRequest};

/// An upgrade that somebody asks for.
#[derive(Debug)]
pub struct Asked {
    /// What is asked for.
    pub request: UpgradeRequest,
    /// Where the steps are told.
    pub steps: UnboundedSender<Event>,
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let upgrades = endpoint::post("/api/v1/upgrade", ADMIN, "Lets a new process take over, and tells each step of it")
        .command("mainstay upgrade")
        .takes::<UpgradeRequest>()
        .answers_lines::<Event>();
    vec![upgrades.by(upgrade)]
}

async fn upgrade(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let request: UpgradeRequest = match read(sent, r#"send {}, or {"binary": "PATH", "timeout_seconds": 30}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let (steps, told) = unbounded_channel();
    if node.ask_upgrade(Asked { request, steps }).is_err() {
        return error(StatusCode::CONFLICT, "this node leaves already".to_owned(), None);
    }
    let lines = Body::new(Lines { told, is_over: false });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}

/// Steps as lines of JSON, to the last one.
struct Lines {
    told: UnboundedReceiver<Event>,
    is_over: bool,
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Some(event) = ready!(self.told.poll_recv(context)) else { return Poll::Ready(None) };
        self.is_over = event.is_last();
        // An event is names and numbers, which always have a form in JSON.
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Poll::Ready(Some(Ok(Frame::data(line.into()))))
    }
}
