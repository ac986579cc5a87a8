//! Takes the header from a connection that was just accepted, and nothing behind it: what follows may be a TLS handshake.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use mainstay_runtime::socket;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{Header, MAX_BYTES, Malformed, Progress, parse};
use crate::http::identity;
use crate::peer::Peer;
use crate::spec::ProxyProtocol;
use crate::worker::Worker;
use crate::worker::deadline::Slot;
use crate::worker::table::Listener;

/// Room for almost every header; longer ones get more.
const USUAL_BYTES: usize = 256;

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the peer is not among `trusted`")]
    Untrusted,
    #[error("no header in time")]
    TooSlow,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("closed within the header")]
    Closed,
    /// Checks of a load balancer often only connect. Nothing was refused, and nobody needs to know.
    #[error("closed before a header")]
    Silent,
}

/// Who the connection is forwarded for; `None` if it is to be closed, which has been counted.
pub(crate) async fn receive(
    worker: &Worker,
    listener: &Listener,
    policy: &ProxyProtocol,
    stream: &mut TcpStream,
    address: SocketAddr,
    slot: &Slot,
) -> Option<Peer> {
    let result = if identity::is_trusted(address.ip(), &policy.trusted) {
        slot.set(worker.clock.now().after(policy.timeout));
        // As long as it has sent no header it may be closed without harm.
        slot.idle.set(true);
        let read = slot.within(read(stream)).await;
        slot.idle.set(false);
        read.unwrap_or(Err(Refused::TooSlow))
    } else {
        Err(Refused::Untrusted)
    };
    let counters = &listener.state.shards.of(worker.index).proxy_protocol;
    match &result {
        Ok(_) | Err(Refused::Silent) => {}
        Err(Refused::TooSlow) if worker.is_draining() => {}
        Err(Refused::Untrusted) => counters.untrusted.add(1),
        Err(Refused::TooSlow) => counters.timeouts.add(1),
        Err(Refused::Malformed(_) | Refused::Closed) => counters.malformed.add(1),
    }
    match result {
        Ok(Header::Proxied { source, destination }) => {
            Some(Peer { address: source, destination: Some(Rc::new(destination)) })
        }
        Ok(Header::Local) => Some(address.into()),
        Err(reason) => {
            let listener = &listener.state.spec.name;
            tracing::debug!(listener, peer = %address, %reason, "no PROXY header: connection closed");
            None
        }
    }
}

/// Looks first and takes then, so that not a byte behind the header is taken.
async fn read(stream: &mut TcpStream) -> Result<Header, Refused> {
    let gone = |_error: io::Error| Refused::Closed;
    let mut bytes = vec![0; USUAL_BYTES];
    let mut taken = 0;
    loop {
        let seen = match stream.peek(bytes.get_mut(taken..).unwrap_or_default()).await {
            Ok(0) | Err(_) if taken == 0 => return Err(Refused::Silent),
            Ok(0) => return Err(Refused::Closed),
            seen => taken + seen.map_err(gone)?,
        };
        let progress = parse(bytes.get(..seen).unwrap_or_default())?;
        let take_to = match progress {
            Progress::Complete(_, length) => length,
            Progress::Partial => seen,
        };
        stream.read_exact(bytes.get_mut(taken..take_to).unwrap_or_default()).await.map_err(gone)?;
        taken = take_to;
        if seen == taken {
            // The rest is yet to be sent, perhaps only after an acknowledgement, which waits for an answer otherwise.
            let _best_effort = socket::acknowledge_now(stream);
        }
        match progress {
            Progress::Complete(header, _) => return Ok(header),
            Progress::Partial if taken == bytes.len() => bytes.resize(MAX_BYTES, 0),
            Progress::Partial => {}
        }
    }
}
