//! What failed is not tried again at once: each failure in a row doubles the pause.

use std::time::{Duration, Instant};

use mainstay_core::database::agent::Action;

use crate::Error;

const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Beyond this the pause does not grow any more.
const DOUBLED_MAX: u32 = 6;

/// What failed last, and when it may be tried again.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    action: Action,
    times: u32,
    until: Instant,
    said: String,
}

impl Retry {
    /// Whether it may be tried now.
    pub(super) fn check(&self, action: &Action, now: Instant) -> Result<(), Error> {
        match &self.failed {
            Some(failed) if failed.action == *action && now < failed.until => {
                Err(Error::Again { after: failed.until - now, said: failed.said.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers what came of it. Promotions, stops and what only asks are never held up.
    pub(super) fn note(&mut self, action: &Action, error: Option<&Error>, now: Instant) {
        let is_work = matches!(
            action,
            Action::Found { .. }
                | Action::StartPrimary { .. }
                | Action::StartReplica { .. }
                | Action::Rewind { .. }
                | Action::Clone { .. }
        );
        let Some(error) = error else {
            if is_work {
                self.failed = None;
            }
            return;
        };
        if is_work {
            let same = self.failed.as_ref().filter(|failed| failed.action == *action);
            let times = same.map_or(0, |failed| failed.times + 1).min(DOUBLED_MAX);
            let pause = (PAUSE * (1 << times)).min(PAUSE_MAX);
            self.failed = Some(Failed { action: action.clone(), times, until: now + pause, said: error.to_string() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_end_with_a_success() {
        let mut retry = Retry::default();
        let (clone, other) = (Action::Clone { of: "a".to_owned() }, Action::StartReplica { of: None });
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            retry.check(&clone, now).unwrap();
            retry.note(&clone, Some(&Error::UnknownPeer("a".to_owned())), now);
            retry.check(&other, now).unwrap();
            let Err(Error::Again { after, .. }) = retry.check(&clone, now) else { panic!("at once") };
            pauses.push(after.as_millis());
            now += after;
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        retry.note(&clone, None, now);
        retry.note(&clone, Some(&Error::UnknownPeer("a".to_owned())), now);
        retry.check(&clone, now + PAUSE).unwrap();
        retry.note(
            &Action::Promote { term: 1, sync: Default::default() },
            Some(&Error::UnknownPeer("a".to_owned())),
            now,
        );
        retry.check(&Action::Promote { term: 1, sync: Default::default() }, now).unwrap();
    }
}
