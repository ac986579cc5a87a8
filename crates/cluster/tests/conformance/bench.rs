//! What a case gets to work with.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use mainstay_cluster::coordinator::{
    Batch, Consistency, Coordinator, Entry, Error, Listing, Operation, Range, Revision, Transaction, TransactionReply,
    Watch,
};

/// How long anything may take that must happen at all. Generous, since the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

static FILLER: [u8; 64 << 10] = [0; 64 << 10];

pub(crate) type Later<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
/// Forgets what happened before a revision.
pub(crate) type Compact = Box<dyn Fn(Revision) -> Pin<Box<dyn Future<Output = ()>>>>;
pub(crate) type Case = for<'a> fn(&'a Bench) -> Later<'a>;

/// An engine on the bench.
pub(crate) struct Bench {
    /// The engine.
    pub(crate) store: Arc<dyn Coordinator>,
    /// The same store by another way: another node, or another client.
    pub(crate) other: Arc<dyn Coordinator>,
    /// Forgets what happened before a revision.
    pub(crate) compact: Compact,
    /// A short time to live that the engine grants as it is.
    pub(crate) ttl: Duration,
}

impl Bench {
    pub(crate) async fn put(&self, key: &str, value: &str) -> Revision {
        self.store.put(key, Bytes::copy_from_slice(value.as_bytes()), None).await.unwrap()
    }

    pub(crate) async fn delete(&self, key: &str) -> Revision {
        self.transact(Transaction::always([Operation::delete(key)])).await.revision
    }

    pub(crate) async fn transact(&self, transaction: Transaction) -> TransactionReply {
        self.store.transact(transaction).await.unwrap()
    }

    pub(crate) async fn get(&self, key: &str) -> Option<Entry> {
        self.store.get(key).await.unwrap()
    }

    pub(crate) async fn list(&self, prefix: &str) -> Listing {
        self.try_list(prefix, None).await.unwrap()
    }

    pub(crate) async fn try_list(&self, prefix: &str, at: Option<Revision>) -> Result<Listing, Error> {
        self.store.range(Range::prefix(prefix), at, 0, Consistency::Linearizable).await
    }

    pub(crate) async fn watch(&self, range: Range, from: Revision) -> Box<dyn Watch> {
        self.store.watch(range, from).await.unwrap()
    }
}

/// How an engine forgets that keeps so many revisions, or bytes of them: by writing until the revision is forgotten.
pub(crate) fn forget_by_writing(store: Arc<dyn Coordinator>) -> Compact {
    Box::new(move |revision| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let key = Range::key("filler");
            for _round in 0..100 {
                let known = store.range(key.clone(), Some(revision - 1), 1, Consistency::Linearizable).await;
                if matches!(known, Err(Error::Compacted { .. })) {
                    return;
                }
                let puts = (0..16).map(|_| store.put("filler", Bytes::from_static(&FILLER), None));
                join_all(puts).await.into_iter().for_each(|put| assert!(put.is_ok(), "{put:?}"));
            }
            panic!("revision {revision} is never forgotten");
        })
    })
}

/// The next batch, which must come.
pub(crate) async fn next(watch: &mut Box<dyn Watch>) -> Batch {
    within(watch.next()).await.unwrap()
}

/// What must happen.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it takes too long")
}

/// Values by key, as text.
pub(crate) fn values(listing: &Listing) -> BTreeMap<String, String> {
    let text = |entry: &Entry| (entry.key.clone(), String::from_utf8(entry.value.to_vec()).unwrap());
    listing.entries.iter().map(text).collect()
}

/// Runs cases one after another. Each has its keys below its own name.
pub(crate) async fn run(bench: &Bench, cases: &[(&str, Case)]) {
    for (name, case) in cases {
        println!("case {name}");
        case(bench).await;
    }
}

/// A table of cases, each with its name.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        /// The cases of this file.
        pub(crate) const CASES: &[(&str, crate::bench::Case)] =
            &[$((stringify!($case), |bench| Box::pin($case(bench)))),*];
    };
}
pub(crate) use cases;
