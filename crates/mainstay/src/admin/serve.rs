//! The thread of the admin interface: accepts connections, few and not for long, and takes a sample each second.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mainstay_runtime::task::{self, Kind};
use mainstay_runtime::thread;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use crate::admin::bind::Bound;
use crate::admin::gate::Peer;
use crate::admin::table::router;
use crate::admin::tls::Material;
use crate::admin::{Node, merged, passed, sampler};

/// Connections at once, over each socket; further ones wait.
const CONNECTIONS_MAX: usize = 64;
/// Between the start of a connection (or the end of an answer) and the next complete request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// No connection lives longer, so that a client that reads nothing does not hold its place for ever.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(600);
/// After a failed accept (no file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Beside each request: the connection that it came through, as long as there is one.
#[derive(Clone, Debug)]
pub(super) struct Open(watch::Receiver<()>);

impl Open {
    /// Resolves when the connection is over: all its answers are with the system then, or its client has gone.
    pub(super) async fn ended(mut self) {
        // Nothing is ever sent.
        while self.0.changed().await.is_ok() {}
    }
}

/// Starts the thread, which runs as long as the process. Without any socket it only takes samples.
///
/// # Errors
/// If the system refuses the thread.
pub fn start(node: &Arc<Node>, bound: &Bound, tls: Option<Material>) -> io::Result<()> {
    let tcp = bound.tcp.as_ref().map(|socket| socket.try_clone()).transpose()?;
    let unix = bound.unix.as_ref().map(|socket| socket.listener()).transpose()?;
    let node = node.clone();
    thread::spawn_local_runtime("admin", move || async move {
        if let Some(listener) = tcp {
            task::spawn_local(Kind::Admin, serve_tcp(node.clone(), listener, tls.clone()));
        }
        if let Some(listener) = unix {
            task::spawn_local(Kind::Admin, serve_unix(node.clone(), listener));
        }
        if let Some(tls) = tls {
            task::spawn_local(Kind::Admin, tls.follow());
        }
        task::spawn_local(Kind::Admin, passed::serve(node.clone()));
        task::spawn_local(Kind::Admin, merged::follow(node.clone()));
        // Samples are due once a second; missed ones are worth nothing later.
        let mut ticks = tokio::time::interval(sampler::INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            node.sample();
            node.access().look(&node).await;
        }
    })?;
    Ok(())
}

async fn serve_tcp(node: Arc<Node>, listener: std::net::TcpListener, tls: Option<Material>) {
    let bound = listener.local_addr().and_then(|address| Ok((address, TcpListener::from_std(listener)?)));
    match bound {
        Ok((bind, listener)) => {
            let accept = async || {
                let (stream, client) = listener.accept().await?;
                Ok((stream, Peer::Tcp { bind, client, is_encrypted: tls.is_some() }))
            };
            accept_all(router(node.clone()), &node, tls.as_ref(), accept).await;
        }
        Err(error) => tracing::error!(%error, "admin interface lost its TCP socket"),
    }
}

async fn serve_unix(node: Arc<Node>, listener: std::os::unix::net::UnixListener) {
    match UnixListener::from_std(listener) {
        Ok(listener) => {
            let accept = async || {
                let (stream, _address) = listener.accept().await?;
                let user = stream.peer_cred().ok().map(|process| process.uid());
                Ok((stream, Peer::Socket { user }))
            };
            accept_all(router(node.clone()), &node, None, accept).await;
        }
        Err(error) => tracing::error!(%error, "admin interface lost its unix socket"),
    }
}

/// Accepts until another process does.
async fn accept_all<S>(
    router: Router,
    node: &Node,
    tls: Option<&Material>,
    accept: impl AsyncFn() -> io::Result<(S, Peer)>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut succeeded = node.succeeded.subscribe();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            _succeeded = succeeded.wait_for(|succeeded| *succeeded) => return,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, succeeded) = (router.clone(), succeeded.clone());
                let acceptor = tls.map(Material::acceptor);
                task::spawn_local(Kind::Admin, async move {
                    match acceptor {
                        None => serve(router, stream, peer, succeeded).await,
                        Some(acceptor) => {
                            // Who speaks no TLS, or not in time, is not served; nothing else comes of it.
                            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
                                serve(router, stream, peer, succeeded).await;
                            }
                        }
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin interface cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve<S>(router: Router, stream: S, peer: Peer, mut succeeded: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let (_open, open) = watch::channel(());
    let open = Open(open);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(open.clone());
        hyper::service::Service::call(&TowerToHyperService::new(router.clone()), request)
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // Clients that vanish, stall or speak nonsense are their own problem.
    let _ended = tokio::time::timeout(CONNECTION_AGE_MAX, async {
        tokio::select! {
            biased;
            _succeeded = succeeded.wait_for(|succeeded| *succeeded) => {
                // What was asked is answered; the next question goes to the process that serves.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            ended = connection.as_mut() => ended,
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    /// More than what lies between the two ends.
    const ANSWER: usize = 4_096;

    #[tokio::test]
    async fn a_connection_is_over_only_when_its_last_answer_is_with_the_system() -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
        let router = Router::new().route(
            "/",
            get(move |Extension(open): Extension<Open>| {
                let tell = tell.lock().ok().and_then(|mut tell| tell.take());
                async move {
                    let _sent = tell.map(|tell| tell.send(open));
                    "x".repeat(ANSWER)
                }
            }),
        );
        let (mut client, stream) = tokio::io::duplex(64);
        let (succeed, succeeded) = watch::channel(false);
        let asked = async {
            client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await?;
            let mut ended = Box::pin(told.await.map_err(io::Error::other)?.ended());
            succeed.send_replace(true);
            // The answer has been handed to the connection; the client has not read it.
            let early = tokio::time::timeout(Duration::from_millis(100), ended.as_mut()).await;
            assert!(early.is_err(), "over before its answer was sent");
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await?;
            assert!(answer.ends_with("x".repeat(ANSWER).as_bytes()), "cut at {}", answer.len());
            ended.await;
            Ok(())
        };
        tokio::join!(asked, serve(router, stream, Peer::Socket { user: None }, succeeded)).0
    }
}
