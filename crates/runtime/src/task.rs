//! Tasks on the thread's runtime. Each says by its kind who owns it and how it stops.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Accepts connections on one listener.
    Listener,
    /// Serves one connection from a client.
    Connection,
    /// Speaks on one connection to an endpoint.
    Upstream,
    /// Sends the copy of a request to a mirror.
    Mirror,
    /// Asks an origin whether what the cache serves is still good.
    Refresh,
    /// Moves the bytes of an upgraded or TCP connection.
    Tunnel,
    /// Runs one health probe.
    Probe,
    /// Keeps something up to date: health, names, files, pools.
    Control,
    /// Serves the admin listener.
    Admin,
    /// Writes logs.
    Log,
    /// Works for `mainstay demo`.
    Demo,
}

/// How a task comes to its end when the process leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Its owner aborts it: nothing is lost by that.
    Abort,
    /// It is asked to stop, finishes what it is at, and is aborted at the deadline.
    Drain,
    /// It runs until its input is closed, so that what was given to it is not lost.
    Flush,
}

impl Kind {
    /// How tasks of this kind stop.
    pub const fn stop(self) -> Stop {
        match self {
            Self::Connection | Self::Tunnel | Self::Upstream | Self::Admin => Stop::Drain,
            Self::Log => Stop::Flush,
            Self::Listener | Self::Probe | Self::Control | Self::Mirror | Self::Refresh | Self::Demo => Stop::Abort,
        }
    }
}

/// Starts a task on this thread.
///
/// # Panics
/// Outside a runtime of [`crate::thread`].
pub fn spawn_local<F>(kind: Kind, future: F) -> Task
where
    F: Future<Output = ()> + 'static,
{
    Task { kind, handle: tokio::task::spawn_local(future) }
}

/// Runs a future as a task of its own and answers what comes of it; `None` if that is a panic, which ends nothing else. Dropping
/// the answer's future aborts the task.
///
/// # Panics
/// Outside a runtime of [`crate::thread`].
pub async fn apart<F>(kind: Kind, future: F) -> Option<F::Output>
where
    F: Future + 'static,
{
    let (give, given) = oneshot::channel();
    let _running = spawn_local(kind, async move {
        // Nobody waits any more only if the task is aborted.
        let _waiting = give.send(future.await);
    })
    .abort_on_drop();
    given.await.ok()
}

/// A running task. It goes on when this is dropped; waiting for it answers how it ended.
#[derive(Debug)]
pub struct Task {
    kind: Kind,
    handle: JoinHandle<()>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Done,
    /// It was aborted.
    Aborted,
    /// By a panic, which is a defect; the panic's message has gone to standard error.
    Panicked,
}

impl Task {
    /// What it does.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Drops the task's future as soon as it is not running.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Ties the task to the life of what is returned.
    pub fn abort_on_drop(self) -> AbortOnDrop {
        AbortOnDrop(self.handle.abort_handle())
    }
}

impl Future for Task {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        Pin::new(&mut self.handle).poll(context).map(|result| match result {
            Ok(()) => Ended::Done,
            Err(error) if error.is_panic() => Ended::Panicked,
            Err(_cancelled) => Ended::Aborted,
        })
    }
}

/// Aborts its task when dropped.
#[derive(Debug)]
#[must_use = "the task is aborted when this is dropped"]
pub struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::thread::run_here;

    struct Tells(Rc<Cell<bool>>);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    fn endless(dropped: &Rc<Cell<bool>>) -> Task {
        let tells = Tells(Rc::clone(dropped));
        spawn_local(Kind::Control, async move {
            let _held = tells;
            std::future::pending::<()>().await;
        })
    }

    #[test]
    fn a_dropped_task_goes_on_and_a_tied_one_ends() {
        run_here(async {
            let (left, tied) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
            drop(endless(&left));
            drop(endless(&tied).abort_on_drop());
            for _turn in 0..10 {
                tokio::task::yield_now().await;
            }
            assert!(!left.get());
            assert!(tied.get());
        })
        .unwrap();
    }

    #[test]
    fn a_panic_apart_is_an_answer() {
        run_here(async {
            assert_eq!(apart(Kind::Probe, async { 7 }).await, Some(7));
            assert_eq!(apart(Kind::Probe, async { panic!("meant for the test") }).await, None::<()>);
        })
        .unwrap();
    }

    #[test]
    fn it_answers_how_it_ended() {
        run_here(async {
            assert_eq!(spawn_local(Kind::Probe, async {}).await, Ended::Done);
            let aborted = endless(&Rc::default());
            aborted.abort();
            assert_eq!(aborted.await, Ended::Aborted);
            assert_eq!(spawn_local(Kind::Probe, async { panic!("meant for the test") }).await, Ended::Panicked);
        })
        .unwrap();
    }
}
