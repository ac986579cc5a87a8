//! Hashes of passwords are made on threads of their own, few at once: each takes some ten milliseconds and 19 MiB by design,
//! and the thread of the admin interface answers everybody.

use mainstay_runtime::thread;
use tokio::sync::{Semaphore, oneshot};

/// Hashes at once.
const AT_ONCE: usize = 2;
/// Those that wait for their turn; further ones are told to come again.
const WAITING_MAX: usize = 32;

/// Why a password was not looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotHashed {
    /// Too many are waiting.
    #[error("too many passwords are being checked: try again in a few seconds")]
    Busy,
    /// The system gives no thread.
    #[error("passwords cannot be checked: {0}")]
    Thread(String),
}

/// Does `work`, which hashes a password.
///
/// # Errors
/// If there is no room for it.
pub(super) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, NotHashed> {
    static ROOM: Semaphore = Semaphore::const_new(AT_ONCE + WAITING_MAX);
    static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);
    let _room = ROOM.try_acquire().map_err(|_full| NotHashed::Busy)?;
    // It is never closed.
    let turn = TURNS.acquire().await.map_err(|closed| NotHashed::Thread(closed.to_string()))?;
    let (tell, told) = oneshot::channel();
    let work = move || {
        // Held until the hash is made, also if whoever asked has gone.
        let _turn = turn;
        let _asker_is_gone = tell.send(work());
    };
    thread::spawn_blocking_thread("password", work).map_err(|why| NotHashed::Thread(why.to_string()))?;
    told.await.map_err(|_panicked| NotHashed::Thread("the thread has ended early".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn few_at_once_and_a_bounded_number_waits() {
        let now = Arc::new(AtomicUsize::new(0));
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let most = Arc::new(AtomicUsize::new(0));
        let run = async {
            let mut under_way: Vec<std::pin::Pin<Box<dyn Future<Output = _>>>> = Vec::new();
            for _each in 0..AT_ONCE + WAITING_MAX + 3 {
                let (now, most, gate) = (now.clone(), most.clone(), gate.clone());
                under_way.push(Box::pin(elsewhere(move || {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let _released = gate.lock().map(|gate| gate.recv());
                    now.fetch_sub(1, Ordering::SeqCst);
                })));
            }
            // All are begun before the first is let go on, so that those beyond the room are refused at once.
            let mut refused = 0;
            let mut left = Vec::new();
            for mut each in under_way {
                match std::future::poll_fn(|context| std::task::Poll::Ready(each.as_mut().poll(context))).await {
                    std::task::Poll::Ready(done) => {
                        assert_eq!(done, Err(NotHashed::Busy));
                        refused += 1;
                    }
                    std::task::Poll::Pending => left.push(each),
                }
            }
            assert_eq!(refused, 3);
            drop(release);
            for each in left {
                each.await.expect("done");
            }
        };
        thread::run_here(run).expect("a runtime");
        assert!(most.load(Ordering::SeqCst) <= AT_ONCE);
    }
}
