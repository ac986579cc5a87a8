//! Bytes both ways between two connections: tunnels and TCP listeners. A side that ends its half has that passed on and may
//! go on reading (half-close, RFC 9293, section 3.6).

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mainstay_core::time::Moment;

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
    ) -> Poll<io::Result<()>> {
        loop {
            while !buffer.is_empty() {
                let written = ready!(to.poll_write(cx, buffer.data()))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                buffer.consume(written);
                self.bytes += written as u64;
            }
            if self.ending {
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

/// Carries bytes until both halves have ended, one has failed, nothing moved for `idle`, or `deadline` came.
pub(crate) async fn run(
    worker: &Worker,
    slot: &Slot,
    client: &mut Stream,
    upstream: &mut Stream,
    (to_upstream, to_client): (&mut Buffer, &mut Buffer),
    idle: Duration,
    deadline: Moment,
) -> Moved {
    let (mut up, mut down) = (Half::default(), Half::default());
    let mut moved = 0;
    slot.set(worker.clock.now().after(idle).min(deadline));
    let ended = poll_fn(|cx| {
        let halves = [up.poll(cx, client, to_upstream, upstream), down.poll(cx, upstream, to_client, client)];
        if halves.iter().any(|half| matches!(half, Poll::Ready(Err(_)))) {
            return Poll::Ready(Ended::Closed);
        }
        if up.done && down.done {
            return Poll::Ready(Ended::Closed);
        }
        if moved != up.bytes + down.bytes {
            moved = up.bytes + down.bytes;
            slot.set(worker.clock.now().after(idle).min(deadline));
        } else if slot.has_expired() {
            return Poll::Ready(if worker.is_draining() { Ended::Draining } else { Ended::Idle });
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
