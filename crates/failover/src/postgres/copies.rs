//! What is kept of copies that came one soon after the other, so that a node that is restarted goes on waiting between them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::receiver::Receiver;
use super::server::Instance;

/// The copies, beside what else is remembered of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copies {
    /// How many there were.
    count: u32,
    /// When the last one was counted, in seconds since 1970.
    at_unix_s: u64,
}

impl Copies {
    /// The receiver of data that was copied so. A clock that was set back makes the last copy one of now.
    pub(super) fn receiver(copies: Option<Self>) -> Receiver {
        let Some(Self { count, at_unix_s }) = copies else { return Receiver::default() };
        let ago = Duration::from_secs(unix_s().saturating_sub(at_unix_s));
        // What was before anything that this clock knows is long ago.
        Instant::now().checked_sub(ago).map(|at| Receiver::after(count, at)).unwrap_or_default()
    }
}

impl Instance {
    /// Takes over what the receiver has counted; whether that is something else than before.
    pub(super) fn note_copies(&mut self) -> bool {
        let count = self.receiver.copies();
        if self.standing.copies.map_or(0, |copies| copies.count) == count {
            return false;
        }
        self.standing.copies = (count > 0).then(|| Copies { count, at_unix_s: unix_s() });
        true
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::postgres::{Options, Settings};

    fn open(folder: &Path) -> Instance {
        let settings = Settings {
            node: "a".to_owned(),
            bin_dir: folder.to_owned(),
            data_dir: folder.join("data"),
            state_dir: folder.join("state"),
            user: None,
            listen: "127.0.0.1:1".parse().unwrap(),
            password: "secret".to_owned(),
            peers: Vec::new(),
            extra: String::new(),
            options: Options::default(),
        };
        Instance::open(settings).unwrap()
    }

    /// It has received nothing for so long that it was copied.
    fn is_copied(instance: &mut Instance, now: Instant) {
        instance.receiver.look(None, 1, now, String::new);
        instance.receiver.look(None, 1, now, String::new);
        instance.receiver.look(None, 1, now + Duration::from_secs(3600), String::new);
        instance.receiver.is_copied(Instant::now());
        instance.mend().unwrap();
    }

    #[test]
    fn copies_in_a_row_are_known_to_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut instance = open(folder.path());
        assert_eq!(instance.receiver.copies(), 0);
        (0..2).for_each(|_copy| is_copied(&mut instance, Instant::now()));
        let mut instance = open(folder.path());
        assert_eq!(instance.receiver.copies(), 2);
        instance.mend().unwrap();
        assert_eq!(open(folder.path()).receiver.copies(), 2, "data that was mended in another way is no news of them");
        // It has gone on for long since the last one.
        let now = Instant::now() + Duration::from_secs(3601);
        instance.receiver.look(Some(1), 1, now, String::new);
        instance.receiver.look(Some(1), 1, now, String::new);
        assert!(instance.note_copies() && !instance.note_copies());
        instance.mend().unwrap();
        assert_eq!(open(folder.path()).receiver.copies(), 0);
    }
}
