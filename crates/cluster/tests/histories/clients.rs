//! Clients that read, write and compare a few keys, and write down what they were told.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::coordinator::{
    Compare, Consistency, Coordinator, Error, Operation, Outcome, Range, Transaction, TransactionReply,
};
use mainstay_core::random::Rng;
use tokio::time::{sleep, timeout};

use crate::checker::{Value, What};
use crate::record::{End, Record, Request};
use crate::run::Variant;
use crate::site::{NODES, SOON, Site};

/// Keys that are written and compared.
const REGISTERS: usize = 3;
/// A key to whose value all append.
const LIST: &str = "list";
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a client has of a run.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) site: Rc<dyn Site>,
    pub(crate) record: Rc<Record>,
    pub(crate) over: Rc<Cell<bool>>,
    pub(crate) variant: Variant,
}

impl Around {
    /// Asks a node; `None` if there is no answer, because the node has died say.
    pub(crate) async fn ask<T, F: Future<Output = T>>(
        &self,
        node: usize,
        what: impl FnOnce(Arc<dyn Coordinator>) -> F,
    ) -> Result<T, Lost> {
        let (store, mut deaths) = self.site.client(node).ok_or(Lost::NotSent)?;
        tokio::select! {
            answer = timeout(PATIENCE, what(self.variant.of(store))) => answer.map_err(|_elapsed| Lost::Sent),
            _death = deaths.changed() => Err(Lost::Sent),
        }
    }
}

/// Why there is no answer.
pub(crate) enum Lost {
    NotSent,
    Sent,
}

/// Works until the run is over.
pub(crate) async fn work(around: Around, number: u64, mut rng: Rng) {
    let mut node = rng.below(NODES);
    // What it saw last of each key, which the next comparison starts from.
    let mut seen: Vec<Value> = vec![None; REGISTERS + 1];
    let mut count = 0;
    while !around.over.get() {
        count += 1;
        let index = rng.below(REGISTERS + 1);
        let key = if index == REGISTERS { LIST.to_owned() } else { format!("register/{index}") };
        let fresh = format!("{number}.{count}");
        let draw = rng.below(10);
        let answered = if draw < 4 {
            read(&around, node, &key).await
        } else if index == REGISTERS {
            let to = seen[index].as_ref().map_or_else(|| fresh.clone(), |list| format!("{list} {fresh}"));
            swap(&around, node, &key, seen[index].clone(), to).await
        } else if draw < 7 {
            write(&around, node, &key, fresh).await
        } else {
            swap(&around, node, &key, seen[index].clone(), fresh).await
        };
        match answered {
            Some(value) => seen[index] = value,
            None => node = rng.below(NODES),
        }
        sleep(Duration::from_micros(rng.below(8000) as u64)).await;
    }
}

/// Reads a key and writes down what it was; answers it.
pub(crate) async fn read(around: &Around, node: usize, key: &str) -> Option<Value> {
    let begun = around.record.tick();
    let range = Range::key(key);
    let answer = around
        .ask(node, |store| async move { store.range(range, None, 1, Consistency::Linearizable).await })
        .await
        .ok()?;
    let listing = answer.ok()?;
    let value = listing.entries.first().map(|entry| text(&entry.value));
    let end = End::Done { at: around.record.tick(), revision: listing.revision, what: What::Read(value.clone()) };
    around.record.push(Request { key: key.to_owned(), begun, wish: None, end });
    Some(value)
}

async fn write(around: &Around, node: usize, key: &str, to: String) -> Option<Value> {
    let transaction = Transaction::always([Operation::put(key, to.clone(), None)]);
    let wish = What::Write(Some(to));
    transact(around, node, key, transaction, wish.clone(), |_reply| Some(wish)).await
}

async fn swap(around: &Around, node: usize, key: &str, from: Value, to: String) -> Option<Value> {
    let compare = match &from {
        Some(value) => Compare::value(key, value.clone()),
        None => Compare::absent(key),
    };
    let transaction =
        Transaction::when([compare], [Operation::put(key, to.clone(), None)]).or_else([Operation::get(key)]);
    let wish = What::Swap(from.clone(), Some(to));
    transact(around, node, key, transaction, wish.clone(), |reply| {
        if reply.succeeded {
            return Some(wish);
        }
        let Some(Outcome::Found { entries, .. }) = reply.outcomes.first() else { return None };
        Some(What::Kept(from, entries.first().map(|entry| text(&entry.value))))
    })
    .await
}

async fn transact(
    around: &Around,
    node: usize,
    key: &str,
    transaction: Transaction,
    wish: What,
    done: impl FnOnce(&TransactionReply) -> Option<What>,
) -> Option<Value> {
    let begun = around.record.tick();
    let answer = around.ask(node, |store| async move { store.transact(transaction).await }).await;
    let end = match answer {
        Ok(Ok(reply)) => {
            let what = done(&reply).unwrap_or_else(|| panic!("{reply:?} is no answer to {wish:?}"));
            End::Done { at: around.record.tick(), revision: reply.revision, what }
        }
        Ok(Err(Error::Unavailable(_))) | Err(Lost::NotSent) => End::Undone,
        Ok(Err(Error::Unknown(_))) | Err(Lost::Sent) => End::Unknown,
        Ok(Err(error)) => panic!("{wish:?} of {key}: {error}"),
    };
    let value = match &end {
        End::Done { what: What::Write(value) | What::Swap(_, value) | What::Kept(_, value), .. } => Some(value.clone()),
        End::Done { what: What::Read(_), .. } | End::Undone | End::Unknown => None,
    };
    around.record.push(Request { key: key.to_owned(), begun, wish: Some(wish), end });
    value
}

/// Reads every key on every node, when all is well again.
pub(crate) async fn read_all(around: &Around) -> Result<(), String> {
    let registers = (0..REGISTERS).map(|index| format!("register/{index}"));
    for key in registers.chain([LIST.to_owned()]) {
        for node in 0..NODES {
            let end = tokio::time::Instant::now() + SOON;
            while read(around, node, &key).await.is_none() {
                if tokio::time::Instant::now() > end {
                    return Err(format!("node {node} does not answer after all faults are over"));
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
    Ok(())
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
