//! One HTTP/2 connection: the engine, shared by the owners of its streams, and the task that moves its bytes.

use std::cell::{OnceCell, RefCell, RefMut};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use mainstay_core::time::Moment;
use mainstay_http2::{Connection, Event, Notify, Role, Settings};

use crate::stream::{Buffer, Stream};
use crate::worker::Worker;

/// Who waits for a stream.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

impl Notify for Waiters {
    fn readable(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn writable(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

/// Puts the waker of `cx` into `place`, if it is not there already.
pub(crate) fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    if !place.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
        *place = Some(cx.waker().clone());
    }
}

/// A connection as its streams see it.
#[derive(Debug)]
pub(crate) struct Link {
    engine: RefCell<Connection<Waiters>>,
    /// The task that writes what the engine puts out.
    driver: RefCell<Option<Waker>>,
    /// The name that the client asked for in the TLS handshake.
    server_name: OnceCell<Box<str>>,
}

impl Link {
    pub(crate) fn new(role: Role, settings: Settings, now: Moment) -> Rc<Self> {
        let engine = RefCell::new(Connection::new(role, settings, millis(now)));
        Rc::new(Self { engine, driver: RefCell::new(None), server_name: OnceCell::new() })
    }

    /// Keeps the name that the client asked for in the TLS handshake.
    pub(crate) fn keep_server_name(&self, name: Option<&str>) {
        if let Some(name) = name {
            let _known_already = self.server_name.set(name.into());
        }
    }

    /// The name that the client asked for in the TLS handshake.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.get().map(AsRef::as_ref)
    }

    /// The engine. Borrows last for one call.
    pub(crate) fn engine(&self) -> RefMut<'_, Connection<Waiters>> {
        self.engine.borrow_mut()
    }

    /// Has the driver write what there is. It runs after the tasks that are ready now, so that what they put out is written
    /// at once.
    pub(crate) fn wake_driver(&self) {
        if let Some(driver) = self.driver.borrow_mut().take() {
            driver.wake();
        }
    }
}

/// The engine's time.
fn millis(now: Moment) -> u64 {
    now.since(Moment::ZERO).as_millis() as u64
}

/// Reads that follow one another before other tasks get their turn.
const READS: usize = 4;

/// What moves a connection's bytes.
#[derive(Debug)]
pub(crate) struct Pump {
    link: Rc<Link>,
    /// Bytes of a frame that is not complete.
    input: Buffer,
    /// The socket says that nothing more will come.
    ended: bool,
    /// Rises when anything is written.
    pub(crate) written: u64,
    /// Rises when anything is read.
    pub(crate) read: u64,
}

impl Pump {
    /// `input` may hold what was read from the socket already.
    pub(crate) fn new(link: Rc<Link>, input: Buffer) -> Self {
        Self { link, input, ended: false, written: 0, read: 0 }
    }

    /// Reads and writes what can be read and written; `event` is called for what concerns the driver. Ready when the
    /// connection is over.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        stream: &mut Stream,
        mut event: impl FnMut(Event),
    ) -> Poll<()> {
        register(&mut self.link.driver.borrow_mut(), cx);
        let now = millis(worker.now());
        self.feed(now, &mut event);
        for turn in 0.. {
            if self.ended || self.link.engine().error().is_some() || self.link.engine().is_congested() {
                break;
            }
            if turn == READS {
                cx.waker().wake_by_ref();
                break;
            }
            match self.input.poll_fill(cx, stream) {
                Poll::Pending => break,
                Poll::Ready(Ok(read)) if read > 0 => {
                    self.read += read as u64;
                    self.feed(now, &mut event);
                }
                Poll::Ready(_closed) => self.ended = true,
            }
        }
        let wrote = self.poll_write(cx, stream);
        if self.ended {
            self.link.engine().lose();
            return Poll::Ready(());
        }
        match wrote {
            Poll::Ready(Err(_gone)) => {
                self.link.engine().lose();
                Poll::Ready(())
            }
            // What says why the connection ends has been written.
            Poll::Ready(Ok(())) if self.link.engine().error().is_some() => Poll::Ready(()),
            _open => Poll::Pending,
        }
    }

    /// Hands the engine the frames that are complete.
    fn feed(&mut self, now: u64, event: &mut impl FnMut(Event)) {
        loop {
            let received = self.link.engine().receive(now, self.input.data());
            match received {
                Ok(Some((length, meant))) => {
                    self.input.consume(length);
                    event(meant);
                }
                Ok(None) => break,
                Err(_ended) => {
                    self.input.clear();
                    break;
                }
            }
        }
        if self.input.is_empty() {
            self.input.clear();
        } else {
            self.input.compact(0);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<std::io::Result<()>> {
        loop {
            let mut engine = self.link.engine();
            if engine.output().is_empty() {
                drop(engine);
                return stream.poll_flush(cx);
            }
            let written = std::task::ready!(stream.poll_write(cx, engine.output()))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.written += written as u64;
            engine.advance(written);
        }
    }
}
