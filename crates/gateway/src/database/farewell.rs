//! The last thing that a client is told.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use super::Case;
use crate::stream::{Buffer, Stream};

/// How long a client may take to accept it.
const GOODBYE: Duration = Duration::from_secs(1);
/// So much of what a client still sends is thrown away, so that it is not answered by a reset, which might overtake what it is
/// told.
const DISCARDED_BYTES: usize = 256 * 1024;

/// Tells the client this and closes the connection. One that does not take it in time, or only a part of it, is reset.
pub(super) async fn say(case: &Case<'_>, client: &mut Stream, bytes: &[u8]) {
    case.slot.set(case.now().after(GOODBYE));
    let mut told = 0;
    let all = poll_fn(|cx| {
        while let Some(rest) = bytes.get(told..).filter(|rest| !rest.is_empty()) {
            match ready!(client.poll_write(cx, rest)) {
                Ok(written) if written > 0 => told += written,
                Ok(_nothing) => return Poll::Ready(false),
                Err(_reset) => return Poll::Ready(false),
            }
        }
        Poll::Ready(ready!(client.poll_flush(cx)).is_ok() && ready!(client.poll_shutdown(cx)).is_ok())
    });
    if case.slot.within(all).await != Ok(true) {
        return client.reset_on_close();
    }
    let mut discarded = 0;
    let mut buffer = Buffer::new();
    let rest = poll_fn(|cx| {
        while discarded < DISCARDED_BYTES {
            buffer.clear();
            match ready!(buffer.poll_fill(cx, client)) {
                Ok(read) if read > 0 => discarded += read,
                Ok(_end) => break,
                Err(_reset) => break,
            }
        }
        Poll::Ready(())
    });
    let _left_or_silent = case.slot.within(rest).await;
}
