//! How far a replica is that lets nobody in yet: until it has replayed to where its data are consistent it cannot be asked, and if
//! it lacks something before that place it never can. The titles of its processes tell.

use std::fs;

use mainstay_core::database::Lsn;

use super::{Settings, control};

/// What its processes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Startup {
    /// Where the segment begins that it replays or waits for.
    pub(super) at: Lsn,
    /// The process that receives from another server, if one has received something.
    pub(super) receiver: Option<i32>,
}

/// Looks at the processes that a postmaster has started; `None`: none of them replays, or their titles say nothing
/// (`update_process_title = off`).
pub(super) async fn look(settings: &Settings, postmaster: u32) -> Option<Startup> {
    let segment_bytes = control::read(settings).await.ok()?.segment_bytes;
    let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).ok()?;
    let (mut at, mut receiver) = (None, None);
    for pid in children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()) {
        let Ok(title) = fs::read_to_string(format!("/proc/{pid}/cmdline")) else { continue };
        match role(&title) {
            Role::Replays(segment) => at = control::segment_begin(segment, segment_bytes),
            Role::Receives => receiver = Some(pid),
            Role::Other => {}
        }
    }
    Some(Startup { at: at?, receiver })
}

/// What a process is there for.
#[derive(Debug, PartialEq, Eq)]
enum Role<'t> {
    /// It replays this segment, or waits for it.
    Replays(&'t str),
    Receives,
    Other,
}

/// By its title: `postgres: startup recovering 000000010000000000000004`, with the cluster's name before the role if it has one.
fn role(title: &str) -> Role<'_> {
    let mut words = title.trim_end_matches(['\0', ' ']).split(' ');
    let is_servers = words.next() == Some("postgres:");
    match words.find(|word| matches!(*word, "startup" | "walreceiver")) {
        Some("startup") if is_servers => {
            words.find(|word| control::is_segment(word)).map_or(Role::Other, Role::Replays)
        }
        // Until then it may be about to be refused what it asks for, and another one is started to ask for the same.
        Some("walreceiver") if is_servers && words.next() == Some("streaming") => Role::Receives,
        _other => Role::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles() {
        const SEGMENT: &str = "000000080000000000000004";
        let cases = [
            (format!("postgres: startup recovering {SEGMENT}"), Role::Replays(SEGMENT)),
            (format!("postgres: orders: startup waiting for {SEGMENT}\0\0"), Role::Replays(SEGMENT)),
            ("postgres: startup ".to_owned(), Role::Other),
            ("postgres: walreceiver streaming 0/4000000".to_owned(), Role::Receives),
            ("postgres: walreceiver ".to_owned(), Role::Other),
            ("postgres: checkpointer ".to_owned(), Role::Other),
            (format!("postgres: archiver archiving {SEGMENT}"), Role::Other),
            (format!("/bin/sh -c startup {SEGMENT}"), Role::Other),
        ];
        for (title, expected) in cases {
            assert_eq!(role(&title), expected, "{title}");
        }
    }
}
