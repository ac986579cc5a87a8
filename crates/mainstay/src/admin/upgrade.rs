//! `POST /api/v1/upgrade`: asks the main thread for an upgrade, and answers with a line for each step of it.

use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::ADMIN;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::admin::api::{error, read};
use crate::admin::{Node, streamed};
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
    lines(told)
}

/// Steps to the last one. The main thread sees by the end of `told` that the last one has been taken, and may end the process.
fn lines(mut told: UnboundedReceiver<Event>) -> Response {
    let mut is_over = false;
    streamed::polled(streamed::LINES, move |context| {
        if is_over {
            return Poll::Ready(None);
        }
        told.poll_recv(context).map(|event| {
            let event = event?;
            is_over = event.is_last();
            Some(streamed::line(&event))
        })
    })
}
