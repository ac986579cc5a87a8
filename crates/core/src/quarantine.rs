//! Requests that break whoever serves them: one that resets connections at several endpoints is kept from the rest.
//!
//! A request is known by its fingerprint. Resets at too many different endpoints within a window put it into quarantine; when
//! the time is over, one request of the kind is let through, and its fate decides: an answer acquits the kind, another
//! reset doubles the time. An answer acquits a suspect at any time, so that requests that were merely under way at an
//! endpoint that died are not held for it.

use std::collections::HashMap;
use std::time::Duration;

use crate::time::Moment;

/// Endpoints that a policy may ask for, at most.
pub const ENDPOINTS_MAX: usize = 8;

/// When a kind of request is held, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Different endpoints that reset it; 1 to [`ENDPOINTS_MAX`].
    pub endpoints: usize,
    /// Resets count together within this time.
    pub window: Duration,
    /// The first quarantine lasts this long, each further one twice as long as the one before.
    pub hold: Duration,
    /// But none lasts longer than this.
    pub cap: Duration,
    /// Kinds of requests that are remembered; at least 1.
    pub entries: usize,
}

impl Default for Policy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { endpoints: 2, window: seconds(60), hold: seconds(60), cap: seconds(3600), entries: 1024 }
    }
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Pass,
    /// It is let through to see whether it still does harm. Its fate is to be told.
    Try,
    /// It is to be refused; the quarantine lasts this long.
    Hold(Duration),
}

/// What is known of the kinds of requests that were reset lately.
#[derive(Clone, Debug)]
pub struct Quarantine {
    policy: Policy,
    entries: HashMap<u64, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The endpoints that reset it, as many as `count` says.
    endpoints: [u64; ENDPOINTS_MAX],
    count: usize,
    /// When the first of them did.
    since: Moment,
    /// How often it was held.
    holds: u32,
    /// Held until then; for one that was held before, nothing else passes before the next trial is over.
    until: Option<Moment>,
    /// When it is forgotten.
    forgotten: Moment,
}

impl Quarantine {
    /// One that knows of nothing.
    pub fn new(policy: Policy) -> Self {
        Self { policy, entries: HashMap::new() }
    }

    /// The policy.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether nothing is suspected, so that nobody needs to ask.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Kinds of requests that are suspected or held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Kinds of requests that are held at `now`.
    pub fn held(&self, now: Moment) -> usize {
        self.entries.values().filter(|entry| entry.until.is_some_and(|until| now < until)).count()
    }

    /// What is to be done with a request of this kind.
    pub fn ask(&mut self, now: Moment, fingerprint: u64) -> Verdict {
        let policy = self.policy;
        let Some(entry) = self.entries.get_mut(&fingerprint) else { return Verdict::Pass };
        if now >= entry.forgotten {
            self.entries.remove(&fingerprint);
            return Verdict::Pass;
        }
        match entry.until {
            None => Verdict::Pass,
            Some(until) if now < until => Verdict::Hold(until.since(now)),
            Some(_over) => {
                // Only one is tried. If nothing is heard of it, the next one is after a window.
                entry.until = Some(now.after(policy.window));
                entry.forgotten = entry.forgotten.max(now.after(policy.window).after(policy.window));
                Verdict::Try
            }
        }
    }

    /// A request of this kind was reset by `endpoint` (a hash of its name). `Some` with the time if it is held from now on.
    pub fn reset(&mut self, now: Moment, fingerprint: u64, endpoint: u64) -> Option<Duration> {
        let policy = self.policy;
        if !self.entries.contains_key(&fingerprint) {
            self.make_room(now);
        }
        let entry = self.entries.entry(fingerprint).or_insert_with(|| Entry::new(now, &policy));
        if entry.holds == 0 && now.since(entry.since) >= policy.window {
            *entry = Entry::new(now, &policy);
        }
        if !entry.endpoints.iter().take(entry.count).any(|known| *known == endpoint)
            && let Some(place) = entry.endpoints.get_mut(entry.count)
        {
            *place = endpoint;
            entry.count += 1;
        }
        // Whoever has been held before is held again for the first reset.
        if entry.holds == 0 && entry.count < policy.endpoints.clamp(1, ENDPOINTS_MAX) {
            return None;
        }
        let hold = policy.hold.saturating_mul(1 << entry.holds.min(20)).min(policy.cap).max(policy.hold);
        entry.holds = entry.holds.saturating_add(1);
        entry.until = Some(now.after(hold));
        entry.forgotten = now.after(hold).after(policy.cap.max(policy.window));
        Some(hold)
    }

    /// A request of this kind was answered: it is no poison. Answers whether it was suspected.
    pub fn answered(&mut self, fingerprint: u64) -> bool {
        self.entries.remove(&fingerprint).is_some()
    }

    /// Forgets what is over. Called now and then, so that an idle table becomes empty.
    pub fn sweep(&mut self, now: Moment) {
        self.entries.retain(|_fingerprint, entry| now < entry.forgotten);
    }

    /// Forgets the entry that is worth least if there are too many: a suspect before one that is held, the oldest first.
    fn make_room(&mut self, now: Moment) {
        if self.entries.len() < self.policy.entries.max(1) {
            return;
        }
        self.sweep(now);
        while self.entries.len() >= self.policy.entries.max(1) {
            let least =
                self.entries.iter().min_by_key(|(name, entry)| (entry.until.is_some(), entry.forgotten, **name));
            let Some(least) = least.map(|(fingerprint, _entry)| *fingerprint) else { return };
            self.entries.remove(&least);
        }
    }
}

impl Entry {
    fn new(now: Moment, policy: &Policy) -> Self {
        let forgotten = now.after(policy.window);
        Self { endpoints: [0; ENDPOINTS_MAX], count: 0, since: now, holds: 0, until: None, forgotten }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        endpoints: 2,
        window: Duration::from_secs(10),
        hold: Duration::from_secs(30),
        cap: Duration::from_secs(100),
        entries: 4,
    };

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1000 * seconds)
    }

    const fn held(seconds: u64) -> Verdict {
        Verdict::Hold(Duration::from_secs(seconds))
    }

    #[test]
    fn two_different_endpoints_within_the_window() {
        let mut quarantine = Quarantine::new(POLICY);
        assert_eq!(quarantine.reset(at(0), 1, 7), None);
        assert_eq!(quarantine.reset(at(1), 1, 7), None, "the same endpoint again says nothing new");
        assert_eq!(quarantine.ask(at(1), 1), Verdict::Pass);
        assert_eq!(quarantine.reset(at(9), 1, 8), Some(Duration::from_secs(30)));
        assert_eq!(quarantine.ask(at(10), 1), held(29));
        assert_eq!(quarantine.ask(at(10), 2), Verdict::Pass, "others are not concerned");
        assert_eq!((quarantine.len(), quarantine.held(at(10)), quarantine.held(at(39))), (1, 1, 0));
        // Too far apart.
        assert_eq!(quarantine.reset(at(100), 3, 7), None);
        assert_eq!(quarantine.reset(at(110), 3, 8), None);
        assert_eq!(quarantine.ask(at(110), 3), Verdict::Pass);
    }

    #[test]
    fn an_answer_acquits() {
        let mut quarantine = Quarantine::new(POLICY);
        quarantine.reset(at(0), 1, 7);
        assert!(quarantine.answered(1) && quarantine.is_empty());
        assert_eq!(quarantine.reset(at(1), 1, 8), None);
        assert!(!quarantine.answered(2));
    }

    #[test]
    fn one_is_tried_when_the_time_is_over_and_the_next_time_is_longer() {
        let mut quarantine = Quarantine::new(POLICY);
        quarantine.reset(at(0), 1, 7);
        quarantine.reset(at(0), 1, 8);
        assert_eq!(quarantine.ask(at(30), 1), Verdict::Try);
        assert_eq!(quarantine.ask(at(31), 1), held(9), "one is enough");
        assert_eq!(quarantine.ask(at(40), 1), Verdict::Try, "nothing was heard of it");
        // The same endpoint will do now, and the time doubles up to the cap.
        assert_eq!(quarantine.reset(at(41), 1, 8), Some(Duration::from_secs(60)));
        assert_eq!(quarantine.ask(at(101), 1), Verdict::Try);
        assert_eq!(quarantine.reset(at(101), 1, 9), Some(Duration::from_secs(100)));
        assert_eq!(quarantine.ask(at(201), 1), Verdict::Try);
        assert!(quarantine.answered(1));
        assert_eq!(quarantine.ask(at(202), 1), Verdict::Pass);
    }

    #[test]
    fn what_is_over_is_forgotten_and_the_table_is_bounded() {
        let mut quarantine = Quarantine::new(POLICY);
        quarantine.reset(at(0), 100, 1);
        quarantine.reset(at(0), 100, 2);
        for fingerprint in 0..50 {
            quarantine.reset(at(1), fingerprint, 1);
            assert!(quarantine.len() <= 4);
        }
        assert_eq!(quarantine.ask(at(2), 100), held(28), "suspects go before one that is held");
        quarantine.sweep(at(20));
        assert_eq!(quarantine.len(), 1);
        quarantine.sweep(at(200));
        assert!(quarantine.is_empty());
    }
}
