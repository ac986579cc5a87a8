//! Follows what stands in the store of the groups: everything once, then each change in its order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::coordinator::{Batch, Consistency, Coordinator, Error, Listing, Range, Watch};
use mainstay_runtime::task::{AbortOnDrop, Kind, spawn_local};
use tokio::sync::mpsc;

use super::keys::DATABASES;

/// No answer of the store is waited for longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// After the store could not be asked.
const PAUSE: Duration = Duration::from_millis(100);
/// News that wait to be heard, at most; the watch waits for room.
const NEWS_MAX: usize = 64;

/// What came of the store.
#[derive(Debug)]
pub(super) enum News {
    /// Everything that there is. What happened before and was not told of is unknown.
    Whole(Listing),
    /// The next changes.
    Batch(Batch),
}

/// Follows until the task is dropped.
pub(super) fn follow(coordinator: Arc<dyn Coordinator>) -> (mpsc::Receiver<News>, AbortOnDrop) {
    let (tell, news) = mpsc::channel(NEWS_MAX);
    let task = spawn_local(Kind::Control, async move {
        while !tell.is_closed() {
            if let Err(error) = tell_all(&*coordinator, &tell).await {
                tracing::debug!(%error, "databases: what stands in the store cannot be followed, and is read anew");
                tokio::time::sleep(PAUSE).await;
            }
        }
    });
    (news, task.abort_on_drop())
}

async fn tell_all(coordinator: &dyn Coordinator, tell: &mpsc::Sender<News>) -> Result<(), Error> {
    let every = || Range::prefix(DATABASES);
    let listing = within(coordinator.range(every(), None, 0, Consistency::Linearizable)).await?;
    let mut watch: Box<dyn Watch> = within(coordinator.watch(every(), listing.revision + 1)).await?;
    let mut heard = tell.send(News::Whole(listing)).await.is_ok();
    while heard {
        heard = tell.send(News::Batch(watch.next().await?)).await.is_ok();
    }
    Ok(())
}

/// An answer, if it comes in time.
pub(super) async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Unknown(format!("no answer within {ANSWER_WITHIN:?}"));
    tokio::time::timeout(ANSWER_WITHIN, call).await.unwrap_or_else(|_elapsed| Err(late()))
}
