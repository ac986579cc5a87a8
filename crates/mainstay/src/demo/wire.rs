//! HTTP/1.1 from the client's side, one connection and one exchange at a time.

use std::future::Future;
use std::pin::Pin;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// The largest answer that is taken.
const BODY_MAX: usize = 4 << 20;

type Sender = http1::SendRequest<Full<Bytes>>;
type Driver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>>>>;

/// An open connection. Its driver is polled along with each exchange instead of in a task of its own, so that nothing
/// outlives the client.
pub(crate) struct Connection {
    sender: Sender,
    driver: Option<Driver>,
}

impl Connection {
    /// Makes a connection of a stream.
    pub(crate) async fn over<S>(stream: S) -> Result<Self, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Some(Box::pin(driver)) })
    }

    /// Whether the peer has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.driver.is_none() || self.sender.is_closed()
    }

    /// Lets the driver see what came since the last exchange, such as the peer's close.
    pub(crate) async fn look(&mut self) {
        let Some(driver) = &mut self.driver else { return };
        tokio::select! {
            biased;
            _ended = driver => self.driver = None,
            () = std::future::ready(()) => {}
        }
    }

    /// Sends a request and takes the whole answer.
    pub(crate) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
        let Self { sender, driver } = self;
        let whole = whole(sender, request);
        tokio::pin!(whole);
        if let Some(running) = driver {
            tokio::select! {
                biased;
                answer = &mut whole => return answer,
                _ended = running => *driver = None,
            }
        }
        // The connection has ended; what it had read before that is still to be taken.
        whole.await
    }
}

async fn whole(sender: &mut Sender, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
    sender.ready().await.map_err(|error| word(&error))?;
    let (head, body) = sender.send_request(request).await.map_err(|error| word(&error))?.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await;
    // The error is boxed by the limit; a body that ends early is by far its commonest cause.
    let body = body.map_err(|_error| "answer cut off".to_owned())?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// What a client would call the failure.
fn word(error: &hyper::Error) -> String {
    let caused_by_reset = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
    if caused_by_reset {
        "connection reset".to_owned()
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        "connection closed".to_owned()
    } else if error.is_parse() {
        "malformed answer".to_owned()
    } else {
        format!("{error}")
    }
}
