//! `POST /api/v1/upgrade`: asks the main thread for an upgrade, and answers with a line for each step of it.

use std::sync::Arc;
use std::task::Poll;

use axum::Extension;
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::ADMIN;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::admin::api::{error, read};
use crate::admin::serve::Open;
use crate::admin::{Node, streamed};
use crate::upgrade::event::{Event, UpgradeRequest};

/// An upgrade that somebody asks for.
#[derive(Debug)]
pub struct Asked {
    /// What is asked for.
    pub request: UpgradeRequest,
    /// Who is told of the steps.
    pub asker: Asker,
}

/// Who has asked for an upgrade, and may have gone away since.
#[derive(Clone, Debug)]
pub struct Asker(Option<(UnboundedSender<Event>, Option<Open>)>);

impl Asker {
    /// Nobody reads: the upgrade was ordered by a signal.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// Tells a step.
    pub fn tell(&self, step: Event) {
        if let Self(Some((steps, _connection))) = self {
            // Who asked may have gone away.
            let _told = steps.send(step);
        }
    }

    /// Resolves once the answer is with the system, or nobody reads it. Only then may the process end.
    pub async fn answered(self) {
        match self.0 {
            Some((_steps, Some(connection))) => connection.ended().await,
            // Passed on by another node, which has all of it by then.
            Some((steps, None)) => steps.closed().await,
            None => {}
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let upgrades = endpoint::post("/api/v1/upgrade", ADMIN, "Lets a new process take over, and tells each step of it")
        .command("mainstay upgrade")
        .takes::<UpgradeRequest>()
        .answers_lines::<Event>();
    vec![upgrades.by(upgrade)]
}

async fn upgrade(Shared(node): Shared<Arc<Node>>, connection: Option<Extension<Open>>, sent: Body) -> Response {
    let request: UpgradeRequest = match read(sent, r#"send {}, or {"binary": "PATH", "timeout_seconds": 30}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let (steps, told) = unbounded_channel();
    let asker = Asker(Some((steps, connection.map(|Extension(connection)| connection))));
    if node.ask_upgrade(Asked { request, asker }).is_err() {
        return error(StatusCode::CONFLICT, "this node leaves already".to_owned(), None);
    }
    lines(told)
}

/// Steps to the last one.
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
