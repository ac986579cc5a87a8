//! What a process of a node leaves to the one that takes over from it, so that its servers run on.
//!
//! The next process has to come by a lease of its own. Until then it leaves a primary as it is for as long as the process before
//! might have acted, and no longer: that is what has been told to whoever ends the server from outside. Without this note, or with
//! one that means nothing to it, a process stops a primary that it finds, and the group goes on as after any other stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use mainstay_core::database::Plan;
use mainstay_core::lease::Term;
use mainstay_core::time::Moment;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::folder::Folder;

/// The note's name in the node's directory.
const FILE: &str = "handed-over.json";
/// Raised when an older note cannot be understood any more, or a younger one by an older process.
const FORMAT: u32 = 1;
/// Bytes of a note, at most.
const BYTES_MAX: u64 = 4 << 20;
/// No lease lasts longer. Some coordinators grant more than was asked for: etcd whole seconds, and never less than its elections take.
const LEASE_MAX: Duration = Duration::from_secs(60);
/// The kernel gives each start of the machine a name.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What is left of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// The plan that the member goes by.
    pub(super) plan: Plan,
    /// How long its server may lead; `None`: it does not.
    leads: Option<Leads>,
}

/// A term of the lease that the process before had, in nanoseconds of CLOCK_BOOTTIME, which all processes of a machine see alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Leads {
    lease: i64,
    deadline: u64,
    expiry: u64,
}

/// The note.
#[derive(Serialize, Deserialize)]
struct Note {
    /// The start of the machine that its times count from.
    boot: String,
    /// The process that it is for.
    to: u32,
    groups: BTreeMap<String, Handed>,
}

impl Handed {
    pub(super) fn new(plan: &Plan, until: Option<Term>) -> Self {
        let leads = |term: Term| Leads {
            lease: term.lease,
            deadline: term.deadline.as_nanos(),
            expiry: term.expiry.as_nanos(),
        };
        Self { plan: plan.clone(), leads: until.map(leads) }
    }

    /// How long the server may lead, if it does.
    pub(super) fn until(&self) -> Option<Term> {
        let Leads { lease, deadline, expiry } = self.leads?;
        Some(Term { lease, deadline: Moment::from_nanos(deadline), expiry: Moment::from_nanos(expiry) })
    }
}

/// Leaves a note for the process `to` in the node's directory. It is on the disk when this returns.
///
/// # Errors
/// If it cannot be written.
pub fn leave(folder: &Path, to: u32, groups: BTreeMap<String, Handed>) -> Result<(), Error> {
    let said = || format!("cannot write {}", folder.join(FILE).display());
    let boot = fs::read_to_string(BOOT).map_err(Error::system(said()))?;
    let note = serde_json::to_value(Note { boot, to, groups }).map_err(|error| Error::system(said())(error.into()))?;
    let text = serde_json::json!({ "format": FORMAT, "note": note }).to_string();
    Folder { path: folder, user: None }.write(FILE, text.as_bytes())
}

/// Takes the note that the process before has left for this one, once. Nothing, if there is none that can be relied on: one of
/// another machine's life, for another process, or of a form that this version does not know.
pub fn take(folder: &Path, now: Moment) -> BTreeMap<String, Handed> {
    let path = folder.join(FILE);
    let Ok(about) = fs::metadata(&path) else { return BTreeMap::new() };
    let text = if about.len() <= BYTES_MAX { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!(%error, path = %path.display(), "databases: what was handed over once cannot be removed");
    }
    match read(&text) {
        Ok(mut note) => {
            // What lasts longer than any lease was written by mistake.
            note.groups.retain(|_group, handed| handed.until().is_none_or(|term| term.expiry <= now.after(LEASE_MAX)));
            note.groups
        }
        Err(why) => {
            tracing::warn!(
                why,
                "databases: what another process has handed over is of no use; servers are taken over by a new start"
            );
            BTreeMap::new()
        }
    }
}

fn read(text: &str) -> Result<Note, String> {
    let mut whole: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if whole["format"] != FORMAT {
        return Err(format!("it is of the format {}, and this version knows {FORMAT}", whole["format"]));
    }
    let note: Note = serde_json::from_value(whole["note"].take()).map_err(|error| error.to_string())?;
    if note.to != std::process::id() {
        return Err(format!("it is for the process {}", note.to));
    }
    let boot = fs::read_to_string(BOOT).map_err(|error| error.to_string())?;
    if note.boot != boot { Err("the machine was started since".to_owned()) } else { Ok(note) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn handed(expiry_ms: u64) -> BTreeMap<String, Handed> {
        let expiry = Moment::from_millis(expiry_ms);
        let term = Term { lease: 7, deadline: Moment::from_millis(expiry_ms - 300), expiry };
        let plan = Plan { number: 9, term: 3, ..Plan::default() };
        BTreeMap::from([("orders".to_owned(), Handed::new(&plan, Some(term)))])
    }

    #[test]
    fn a_note_is_read_once_by_the_process_that_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let (now, me) = (Moment::from_millis(10_000), std::process::id());
        assert!(take(folder.path(), now).is_empty(), "there is none");
        leave(folder.path(), me, handed(12_000)).unwrap();
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = take(folder.path(), now);
        assert_eq!(taken, handed(12_000));
        assert_eq!(taken["orders"].until().unwrap().deadline, Moment::from_millis(11_700));
        assert!(take(folder.path(), now).is_empty(), "it was taken");
        leave(folder.path(), me + 1, handed(12_000)).unwrap();
        assert!(take(folder.path(), now).is_empty(), "it is another one's");
        assert!(!folder.path().join(FILE).exists());
    }

    #[test]
    fn a_note_that_means_nothing_is_no_note() {
        let folder = tempfile::tempdir().unwrap();
        let (now, me) = (Moment::from_millis(10_000), std::process::id());
        leave(folder.path(), me, handed(70_001)).unwrap();
        assert!(take(folder.path(), now).is_empty(), "no lease lasts so long");
        leave(folder.path(), me, handed(12_000)).unwrap();
        let good = fs::read_to_string(folder.path().join(FILE)).unwrap();
        let boot = fs::read_to_string(BOOT).unwrap();
        let others = [
            good.replace("\"format\":1", "\"format\":2"),
            good.replace(boot.trim(), "00000000-0000-0000-0000-000000000000"),
            good[..good.len() / 2].to_owned(),
            String::new(),
        ];
        for text in others {
            assert_ne!(text, good);
            fs::write(folder.path().join(FILE), text).unwrap();
            assert!(take(folder.path(), now).is_empty());
        }
        fs::write(folder.path().join(FILE), good).unwrap();
        assert_eq!(take(folder.path(), now).len(), 1);
    }
}
