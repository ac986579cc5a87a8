//! Bytes both ways between two connections: tunnels and TCP listeners. A side that ends its half has that passed on and may
//! go on reading (half-close, RFC 9293, section 3.6).

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::http1::websocket::Frames;
use crate::stream::{Buffer, Stream};
use crate::worker::Worker;
use crate::worker::deadline::Slot;

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both sides have closed, or one has broken off.
    Closed,
    /// Nothing moved for too long.
    Idle,
    /// The gateway leaves.
    Draining,
    /// Whoever watches wants it to end.
    Over,
}

/// Follows what goes through, and may end it. Nobody watching costs nothing.
pub(crate) trait Watch {
    /// The upstream has been sent this.
    fn up(&mut self, _bytes: &[u8]) {}

    /// The client has been sent this.
    fn down(&mut self, _bytes: &[u8]) {}

    /// What the client has got ends where something else can be said.
    fn is_between(&self) -> bool {
        true
    }

    /// Both sides are to be left.
    fn is_over(&mut self) -> bool {
        false
    }
}

/// Bytes that mean nothing here.
impl Watch for () {}

/// WebSocket frames to the client, if there are any.
impl Watch for Option<Frames> {
    fn down(&mut self, bytes: &[u8]) {
        if let Some(frames) = self {
            frames.advance(bytes);
        }
    }

    fn is_between(&self) -> bool {
        self.is_none_or(|frames| frames.is_between_frames())
    }
}

/// What went through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) to_upstream: u64,
    pub(crate) to_client: u64,
    pub(crate) ended: Ended,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    bytes: u64,
    /// The source has ended; the sink is still to be told.
    ending: bool,
    done: bool,
}

impl Half {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        buffer: &mut Buffer,
        to: &mut Stream,
        mut written_to: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        loop {
            while !buffer.is_empty() {
                let written = ready!(to.poll_write(cx, buffer.data()))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                written_to(buffer.data().get(..written).unwrap_or_default());
                buffer.consume(written);
                self.bytes += written as u64;
            }
            if self.ending && !self.done {
                ready!(to.poll_shutdown(cx))?;
                self.done = true;
            }
            if self.done {
                return Poll::Ready(Ok(()));
            }
            buffer.compact(0);
            buffer.clear();
            match buffer.poll_fill(cx, from) {
                Poll::Ready(read) => self.ending = read? == 0,
                Poll::Pending => {
                    ready!(to.poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Carries bytes until both halves have ended, one has failed, nothing moved for `idle`, the gateway closes its tunnels, or
/// `watch` says so.
pub(crate) async fn run(
    worker: &Worker,
    slot: &Slot,
    client: &mut Stream,
    upstream: &mut Stream,
    (to_upstream, to_client): (&mut Buffer, &mut Buffer),
    idle: Duration,
    watch: &mut impl Watch,
) -> Moved {
    let (mut up, mut down) = (Half::default(), Half::default());
    let mut moved = 0;
    let deadline = || if worker.closes_tunnels() { worker.clock.now() } else { worker.clock.now().after(idle) };
    slot.set(deadline());
    slot.tunnel.set(true);
    let ended = poll_fn(|cx| {
        if watch.is_over() {
            return Poll::Ready(Ended::Over);
        }
        let halves = [
            up.poll(cx, client, to_upstream, upstream, |bytes| watch.up(bytes)),
            down.poll(cx, upstream, to_client, client, |bytes| watch.down(bytes)),
        ];
        if halves.iter().any(|half| matches!(half, Poll::Ready(Err(_)))) {
            return Poll::Ready(Ended::Closed);
        }
        if up.done && down.done {
            return Poll::Ready(Ended::Closed);
        }
        if worker.closes_tunnels() && to_client.is_empty() && watch.is_between() {
            return Poll::Ready(Ended::Draining);
        }
        if moved != up.bytes + down.bytes {
            moved = up.bytes + down.bytes;
            slot.set(deadline());
        } else if slot.has_expired() {
            return Poll::Ready(if worker.closes_tunnels() { Ended::Draining } else { Ended::Idle });
        }
        slot.register(cx);
        Poll::Pending
    })
    .await;
    if ended == Ended::Closed && !(up.done && down.done) {
        // One side broke off: the other must not take what it has for everything.
        client.reset_on_close();
        upstream.reset_on_close();
    }
    Moved { to_upstream: up.bytes, to_client: down.bytes, ended }
}
