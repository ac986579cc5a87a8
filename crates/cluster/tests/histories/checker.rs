//! Whether one register could have given these answers: some order of the operations in which each takes effect between its
//! beginning and its end, and each answer is right.
//!
//! Operations are taken in the order of their ends. What is kept is every state that the register may be in, with the
//! operations under way that have taken effect in it (Lowe, "Testing for linearizability", 2017).

use std::collections::HashSet;

/// A value, `None` if the key is not there.
pub(crate) type Value = Option<String>;

/// What was asked and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It had this value.
    Read(Value),
    /// It has this value from then on.
    Write(Value),
    /// It had the first value, and has the second from then on.
    Swap(Value, Value),
    /// It did not have the first value but the second, and nothing was changed.
    Kept(Value, Value),
}

/// An operation that took effect between two moments.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) what: What,
}

/// States that are looked at for one operation, at most.
const STATES_MAX: usize = 2_000_000;

fn effect(what: &What, state: &Value) -> Option<Value> {
    match what {
        What::Read(value) => (state == value).then(|| state.clone()),
        What::Write(value) => Some(value.clone()),
        What::Swap(from, to) => (state == from).then(|| to.clone()),
        What::Kept(from, seen) => (state == seen && seen != from).then(|| state.clone()),
    }
}

/// Checks the history of a key that is not there at first.
///
/// # Errors
/// The operation that no order explains.
pub(crate) fn check(operations: &[Operation]) -> Result<(), String> {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        events.extend([(operation.begun, false, index), (operation.ended, true, index)]);
    }
    events.sort_unstable();
    // The operations under way, each with a bit of its own.
    let mut open: [Option<usize>; 64] = [None; 64];
    let mut states: HashSet<(Value, u64)> = HashSet::from([(None, 0)]);
    for (_at, ends, index) in events {
        if !ends {
            let place = open.iter().position(Option::is_none).ok_or("more than 64 operations at a time")?;
            open[place] = Some(index);
            continue;
        }
        let place = open.iter().position(|one| *one == Some(index)).ok_or("an operation ends that has not begun")?;
        states = after(operations, &open, &states, 1 << place)?;
        if states.is_empty() {
            return Err(explain(operations, index));
        }
        open[place] = None;
    }
    Ok(())
}

/// The states in which the operation with that bit has taken effect.
fn after(
    operations: &[Operation],
    open: &[Option<usize>; 64],
    states: &HashSet<(Value, u64)>,
    bit: u64,
) -> Result<HashSet<(Value, u64)>, String> {
    let (mut seen, mut left) = (states.clone(), states.iter().cloned().collect::<Vec<_>>());
    let mut done = HashSet::new();
    while let Some((state, effective)) = left.pop() {
        if effective & bit != 0 {
            done.insert((state, effective & !bit));
            continue;
        }
        for (place, index) in open.iter().enumerate().filter_map(|(place, index)| Some((place, (*index)?))) {
            if effective & (1 << place) != 0 {
                continue;
            }
            if let Some(next) = effect(&operations[index].what, &state) {
                let next = (next, effective | (1 << place));
                if seen.insert(next.clone()) {
                    left.push(next);
                }
            }
        }
        if seen.len() > STATES_MAX {
            return Err(format!("more than {STATES_MAX} states to look at"));
        }
    }
    Ok(done)
}

fn explain(operations: &[Operation], index: usize) -> String {
    let last = &operations[index];
    let mut near: Vec<_> = operations.iter().filter(|one| one.begun <= last.ended).collect();
    near.sort_unstable_by_key(|one| one.ended);
    let near: Vec<_> =
        near.iter().rev().take(12).rev().map(|one| format!("{}..{} {:?}", one.begun, one.ended, one.what)).collect();
    format!(
        "not linearizable: no order explains {}..{} {:?}, after\n  {}",
        last.begun,
        last.ended,
        last.what,
        near.join("\n  ")
    )
}

#[cfg(test)]
mod tests {
    use mainstay_core::random::Rng;
    use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

    use super::*;

    /// The same register in stateright's terms: an operation carries its answer, which is right or wrong.
    #[derive(Clone, Debug, PartialEq)]
    struct Register(Value);

    impl SequentialSpec for Register {
        type Op = What;
        type Ret = bool;

        fn invoke(&mut self, what: &What) -> bool {
            match effect(what, &self.0) {
                Some(next) => {
                    self.0 = next;
                    true
                }
                None => false,
            }
        }
    }

    fn value(rng: &mut Rng) -> Value {
        ["", "a", "b"].get(rng.below(3)).filter(|text| !text.is_empty()).map(|text| (*text).to_owned())
    }

    /// Three clients, each with some operations one after another, with answers at random: some right, some not.
    fn history(rng: &mut Rng) -> Vec<(u32, Operation)> {
        let mut free = [0_u64; 3];
        let mut all = Vec::new();
        let mut state = None;
        for index in 0..4 + rng.below(5) as u64 {
            let client = rng.below(3);
            let begun = free[client].max(index * 4) * 8 + client as u64;
            let ended = begun + 1 + rng.below(40) as u64 * 8;
            free[client] = ended / 8 + 1;
            let guess = if rng.below(4) == 0 { value(rng) } else { state.clone() };
            let what = match rng.below(4) {
                0 => What::Write(value(rng)),
                1 => What::Swap(guess, value(rng)),
                2 => What::Kept(value(rng), guess),
                _ => What::Read(guess),
            };
            state = effect(&what, &state).unwrap_or(state);
            all.push((client as u32, Operation { begun, ended, what }));
        }
        all
    }

    #[test]
    fn it_agrees_with_stateright() {
        let (mut right, mut wrong) = (0, 0);
        for seed in 0..3000 {
            let history = history(&mut Rng::seeded(seed));
            let mut events = Vec::new();
            for (client, one) in &history {
                events.extend([(one.begun, false, *client, &one.what), (one.ended, true, *client, &one.what)]);
            }
            events.sort_unstable_by_key(|event| event.0);
            let mut tester = LinearizabilityTester::new(Register(None));
            for (_at, ends, client, what) in events {
                if ends {
                    tester.on_return(client, true).unwrap();
                } else {
                    tester.on_invoke(client, what.clone()).unwrap();
                }
            }
            let operations: Vec<_> = history.into_iter().map(|(_client, one)| one).collect();
            let verdict = check(&operations);
            assert_eq!(verdict.is_ok(), tester.is_consistent(), "seed {seed}: {verdict:?} of {operations:#?}");
            *if verdict.is_ok() { &mut right } else { &mut wrong } += 1;
        }
        assert!(right > 300 && wrong > 300, "{right} histories are right and {wrong} wrong: too few of one kind");
    }
}
