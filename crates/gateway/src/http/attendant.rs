//! Who serves: a future that takes one visit after another and never ends. What serving takes is large; this way its memory
//! is used again, and never moved from one place to another.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Where a visitor and the attendant hand each other what there is to do and what is left of it.
struct Desk<V, L> {
    visit: Cell<Option<V>>,
    left: Cell<Option<L>>,
}

/// Serves one visit after another.
pub(crate) struct Attendant<V, L> {
    desk: Rc<Desk<V, L>>,
    work: Pin<Box<dyn Future<Output = ()>>>,
}

impl<V: 'static, L: 'static> Attendant<V, L> {
    /// One who does what `serve` says.
    pub(crate) fn new<F: Future<Output = L> + 'static>(serve: impl Fn(V) -> F + 'static) -> Self {
        let desk = Rc::new(Desk { visit: Cell::new(None), left: Cell::new(None) });
        Self { work: Box::pin(attend(Rc::clone(&desk), serve)), desk }
    }

    /// Takes a visit, which [`Self::poll`] serves.
    pub(crate) fn take(&self, visit: V) {
        self.desk.visit.set(Some(visit));
    }

    /// Goes on with the visit. Ready when it is over, with what it leaves.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<L> {
        let _never_ends = self.work.as_mut().poll(cx);
        self.desk.left.take().map_or(Poll::Pending, Poll::Ready)
    }
}

async fn attend<V, L, F: Future<Output = L>>(desk: Rc<Desk<V, L>>, serve: impl Fn(V) -> F) {
    loop {
        let visit = poll_fn(|_cx| desk.visit.take().map_or(Poll::Pending, Poll::Ready)).await;
        let left = serve(visit).await;
        desk.left.set(Some(left));
    }
}
