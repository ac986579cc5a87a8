//! What clients write down, and what must be true of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use mainstay_cluster::coordinator::Revision;

use crate::checker::{Operation, Value, What, check};

/// What came of a request.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It was answered.
    Done { at: u64, revision: Revision, what: What },
    /// It was said that it has not been done and will not be.
    Undone,
    /// Nobody knows.
    Unknown,
}

/// A request. Each value is written by one request only, so that who reads it knows whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) key: String,
    pub(crate) begun: u64,
    /// What it would be if it were done; of a read nothing is known before.
    pub(crate) wish: Option<What>,
    pub(crate) end: End,
}

/// Everything that was asked and answered in one run, in one order.
#[derive(Debug, Default)]
pub(crate) struct Record {
    clock: Cell<u64>,
    pub(crate) requests: RefCell<Vec<Request>>,
}

impl Record {
    /// The next moment. All of a run happens on one thread, so that counting is exact.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    pub(crate) fn push(&self, request: Request) {
        self.requests.borrow_mut().push(request);
    }

    /// Changes that were acknowledged: by revision, the key and its value.
    pub(crate) fn acknowledged(&self) -> BTreeMap<Revision, (String, Value)> {
        let change = |request: &Request| match &request.end {
            End::Done { revision, what: What::Write(to) | What::Swap(_, to), .. } => {
                Some((*revision, (request.key.clone(), to.clone())))
            }
            End::Done { .. } | End::Undone | End::Unknown => None,
        };
        self.requests.borrow().iter().filter_map(change).collect()
    }

    /// Values that were said not to have been written.
    pub(crate) fn undone(&self) -> BTreeSet<String> {
        let requests = self.requests.borrow();
        let undone = requests.iter().filter(|request| matches!(request.end, End::Undone));
        undone.filter_map(|request| written(request.wish.as_ref()?).clone()).collect()
    }

    /// Checks all keys.
    ///
    /// # Errors
    /// What no store could have answered.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_revisions()?;
        let requests = self.requests.borrow();
        let keys: BTreeSet<_> = requests.iter().map(|request| request.key.as_str()).collect();
        for key in keys {
            let of_key: Vec<_> = requests.iter().filter(|request| request.key == key).collect();
            let operations = settle(&of_key).map_err(|violation| format!("{key}: {violation}"))?;
            check(&operations).map_err(|violation| format!("{key}: {violation}"))?;
        }
        Ok(())
    }

    /// Whatever is asked after an answer sees that answer's revision, or a later one, whichever the keys.
    fn check_revisions(&self) -> Result<(), String> {
        let requests = self.requests.borrow();
        let mut events = Vec::new();
        for request in requests.iter() {
            if let End::Done { at, revision, what } = &request.end {
                events.extend([(request.begun, false, *revision, what), (*at, true, *revision, what)]);
            }
        }
        events.sort_unstable_by_key(|event| event.0);
        let (mut newest, mut bounds) = (0, BTreeMap::new());
        for (at, ends, revision, what) in events {
            // A request's two events have the same reference.
            let name = std::ptr::from_ref(what);
            if !ends {
                bounds.insert(name, newest);
                continue;
            }
            let bound = bounds.get(&name).copied().unwrap_or(0);
            let changes = matches!(what, What::Write(_) | What::Swap(..));
            if revision < bound || (changes && revision == bound) {
                return Err(format!("at {at}, {what:?} has revision {revision} after {bound} had been answered"));
            }
            newest = newest.max(revision);
        }
        Ok(())
    }
}

fn written(what: &What) -> &Value {
    match what {
        What::Write(to) | What::Swap(_, to) => to,
        What::Read(_) | What::Kept(..) => &None,
    }
}

fn observed(what: &What) -> &Value {
    match what {
        What::Read(seen) | What::Kept(_, seen) | What::Swap(seen, _) => seen,
        What::Write(_) => &None,
    }
}

/// Makes operations with an end of requests of which some have none. A change of which nobody knows took effect before the
/// first answer that shows its value ended; if no answer shows it, it is as if it had never been.
fn settle(requests: &[&Request]) -> Result<Vec<Operation>, String> {
    let mut shown: BTreeMap<&str, u64> = BTreeMap::new();
    for request in requests {
        if let End::Done { at, what, .. } = &request.end
            && let Some(value) = observed(what)
        {
            let first = shown.entry(value).or_insert(*at);
            *first = (*first).min(*at);
        }
    }
    let mut operations = Vec::new();
    let mut queue: Vec<&Request> = Vec::new();
    for request in requests {
        match &request.end {
            End::Done { at, what, .. } => {
                operations.push(Operation { begun: request.begun, ended: *at, what: what.clone() });
            }
            End::Undone => {
                if let Some(wish) = &request.wish
                    && let Some(value) = written(wish)
                    && let Some(at) = shown.get(value.as_str())
                {
                    return Err(format!("{value:?} was called undone, and is there at {at}"));
                }
            }
            End::Unknown => queue.push(request),
        }
    }
    loop {
        let before = queue.len();
        let mut left = Vec::new();
        for request in queue {
            let Some(wish) = &request.wish else { continue };
            let Some(at) = written(wish).as_ref().and_then(|value| shown.get(value.as_str())).copied() else {
                left.push(request);
                continue;
            };
            // A swap that is shown also shows the value that it replaced.
            if let Some(replaced) = observed(wish) {
                let first = shown.entry(replaced).or_insert(at);
                *first = (*first).min(at);
            }
            operations.push(Operation { begun: request.begun, ended: at, what: wish.clone() });
        }
        queue = left;
        if queue.len() == before {
            break;
        }
    }
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Some(text.to_owned())
    }

    fn verdict(requests: &[(u64, Option<What>, End)]) -> Result<(), String> {
        let record = Record::default();
        for (begun, wish, end) in requests {
            record.push(Request { key: "a".to_owned(), begun: *begun, wish: wish.clone(), end: end.clone() });
        }
        record.check()
    }

    fn done(at: u64, revision: Revision, what: What) -> End {
        End::Done { at, revision, what }
    }

    #[test]
    fn a_change_that_nobody_knows_of_may_come_late_or_never() {
        let lost = (1, Some(What::Write(value("x"))), End::Unknown);
        let read = |begun, revision, seen: Value| (begun, None, done(begun + 1, revision, What::Read(seen)));
        assert_eq!(verdict(&[lost.clone(), read(2, 1, None), read(4, 1, None)]), Ok(()));
        assert_eq!(verdict(&[lost.clone(), read(2, 1, None), read(4, 2, value("x"))]), Ok(()));
        assert!(verdict(&[lost, read(2, 1, value("x")), read(4, 1, None)]).is_err(), "it does not go again");
        let swap = (2, Some(What::Swap(value("x"), value("y"))), End::Unknown);
        let first = (1, Some(What::Write(value("x"))), End::Unknown);
        assert_eq!(verdict(&[first, swap, read(5, 3, value("y"))]), Ok(()), "one that was lost saw another");
    }

    #[test]
    fn wrong_answers_are_seen() {
        let write = |begun, revision, to| (begun, None, done(begun + 1, revision, What::Write(value(to))));
        let read = |begun, revision, seen: Value| (begun, None, done(begun + 1, revision, What::Read(seen)));
        assert!(verdict(&[write(1, 1, "x"), read(3, 1, None)]).unwrap_err().contains("linearizable"));
        assert!(verdict(&[write(1, 2, "x"), read(3, 1, value("x"))]).unwrap_err().contains("revision"));
        assert!(verdict(&[write(1, 2, "x"), write(3, 2, "y")]).unwrap_err().contains("revision"));
        let undone = (1, Some(What::Write(value("x"))), End::Undone);
        assert!(verdict(&[undone, read(3, 1, value("x"))]).unwrap_err().contains("undone"));
    }
}
