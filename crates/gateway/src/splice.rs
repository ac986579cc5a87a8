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
}

/// What went through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) to_upstream: u64,
    pub(crate) to_client: u64,
    pub(crate) ended: Ended,
    /// The client has got whole WebSocket frames only, if that was followed.
    pub(crate) between_frames: bool,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    bytes: u64,
    /// The source has ended; the sink is still to be told.
    ending: bool,
    done: bool,
    /// Follows what was written.
    frames: Option<Frames>,
}

impl Half {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        buffer: &mut Buffer,
        to: &mut Stream,
    ) -> Poll<io::Result<()>> {
        loop {
            while !buffer.is_empty() {
                let written = ready!(to.poll_write(cx, buffer.data()))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                if let Some(frames) = &mut self.frames {
                    frames.advance(buffer.data().get(..written).unwrap_or_default());
                }
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

impl Half {
    /// Nothing is on its way, and no frame is half-way through.
    fn is_quiet(&self, buffer: &Buffer) -> bool {
        buffer.is_empty() && self.frames.is_none_or(|frames| frames.is_between_frames())
    }
}

/// Carries bytes until both halves have ended, one has failed, nothing moved for `idle`, or the gateway closes its tunnels.
/// With `frames` what goes to the client is followed as WebSocket frames.
pub(crate) async fn run(
    worker: &Worker,
    slot: &Slot,
    client: &mut Stream,
    upstream: &mut Stream,
    (to_upstream, to_client): (&mut Buffer, &mut Buffer),
    idle: Duration,
    frames: Option<Frames>,
) -> Moved {
    let (mut up, mut down) = (Half::default(), Half { frames, ..Half::default() });
    let mut moved = 0;
    let deadline = || if worker.closes_tunnels() { worker.clock.now() } else { worker.clock.now().after(idle) };
    slot.set(deadline());
    slot.tunnel.set(true);
    let ended = poll_fn(|cx| {
        let halves = [up.poll(cx, client, to_upstream, upstream), down.poll(cx, upstream, to_client, client)];
        if halves.iter().any(|half| matches!(half, Poll::Ready(Err(_)))) {
            return Poll::Ready(Ended::Closed);
        }
        if up.done && down.done {
            return Poll::Ready(Ended::Closed);
        }
        if worker.closes_tunnels() && down.is_quiet(to_client) {
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
    let between_frames = down.frames.is_some_and(|frames| frames.is_between_frames()) && to_client.is_empty();
    Moved { to_upstream: up.bytes, to_client: down.bytes, ended, between_frames }
}
