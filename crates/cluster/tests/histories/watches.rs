//! Watches of everything: each revision once, in order, also when the node dies that is watched on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mainstay_cluster::coordinator::{Batch, Change, Error, Range, Revision};
use tokio::time::{Instant, sleep};

use crate::checker::Value;
use crate::clients::Around;
use crate::record::Record;
use crate::site::{NODES, SOON};

/// What one watcher was told.
#[derive(Default)]
pub(crate) struct Told {
    batches: Vec<Batch>,
    /// The revisions that it was told to be forgotten: up to which it has read the store anew.
    skipped: Vec<(Revision, Revision)>,
}

/// What all of them were told.
pub(crate) type AllTold = Rc<Vec<RefCell<Told>>>;

/// Watches from a revision on until `enough` says which revision is the last and that has been told.
pub(crate) async fn follow(
    around: Around,
    number: usize,
    told: AllTold,
    from: Revision,
    enough: Rc<RefCell<Option<Revision>>>,
) -> Result<(), String> {
    let (mut node, mut next, mut end) = (number % NODES, from, None);
    loop {
        let Some((store, mut deaths)) = around.site.client(node) else {
            node = (node + 1) % NODES;
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let store = around.variant.of(store);
        let mut watch = match store.watch(Range::prefix(""), next).await {
            Ok(watch) => watch,
            Err(error) => return Err(format!("no watch: {error}")),
        };
        loop {
            if enough.borrow().is_some_and(|last| next > last) {
                return Ok(());
            }
            if enough.borrow().is_some() && Instant::now() > *end.get_or_insert_with(|| Instant::now() + SOON) {
                return Err(format!("the watch on node {node} never tells revision {next}"));
            }
            tokio::select! {
                answer = watch.next() => match answer {
                    Ok(batch) => {
                        next = batch.revision + 1;
                        told[number].borrow_mut().batches.push(batch);
                    }
                    Err(Error::Compacted { oldest, .. }) => {
                        // A new reading at the oldest revision that is known stands for what is forgotten.
                        told[number].borrow_mut().skipped.push((next, oldest));
                        next = oldest;
                        break;
                    }
                    Err(Error::Unavailable(_)) => break,
                    Err(error) => return Err(format!("the watch on node {node} ends: {error}")),
                },
                _death = deaths.changed() => break,
                () = sleep(Duration::from_millis(100)) => {}
            }
        }
        node = (node + 1) % NODES;
    }
}

/// Checks what was told from a revision on against what was answered. Answers how many batches there were.
///
/// # Errors
/// What is missing, or was told wrongly.
pub(crate) fn check(all: &[RefCell<Told>], from: Revision, record: &Record) -> Result<u64, String> {
    let mut one: BTreeMap<Revision, Batch> = BTreeMap::new();
    let mut count = 0;
    for (number, told) in all.iter().enumerate() {
        let told = told.borrow();
        let mut next = from;
        for batch in &told.batches {
            let skipped = told.skipped.iter().find(|(from, _to)| *from == next).map_or(next, |(_from, to)| *to);
            if batch.revision != next && batch.revision != skipped {
                return Err(format!("watch {number} tells revision {} where {next} should come", batch.revision));
            }
            next = batch.revision + 1;
            let known = one.entry(batch.revision).or_insert_with(|| batch.clone());
            if known != batch {
                return Err(format!("watches tell different things: {known:?} and {batch:?}"));
            }
            count += 1;
        }
    }
    let undone = record.undone();
    for batch in one.values() {
        for change in &batch.changes {
            if let Change::Put(entry) = change
                && undone.contains(String::from_utf8_lossy(&entry.value).as_ref())
            {
                return Err(format!("a change that was called undone is watched: {entry:?}"));
            }
        }
    }
    for (revision, (key, value)) in record.acknowledged() {
        let Some(batch) = one.get(&revision) else { continue };
        let found = batch.changes.iter().any(|change| match change {
            Change::Put(entry) => entry.key == key && text(&entry.value) == value,
            Change::Delete { .. } => false,
        });
        if !found {
            return Err(format!(
                "{key} = {value:?} was acknowledged as revision {revision}; the watch tells {batch:?}"
            ));
        }
    }
    Ok(count)
}

fn text(value: &[u8]) -> Value {
    Some(String::from_utf8_lossy(value).into_owned())
}
