//! `/api/v1/config`: the configuration that the nodes of a cluster share. Texts may hold secrets, so that they are shown over the
//! unix socket, and to admins, only.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use hyper::body::Bytes;
use mainstay_admin::caller::Caller;
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::precondition::{Changed, Condition, Tag};
use mainstay_admin::role::{ADMIN, OPERATOR, VIEWER};
use mainstay_cluster::config::desk::{self, DeskError, Proposal};
use mainstay_cluster::config::{TEXT_BYTES_MAX, View};
use mainstay_cluster::coordinator::Coordinator;
use mainstay_core::release::Version;
use mainstay_runtime::task::{self, Kind};
use tokio::sync::{mpsc, watch};

use crate::admin::Node;
use crate::admin::api::{error, read, read_up_to};
use crate::admin::streamed;
use crate::config;
use crate::shared_config::event::{Aborted, ApplyRequest, Event, History, Overview, Progress, RollbackRequest, Shown};

/// Bytes of a request with a text: JSON may need two bytes for one, and more for few.
const REQUEST_BYTES_MAX: usize = 3 * TEXT_BYTES_MAX;
/// What to send to release a configuration.
const EXAMPLE: &str = r#"send {"text": "...", "author": "NAME", "note": "WHY"}"#;
/// Events that a slow reader may be behind; then it is not told more.
const EVENTS_MAX: usize = 256;

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/config", VIEWER, "What a cluster's nodes serve, and how far a release is")
            .command("mainstay config status")
            .answers::<Overview>()
            .tagged()
            .by(overview),
        endpoint::post("/api/v1/config", ADMIN, "Releases a configuration, and tells each step of it")
            .command("mainstay config apply FILE")
            .takes::<ApplyRequest>()
            .up_to(REQUEST_BYTES_MAX)
            .secrets(&["text"])
            .answers_lines::<Event>()
            .conditional()
            .by(apply),
        endpoint::post("/api/v1/config/rollback", OPERATOR, "Releases an earlier configuration again")
            .command("mainstay config rollback [VERSION]")
            .takes::<RollbackRequest>()
            .answers_lines::<Event>()
            .conditional()
            .by(roll_back),
        endpoint::post("/api/v1/config/abort", OPERATOR, "Ends a release: all nodes go back")
            .command("mainstay config abort")
            .answers::<Aborted>()
            .by(abort),
        endpoint::get("/api/v1/config/versions", VIEWER, "The versions that are kept, and how their releases ended")
            .command("mainstay config history")
            .answers::<History>()
            .tagged()
            .by(history),
        endpoint::get("/api/v1/config/versions/{version}", ADMIN, "A version's text, which may hold secrets")
            .command("mainstay config show [VERSION]")
            .answers::<Shown>()
            .tagged()
            .by(show),
    ]
}

async fn overview(Shared(node): Shared<Arc<Node>>) -> Response {
    if let Err(refusal) = store(&node) {
        return *refusal;
    }
    let board = node.shared();
    let overview = Overview::of(&node.name, board.serves(), board.seen().borrow().as_ref());
    Tag::number(overview.current.unwrap_or_default()).on(Json(overview))
}

async fn history(Shared(node): Shared<Arc<Node>>) -> Response {
    let store = match store(&node) {
        Ok(store) => store,
        Err(refusal) => return *refusal,
    };
    match desk::history(&store).await {
        Ok((versions, current)) => Tag::number(current.unwrap_or_default()).on(Json(History { current, versions })),
        Err(why) => declined(&why),
    }
}

async fn show(Shared(node): Shared<Arc<Node>>, Path(version): Path<String>) -> Response {
    let store = match store(&node) {
        Ok(store) => store,
        Err(refusal) => return *refusal,
    };
    let version: Option<Version> = match version.as_str() {
        "current" => None,
        number => match number.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                let hint = Some("versions are numbers; `current` is one too".to_owned());
                return error(StatusCode::BAD_REQUEST, format!("`{number}` is no version"), hint);
            }
        },
    };
    match desk::show(&store, version).await {
        Ok((meta, text)) => Tag::number(meta.version).on(Json(Shown { meta, text })),
        Err(why) => declined(&why),
    }
}

async fn apply(
    Shared(node): Shared<Arc<Node>>,
    Extension(caller): Extension<Caller>,
    condition: Condition,
    sent: Body,
) -> Response {
    let request: ApplyRequest = match read_up_to(sent, EXAMPLE, REQUEST_BYTES_MAX).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    // Whoever asks without the command has not checked it; what depends on a node is for the nodes to say.
    if let Err(problems) = config::shared::check_text(&request.text, crate::shared_config::NAME) {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return error(StatusCode::BAD_REQUEST, all.join("\n"), Some("nothing has been changed".to_owned()));
    }
    let store = match store(&node) {
        Ok(store) => store,
        Err(refusal) => return *refusal,
    };
    let ApplyRequest { text, author, note, terms } = request;
    let author = caller.author(&author);
    let seen = node.shared().seen();
    let builds_on = condition.numbers();
    match desk::propose(&store, &Proposal { text, author, note, terms }, builds_on.as_deref()).await {
        Ok(version) => progress(seen, version, None),
        Err(why) => declined(&why),
    }
}

async fn roll_back(
    Shared(node): Shared<Arc<Node>>,
    Extension(caller): Extension<Caller>,
    condition: Condition,
    sent: Body,
) -> Response {
    let request: RollbackRequest = match read(sent, r#"send {}, or {"version": 3}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let store = match store(&node) {
        Ok(store) => store,
        Err(refusal) => return *refusal,
    };
    let seen = node.shared().seen();
    let (author, builds_on) = (caller.author(&request.author), condition.numbers());
    match desk::roll_back(&store, request.version, &author, request.terms, builds_on.as_deref()).await {
        Ok((version, same_as)) => progress(seen, version, Some(same_as)),
        Err(why) => declined(&why),
    }
}

async fn abort(Shared(node): Shared<Arc<Node>>) -> Response {
    let store = match store(&node) {
        Ok(store) => store,
        Err(refusal) => return *refusal,
    };
    match desk::abort(&store).await {
        Ok(version) => Json(Aborted { version }).into_response(),
        Err(why) => declined(&why),
    }
}

fn store(node: &Node) -> Result<Arc<dyn Coordinator>, Box<Response>> {
    match node.cluster() {
        Some(cluster) => cluster.parts().map(|parts| parts.coordinator).map_err(|why| {
            let why = format!("this node takes no part in its cluster: {why}");
            Box::new(error(StatusCode::SERVICE_UNAVAILABLE, why, Some("ask another node of the cluster".to_owned())))
        }),
        None => {
            let hint = "without `[cluster]` a node serves its own file, and serves it anew when it changes";
            Err(Box::new(error(StatusCode::CONFLICT, "this node is in no cluster".to_owned(), Some(hint.to_owned()))))
        }
    }
}

fn declined(why: &DeskError) -> Response {
    let (status, hint) = match why {
        DeskError::Busy { .. } => {
            (StatusCode::CONFLICT, Some("wait for its end (`mainstay config status`), or `mainstay config abort`"))
        }
        DeskError::Changed(current) => return Changed { present: Some(Tag::number(*current)) }.response(),
        DeskError::Unchanged(_) | DeskError::Raced => (StatusCode::CONFLICT, None),
        DeskError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, None),
        DeskError::NoVersion(_) | DeskError::NothingBefore | DeskError::NoRelease => {
            (StatusCode::NOT_FOUND, Some("`mainstay config history` lists the versions"))
        }
        DeskError::Store(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Some("nodes serve what they have; `mainstay config status` shows how it is"),
        ),
    };
    error(status, why.to_string(), hint.map(str::to_owned))
}

/// A line of JSON for each step of the release, to its end. Whoever reads may leave: the release goes on.
fn progress(seen: watch::Receiver<Option<View>>, version: Version, same_as: Option<Version>) -> Response {
    let (tell, told) = mpsc::channel(EVENTS_MAX);
    let telling = task::spawn_local(Kind::Admin, tell_all(seen, version, same_as, tell)).abort_on_drop();
    streamed::answer(streamed::LINES, told, telling)
}

async fn tell_all(
    mut seen: watch::Receiver<Option<View>>,
    version: Version,
    same_as: Option<Version>,
    tell: mpsc::Sender<Bytes>,
) {
    let mut said: Option<Progress> = None;
    let mut is_announced = false;
    loop {
        let present = seen.borrow_and_update().as_ref().and_then(|view| {
            let (_revision, record) = view.record.as_ref()?;
            (record.release.version >= version).then(|| Progress::of(view, record))
        });
        if let Some(present) = present.filter(|present| said.as_ref() != Some(present)) {
            if present.version > version {
                // Another release began before this node saw the end of ours.
                let error = format!("version {} is being released by now", present.version);
                let hint = Some("`mainstay config history` says how this one ended".to_owned());
                let _reader = tell.send(streamed::line(&Event::Failed { error, hint })).await;
                return;
            }
            if !is_announced {
                is_announced = true;
                let event = Event::Proposed { version, from: present.from, same_as };
                if tell.send(streamed::line(&event)).await.is_err() {
                    return;
                }
            }
            let is_over = present.stage.is_over();
            let event = if is_over { Event::Ended(present.clone()) } else { Event::Progress(present.clone()) };
            if tell.send(streamed::line(&event)).await.is_err() || is_over {
                return;
            }
            said = Some(present);
        }
        if seen.changed().await.is_err() {
            return;
        }
    }
}
