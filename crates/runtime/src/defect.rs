//! Panics, which are defects of the program: each is noted when it happens, so that the node can tell of it while it serves on.
//!
//! A panic ends the task or the thread that it happens on, and nothing else; who waits for it may wait for ever. The hook only
//! notes: it runs wherever the panic happened, also under locks that telling would need.

use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::{Mutex, PoisonError};

/// Letters of a panic's message that are kept.
const MESSAGE_MAX: usize = 300;

/// What has been noted.
static NOTED: Mutex<Noted> = Mutex::new(Noted { count: 0, last: None });

/// Panics of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// How many there were.
    pub count: u64,
    /// The last one.
    pub last: Option<Defect>,
}

/// A panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// The thread that it happened on.
    pub thread: String,
    /// Where in the program.
    pub place: String,
    /// What it says.
    pub message: String,
}

/// Notes every panic from now on, before what was done about panics until now.
pub fn notice() {
    let before = take_hook();
    set_hook(Box::new(move |info| {
        note(info);
        before(info);
    }));
}

/// What has been noted so far.
pub fn noted() -> Noted {
    // What is inside is changed whole.
    NOTED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn note(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "?".to_owned(), |at| format!("{}:{}", at.file(), at.line()));
    let message = info.payload_as_str().unwrap_or("").chars().take(MESSAGE_MAX).collect();
    let thread = std::thread::current().name().unwrap_or("?").to_owned();
    let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    noted.count += 1;
    noted.last = Some(Defect { thread, place, message });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_noted_with_its_place() {
        notice();
        let ended =
            std::thread::Builder::new().name("test-defect".to_owned()).spawn(|| panic!("meant for {}", "this test"));
        assert!(ended.expect("a thread").join().is_err());
        let noted = noted();
        // Other tests of this process panic, too.
        assert!(noted.count >= 1 && noted.last.is_some_and(|last| last.place.contains(".rs:")));
    }
}
