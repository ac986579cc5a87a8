//! One stream of a connection (RFC 9113, section 5.1).

use std::collections::VecDeque;

use crate::fields::Fields;
use crate::flow::{ReceiveWindow, SendWindow};
use crate::frame::Code;

/// Who waits for a stream is told through this.
pub trait Notify: Default {
    /// A head, a piece of the body, its end, or a reset has come.
    fn readable(&mut self);
    /// There may be room to send.
    fn writable(&mut self);
}

/// Why a stream has ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer reset it.
    ByPeer(Code),
    /// We reset it: the caller asked for that, or the peer broke the protocol.
    ByUs(Code),
    /// The peer has not processed it and never will: it may be sent again elsewhere.
    Refused,
    /// The connection is gone.
    Lost,
}

/// What reading a body gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet.
    Pending,
    /// The body has ended.
    End,
    /// The stream has.
    Closed(Closed),
}

/// What sending gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// So many bytes were taken.
    Bytes(usize),
    /// No room; `writable` will be called.
    Pending,
    /// The stream has ended.
    Closed(Closed),
}

/// Heads in the order in which they came. Nearly always there is one at most, which takes no allocation.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    first: Option<Box<Fields>>,
    more: VecDeque<Box<Fields>>,
}

impl Heads {
    pub(crate) fn push(&mut self, head: Box<Fields>) {
        if self.first.is_none() && self.more.is_empty() {
            self.first = Some(head);
        } else {
            self.more.push_back(head);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Box<Fields>> {
        self.first.take().or_else(|| self.more.pop_front())
    }
}

#[derive(Debug)]
pub(crate) struct Stream<T> {
    pub(crate) user: T,
    pub(crate) send_window: SendWindow,
    pub(crate) receive_window: ReceiveWindow,
    /// We have sent END_STREAM.
    pub(crate) send_ended: bool,
    /// The peer has.
    pub(crate) receive_ended: bool,
    pub(crate) closed: Option<Closed>,
    /// Heads that were not taken yet: a request, or interim responses and the final one.
    pub(crate) heads: Heads,
    /// The final head has come.
    pub(crate) has_head: bool,
    /// Interim heads that have come.
    pub(crate) interims: u32,
    pub(crate) body: Vec<u8>,
    /// How much of `body` was read.
    pub(crate) read: usize,
    /// Trailers as lines of HTTP/1.1.
    pub(crate) trailers: Vec<u8>,
    /// What `content-length` still promises.
    pub(crate) expected: Option<u64>,
    /// A response to HEAD, or 204 or 304: `content-length` says nothing about its body, which must be empty.
    pub(crate) is_bodyless: bool,
    /// It waits in the connection's queue for room.
    pub(crate) is_queued: bool,
}

impl<T: Notify> Stream<T> {
    pub(crate) fn new(send_window: u32, receive_window: u32) -> Self {
        Self {
            user: T::default(),
            send_window: SendWindow::new(send_window),
            receive_window: ReceiveWindow::new(receive_window),
            send_ended: false,
            receive_ended: false,
            closed: None,
            heads: Heads::default(),
            has_head: false,
            interims: 0,
            body: Vec::new(),
            read: 0,
            trailers: Vec::new(),
            expected: None,
            is_bodyless: false,
            is_queued: false,
        }
    }

    /// Both sides have said everything, or one has broken off.
    pub(crate) const fn is_over(&self) -> bool {
        self.closed.is_some() || (self.send_ended && self.receive_ended)
    }

    /// Ends it before its time. What was received and not read is let go.
    pub(crate) fn close(&mut self, closed: Closed) {
        if self.closed.is_none() {
            self.closed = Some(closed);
            self.user.readable();
            self.user.writable();
        }
    }

    /// Takes in a piece of the body. `Err` if it breaks what `content-length` promised.
    pub(crate) fn receive(&mut self, data: &[u8], ends: bool) -> Result<(), &'static str> {
        if self.is_bodyless && !data.is_empty() {
            return Err("a body where there is none");
        }
        if let Some(expected) = &mut self.expected {
            *expected = expected.checked_sub(data.len() as u64).ok_or("more DATA than content-length says")?;
        }
        if self.read == self.body.len() {
            self.body.clear();
            self.read = 0;
        }
        self.body.extend_from_slice(data);
        if ends {
            self.end()?;
        }
        self.user.readable();
        Ok(())
    }

    /// The peer says that nothing more comes.
    pub(crate) fn end(&mut self) -> Result<(), &'static str> {
        self.receive_ended = true;
        self.user.readable();
        match self.expected {
            Some(1..) if !self.is_bodyless => Err("less DATA than content-length says"),
            _complete => Ok(()),
        }
    }
}
