//! Questions that another node passes on for its callers, over the connections that nodes have anyway.
//!
//! The node that is asked has found out who its caller is, and says so; this one believes the certificate of a node of its
//! cluster, asks the table whether somebody of that role may, and writes changes into its own audit trail. Answers are made on
//! the thread of the admin interface: that of the cluster has heartbeats to send.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{self, Body, Bytes};
use axum::http::{Method, Request, header};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use mainstay_admin::caller::{Caller, Means};
use mainstay_admin::role::Role;
use mainstay_cluster::peer::{Handler, NodeId};
use mainstay_runtime::task::{self, Kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::gate::Peer;
use super::{Node, lock, table};

/// Questions that wait, at most; further ones are refused.
const WAITING_MAX: usize = 64;
/// Questions that are being answered, at most.
const ANSWERING_MAX: usize = 16;
/// Bytes of a path with its query, at most.
pub(super) const PATH_BYTES_MAX: usize = 4_096;
/// Bytes of an answer's body, at most: half of what one message between nodes may have.
pub(super) const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Headers of requests that matter to endpoints, and of answers that matter to who asks.
pub(super) const REQUEST_HEADERS: [header::HeaderName; 3] = [header::ACCEPT, header::IF_MATCH, header::IF_NONE_MATCH];
/// See [`REQUEST_HEADERS`].
const ANSWER_HEADERS: [header::HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::RETRY_AFTER];

/// Headers by name, as they are sent.
pub(super) type Headers = Vec<(String, String)>;

/// What is asked, and for whom. Its body follows after an end of line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    /// The request's method.
    pub method: String,
    /// Its path with the query.
    pub path: String,
    /// Those of [`REQUEST_HEADERS`] that it has.
    pub headers: Headers,
    /// Who asks, as the audit trail calls them.
    pub caller: String,
    /// What they may do.
    pub role: Option<Role>,
    /// The services that they may change; none: all.
    pub services: Option<Vec<String>>,
    /// How long the answer is waited for, in milliseconds.
    pub limit_ms: u64,
}

/// The head of an answer. Its body follows after an end of line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The status.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
}

/// A head and a body as one message.
///
/// # Errors
/// If the head cannot be written as JSON.
pub(super) fn join(head: &impl Serialize, body: &[u8]) -> Result<Bytes, String> {
    let mut whole = serde_json::to_vec(head).map_err(|error| error.to_string())?;
    // JSON on one line has no end of line inside.
    whole.push(b'\n');
    whole.extend_from_slice(body);
    Ok(whole.into())
}

/// The head and the body of a message.
///
/// # Errors
/// If it is none.
pub(super) fn split<H: DeserializeOwned>(message: &Bytes) -> Result<(H, Bytes), String> {
    let end = message.iter().position(|byte| *byte == b'\n').ok_or("the message has no head")?;
    let head = serde_json::from_slice(&message[..end]).map_err(|error| format!("the message's head: {error}"))?;
    Ok((head, message.slice(end + 1..)))
}

/// Those of `wanted` that there are.
pub(super) fn headers_of(all: &header::HeaderMap, wanted: &[header::HeaderName]) -> Headers {
    let text = |name: &header::HeaderName| Some((name.to_string(), all.get(name)?.to_str().ok()?.to_owned()));
    wanted.iter().filter_map(text).collect()
}

type Reply = oneshot::Sender<Result<Bytes, String>>;

struct Waiting {
    from: String,
    message: Bytes,
    reply: Reply,
}

/// Questions on their way from the cluster's thread to that of the admin interface. All copies are the same one.
#[derive(Clone)]
pub struct Queue {
    sender: mpsc::Sender<Waiting>,
    receiver: Arc<Mutex<Option<mpsc::Receiver<Waiting>>>>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue(..)")
    }
}

impl Default for Queue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self { sender, receiver: Arc::new(Mutex::new(Some(receiver))) }
    }
}

/// Takes other nodes' questions on the cluster's thread.
pub struct Answerer {
    node: Arc<Node>,
    queue: Queue,
}

impl Answerer {
    /// Takes them for this node.
    pub fn new(node: Arc<Node>, queue: Queue) -> Self {
        Self { node, queue }
    }

    /// The name of the node with this number.
    fn name(&self, of: NodeId) -> String {
        let parts = self.node.cluster().and_then(|handle| handle.parts().ok());
        let members = parts.and_then(|parts| Some(parts.membership?.0.engine.status().members));
        let found = members.and_then(|members| members.into_iter().find(|member| member.node == of));
        found.map_or_else(|| of.to_string(), |member| member.name)
    }
}

#[async_trait]
impl Handler for Answerer {
    async fn handle(&self, from: NodeId, message: Bytes) -> Result<Bytes, String> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { from: self.name(from), message, reply };
        let full = |_refused| "its admin interface has too many questions of other nodes".to_owned();
        self.queue.sender.try_send(waiting).map_err(full)?;
        answer.await.map_err(|_dropped| "its admin interface has ended".to_owned())?
    }
}

/// Answers other nodes' questions for as long as the process runs.
pub(super) async fn serve(node: Arc<Node>) {
    let Some(mut asked) = lock(&node.passed.receiver).take() else { return };
    let router = table::router(Arc::clone(&node));
    let places = Arc::new(Semaphore::new(ANSWERING_MAX));
    while let Some(Waiting { from, message, reply }) = asked.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        if reply.is_closed() {
            continue;
        }
        let router = router.clone();
        task::spawn_local(Kind::Admin, async move {
            let answered = match split::<Question>(&message) {
                Ok((question, body)) => answer(router, question, body, &from).await,
                Err(why) => Err(why),
            };
            let _who_asks_may_have_lost_patience = reply.send(answered.and_then(|(head, body)| join(&head, &body)));
            drop(place);
        });
    }
}

/// Has the router answer a question that came through the node `from`.
///
/// # Errors
/// If it is none, takes too long or its answer is too large.
pub(super) async fn answer(
    router: Router,
    question: Question,
    body: Bytes,
    from: &str,
) -> Result<(Head, Bytes), String> {
    let Question { method, path, headers, caller, role, services, limit_ms } = question;
    if !path.starts_with("/api/v1/") || path.len() > PATH_BYTES_MAX {
        return Err("this is not answered through another node".to_owned());
    }
    let method: Method = method.parse().map_err(|_odd| "the method is unknown".to_owned())?;
    let mut request = Request::builder().method(method).uri(&path);
    for (name, value) in headers.iter().filter(|(name, _)| REQUEST_HEADERS.iter().any(|it| it.as_str() == name)) {
        request = request.header(name, value);
    }
    let mut request = request.body(Body::from(body)).map_err(|error| error.to_string())?;
    request.extensions_mut().insert(Peer::Node);
    request.extensions_mut().insert(Caller {
        name: caller,
        role,
        services,
        means: Means::Node,
        from: format!("node {from}"),
    });
    let work = async {
        let response = match TowerToHyperService::new(router).call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let head =
            Head { status: response.status().as_u16(), headers: headers_of(response.headers(), &ANSWER_HEADERS) };
        let large = |_error| format!("the answer has more than {} MiB", ANSWER_BYTES_MAX >> 20);
        Ok((head, body::to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.map_err(large)?))
    };
    let limit = Duration::from_millis(limit_ms);
    let late = |_elapsed| format!("it was not done with the answer within {limit:?}");
    tokio::time::timeout(limit, work).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split_where_they_were_joined() {
        let head = Head { status: 200, headers: vec![("etag".to_owned(), "\"a\nb\"".to_owned())] };
        for body in [&b""[..], b"\n", b"{}\n{}"] {
            let message = join(&head, body).expect("JSON");
            assert_eq!(split::<Head>(&message), Ok((head.clone(), Bytes::copy_from_slice(body))));
        }
        for damaged in [&b""[..], b"{}", b"{}\n", b"\n\n"] {
            assert!(split::<Head>(&Bytes::from_static(damaged)).is_err());
        }
    }
}
