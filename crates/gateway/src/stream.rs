//! A connection to either side, plain or TLS, and the buffer that is borrowed while it is busy.

mod socket;

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mainstay_runtime::socket::{acknowledge_now, send_last};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

pub(crate) use self::socket::Socket;
use crate::http1::body::Framing;
use crate::http2::stream::H2Stream;

/// A connection. TLS state is boxed: it is large, and a plain idle connection should not pay for it.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    TlsServer(Box<tokio_rustls::server::TlsStream<Socket<TcpStream>>>),
    TlsClient(Box<tokio_rustls::client::TlsStream<Socket<TcpStream>>>),
    /// To an endpoint on this machine.
    Unix(UnixStream),
    TlsUnix(Box<tokio_rustls::client::TlsStream<Socket<UnixStream>>>),
    /// One of the streams of an HTTP/2 connection: bodies go through it, heads past it.
    Http2(H2Stream),
    /// No connection: nothing comes from it, and what is written to it is gone.
    Nobody,
}

impl Stream {
    /// The socket, if there is one of its own.
    pub(crate) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Plain(tcp) => Some(tcp.as_fd()),
            Self::TlsServer(tls) => Some(tls.get_ref().0.as_fd()),
            Self::TlsClient(tls) => Some(tls.get_ref().0.as_fd()),
            Self::Unix(unix) => Some(unix.as_fd()),
            Self::TlsUnix(tls) => Some(tls.get_ref().0.as_fd()),
            Self::Http2(_) | Self::Nobody => None,
        }
    }

    /// The stream, if this is one of HTTP/2.
    pub(crate) const fn http2(&self) -> Option<&H2Stream> {
        match self {
            Self::Http2(stream) => Some(stream),
            _connection => None,
        }
    }

    /// How a body that comes through here is framed: on HTTP/2 it ends with its stream, whatever length was announced, which
    /// the engine holds it to.
    pub(crate) const fn body_framing(&self, announced: Framing) -> Framing {
        match (self, announced) {
            (Self::Http2(_), Framing::Length(_) | Framing::UntilClose) => Framing::UntilClose,
            (_, framing) => framing,
        }
    }

    /// The name that a client asked for in the TLS handshake (SNI).
    pub(crate) fn server_name(&self) -> Option<&str> {
        match self {
            Self::TlsServer(tls) => tls.get_ref().1.server_name(),
            Self::Http2(stream) => stream.server_name(),
            Self::Plain(_) | Self::TlsClient(_) | Self::Unix(_) | Self::TlsUnix(_) | Self::Nobody => None,
        }
    }

    /// What both sides agreed to speak during the TLS handshake.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::TlsServer(tls) => tls.get_ref().1.alpn_protocol(),
            Self::TlsClient(tls) => tls.get_ref().1.alpn_protocol(),
            Self::TlsUnix(tls) => tls.get_ref().1.alpn_protocol(),
            Self::Plain(_) | Self::Unix(_) | Self::Http2(_) | Self::Nobody => None,
        }
    }

    /// Reads into `into`; 0 is the end. A short read clears the readiness, so that the next read does not ask the kernel
    /// in vain.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        ready!(match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
            Self::TlsServer(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
            Self::TlsClient(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, &mut buffer),
            Self::TlsUnix(tls) => Pin::new(tls).poll_read(cx, &mut buffer),
            Self::Http2(stream) => return stream.poll_read(cx, into),
            Self::Nobody => return Poll::Ready(Ok(0)),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Whether a read would find something: bytes in the socket, or what TLS has decrypted already. A client's first request
    /// often comes in the same segment as the end of its handshake.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
            Self::TlsServer(tls) if tls.get_ref().1.wants_read() => tls.get_ref().0.poll_read_ready(cx),
            Self::TlsClient(tls) if tls.get_ref().1.wants_read() => tls.get_ref().0.poll_read_ready(cx),
            Self::TlsUnix(tls) if tls.get_ref().1.wants_read() => tls.get_ref().0.poll_read_ready(cx),
            Self::TlsServer(_) | Self::TlsClient(_) | Self::TlsUnix(_) | Self::Http2(_) | Self::Nobody => {
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Whether the runtime knows of something to read, or of the end. Registers nothing and costs next to nothing.
    pub(crate) fn is_readable(&self) -> bool {
        let ready = || Ok(());
        match self {
            Self::Plain(tcp) => tcp.try_io(Interest::READABLE, ready).is_ok(),
            Self::Unix(unix) => unix.try_io(Interest::READABLE, ready).is_ok(),
            Self::TlsServer(tls) => {
                !tls.get_ref().1.wants_read() || tls.get_ref().0.try_io(Interest::READABLE, ready).is_ok()
            }
            Self::TlsClient(tls) => {
                !tls.get_ref().1.wants_read() || tls.get_ref().0.try_io(Interest::READABLE, ready).is_ok()
            }
            Self::TlsUnix(tls) => {
                !tls.get_ref().1.wants_read() || tls.get_ref().0.try_io(Interest::READABLE, ready).is_ok()
            }
            Self::Http2(_) | Self::Nobody => true,
        }
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            // Nearly always there is room: the waker is only registered when there is none.
            Self::Plain(tcp) => match tcp.try_write(from) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pin::new(tcp).poll_write(cx, from),
                written => Poll::Ready(written),
            },
            Self::TlsServer(tls) => Pin::new(tls).poll_write(cx, from),
            Self::TlsClient(tls) => Pin::new(tls).poll_write(cx, from),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, from),
            Self::TlsUnix(tls) => Pin::new(tls).poll_write(cx, from),
            Self::Http2(stream) => stream.poll_write(cx, from),
            Self::Nobody => Poll::Ready(Ok(from.len())),
        }
    }

    /// Writes what is the last on this connection, so that it leaves in one packet with the end, which the caller announces
    /// as soon as everything is written.
    pub(crate) fn poll_write_last(&mut self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if let Self::Plain(tcp) = self {
            match tcp.try_io(Interest::WRITABLE, || send_last(tcp, from)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        self.poll_write(cx, from)
    }

    /// Writes two slices as one.
    pub(crate) fn poll_write_both(&mut self, cx: &mut Context<'_>, a: &[u8], b: &[u8]) -> Poll<io::Result<usize>> {
        if b.is_empty() {
            return self.poll_write(cx, a);
        }
        if a.is_empty() {
            return self.poll_write(cx, b);
        }
        let slices = [IoSlice::new(a), IoSlice::new(b)];
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, &slices),
            Self::TlsServer(tls) => Pin::new(tls).poll_write_vectored(cx, &slices),
            Self::TlsClient(tls) => Pin::new(tls).poll_write_vectored(cx, &slices),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, &slices),
            Self::TlsUnix(tls) => Pin::new(tls).poll_write_vectored(cx, &slices),
            Self::Http2(stream) => stream.poll_write(cx, a),
            Self::Nobody => Poll::Ready(Ok(a.len() + b.len())),
        }
    }

    /// Hands what TLS has buffered to the kernel.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) | Self::Unix(_) | Self::Http2(_) | Self::Nobody => Poll::Ready(Ok(())),
            Self::TlsServer(tls) => Pin::new(tls).poll_flush(cx),
            Self::TlsClient(tls) => Pin::new(tls).poll_flush(cx),
            Self::TlsUnix(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Says that nothing more will be written: close_notify and FIN.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::TlsServer(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::TlsClient(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::TlsUnix(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Http2(stream) => Poll::Ready(stream.finish(b"")),
            Self::Nobody => Poll::Ready(Ok(())),
        }
    }

    /// Ends a message: what TLS has buffered is handed to the kernel; a stream of HTTP/2 is told that nothing more comes,
    /// `trailers` (lines of HTTP/1.1) excepted.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>, trailers: &[u8]) -> Poll<io::Result<()>> {
        match self {
            Self::Http2(stream) => Poll::Ready(stream.finish(trailers)),
            Self::Nobody => Poll::Ready(Ok(())),
            Self::Plain(_) | Self::Unix(_) | Self::TlsServer(_) | Self::TlsClient(_) | Self::TlsUnix(_) => {
                self.poll_flush(cx)
            }
        }
    }

    /// Acknowledges at once what has come so far: more must follow before there is an answer that could carry the
    /// acknowledgement, and some clients wait for it before they send on (Nagle's algorithm, RFC 896).
    pub(crate) fn acknowledge(&self) {
        let _best_effort = self.socket().map(|socket| acknowledge_now(&socket));
    }

    /// Makes the close a reset, so that the other side cannot take a cut-off message for a complete one. A Unix socket knows
    /// no such thing: its peer sees an end, which framing still shows as premature.
    pub(crate) fn reset_on_close(&self) {
        // If the socket refuses, the close is an ordinary one, which framing still shows as premature.
        match (self, self.socket()) {
            (Self::Http2(stream), _) => stream.reset(),
            (_, Some(socket)) => {
                let _set = socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO));
            }
            (_, None) => {}
        }
    }
}

/// Bytes that were read and not yet used. The storage behind them is the thread's: it is borrowed by the first read, and
/// given back as soon as nothing is held in it, so that whoever reads next finds it in the processor's cache.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Empty while nothing is borrowed.
    storage: Box<[u8]>,
    start: usize,
    end: usize,
}

/// Size of a buffer: room for the largest head allowed, and large enough to move bodies at speed. Not a multiple of a page:
/// buffers that lay a whole number of pages apart would all compete for the same few lines of the cache.
pub(crate) const BUFFER_BYTES: usize = 80 * 1024 + 320;
/// Largest head that a listener may allow: it leaves room for its body in the same buffer.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Storages that a thread keeps for the next reads; beyond them memory goes back.
const KEPT_STORAGES: usize = 256;

thread_local! {
    /// The one used last on top.
    static STORAGES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self { storage: Box::default(), start: 0, end: 0 }
    }

    /// What has been read and not consumed.
    pub(crate) fn data(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// Forgets everything and gives the storage back.
    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        if self.storage.is_empty() {
            return;
        }
        let storage = std::mem::take(&mut self.storage);
        // At the end of a thread there may be nothing left to give it back to.
        let _kept = STORAGES.try_with(|storages| {
            let mut storages = storages.borrow_mut();
            if storages.len() < KEPT_STORAGES {
                storages.push(storage);
            }
        });
    }

    fn borrow(&mut self) {
        if self.storage.is_empty() {
            let kept = STORAGES.try_with(|storages| storages.borrow_mut().pop());
            self.storage = kept.ok().flatten().unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        }
    }

    /// Everything from the front, consumed or not. What a head's spans lie in, as long as nothing was moved.
    pub(crate) fn all(&self) -> &[u8] {
        &self.storage[..self.end]
    }

    pub(crate) const fn start(&self) -> usize {
        self.start
    }

    /// Takes back what was consumed since `start` was asked for. Only valid if nothing was moved in between.
    pub(crate) fn rewind(&mut self, start: usize) {
        self.start = start.min(self.end);
    }

    /// Puts `bytes` behind the data. `false`, and nothing done, if they do not fit.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        self.borrow();
        let Some(room) = self.storage.get_mut(self.end..self.end + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }

    pub(crate) const fn has_room(&self) -> bool {
        self.end < BUFFER_BYTES
    }

    /// Moves what is not consumed to `to`, keeping the bytes before it.
    pub(crate) fn compact(&mut self, to: usize) {
        if self.start > to {
            self.storage.copy_within(self.start..self.end, to);
            self.end = to + (self.end - self.start);
            self.start = to;
        }
    }

    /// Makes room after `to` if that costs nothing (nothing is left to move) or is needed (the end is reached).
    pub(crate) fn compact_if_useful(&mut self, to: usize) {
        if self.is_empty() || !self.has_room() {
            self.compact(to);
        }
    }

    /// Reads what fits behind the data; `Ok(0)` is the end of the stream (or a full buffer, which callers rule out).
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut Stream) -> Poll<io::Result<usize>> {
        self.borrow();
        match from.poll_read(cx, &mut self.storage[self.end..]) {
            Poll::Ready(Ok(read)) => {
                self.end += read;
                Poll::Ready(Ok(read))
            }
            other => {
                if self.end == 0 {
                    self.clear();
                }
                other
            }
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.clear();
    }
}
