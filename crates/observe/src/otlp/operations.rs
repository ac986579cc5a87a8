//! From the journal to spans of what a cluster does: a role or an address that is taken over, a time without quorum until the next
//! election, a session that was lost and held again, a database between two primaries, a configuration on its way through its stages.
//!
//! Pure: what is heard goes in, and what is over comes out. All of them are told of, as requests of interest are.

use std::collections::{BTreeMap, VecDeque};

use mainstay_core::transition::{Aspect, Record, Subject, Word};

/// A sign of trouble that is older is not why something is taken over.
const SIGN_NS: u64 = 30_000_000_000;
/// Members that are away, releases under way, and stages of one release that are kept.
const KEPT_MAX: usize = 64;

/// Something that the cluster did, seen by this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// What was done, in few words that are always the same.
    pub(super) name: &'static str,
    /// To whom.
    pub(super) subject: String,
    pub(super) span: Span,
    /// Why it did not come to what was meant.
    pub(super) failure: Option<String>,
    /// What the journal says of it.
    pub(super) cause: String,
    /// Whether somebody wanted it so.
    pub(super) planned: bool,
    /// Its stages, by name.
    pub(super) stages: Vec<(&'static str, Span)>,
}

/// A time in nanoseconds since 1970 whose length was measured by a clock that nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Operations {
    /// Since when members are away, by the clock of the machine.
    away: VecDeque<u64>,
    quorum_lost: Option<(u64, String)>,
    session_lost: Option<(u64, String)>,
    /// Groups of databases that take no writes: since when, why, and whether somebody wants it so.
    unwritable: BTreeMap<String, (u64, String, bool)>,
    /// By the version: when each stage began.
    releases: BTreeMap<String, Vec<(Word, u64)>>,
}

impl Operations {
    /// Forgets what is under way: records were missed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes the next record of the journal. What is over with it comes out.
    pub(super) fn hear(&mut self, record: &Record) -> Option<Operation> {
        let (transition, at) = (&record.transition, record.boottime_ns);
        let (change, cause) = (transition.change, transition.cause.as_str());
        match (&transition.subject, change.aspect, change.to) {
            (Subject::Member { .. }, Aspect::Membership, Word::Away) => {
                if self.away.len() >= KEPT_MAX {
                    self.away.pop_front();
                }
                self.away.push_back(at);
                None
            }
            (Subject::Cluster, Aspect::Quorum, Word::Lost) => {
                self.quorum_lost.get_or_insert((at, cause.to_owned()));
                None
            }
            (Subject::Cluster, Aspect::Quorum, Word::Present) => {
                let (since, why) = self.quorum_lost.take()?;
                Some(Operation { cause: why, ..operation("election", record, since) })
            }
            (Subject::Cluster, Aspect::Session, Word::Lost) => {
                self.session_lost.get_or_insert((at, cause.to_owned()));
                None
            }
            (Subject::Cluster, Aspect::Session, Word::Held) => {
                let (since, why) = self.session_lost.take()?;
                Some(Operation { cause: why, ..operation("session renewal", record, since) })
            }
            (Subject::Role { .. }, Aspect::Holder, Word::Held) => {
                Some(operation("role takeover", record, self.sign_before(at)))
            }
            (Subject::Address { .. }, Aspect::Holder, Word::Held) => {
                Some(operation("address takeover", record, self.sign_before(at)))
            }
            (Subject::Database { name }, Aspect::Standing, word) => self.database(name, word, record),
            (Subject::Config { name }, Aspect::Configuration, stage) => self.release(name, stage, record),
            _else => None,
        }
    }

    /// When trouble showed first of which a takeover at `at` may be the end; `at` itself if none did.
    fn sign_before(&mut self, at: u64) -> u64 {
        self.away.retain(|since| at.saturating_sub(*since) <= SIGN_NS);
        let lost = [&self.quorum_lost, &self.session_lost].into_iter().flatten().map(|(since, _why)| *since);
        self.away.iter().copied().chain(lost).filter(|since| *since <= at).min().unwrap_or(at)
    }

    /// A change of a database's primary lasts for as long as nobody can write. What a node without a lease does not know is no
    /// part of it.
    fn database(&mut self, group: &str, word: Word, record: &Record) -> Option<Operation> {
        if word == Word::Down && (self.unwritable.len() < KEPT_MAX || self.unwritable.contains_key(group)) {
            let (cause, planned) = (record.transition.cause.as_str().to_owned(), record.transition.planned);
            self.unwritable.entry(group.to_owned()).or_insert((record.boottime_ns, cause, planned));
        }
        if word != Word::Up {
            return None;
        }
        let (since, why, planned) = self.unwritable.remove(group)?;
        let name = if planned { "database switchover" } else { "database failover" };
        let cause = format!("{why}; {}", record.transition.cause.as_str());
        Some(Operation { cause, planned, ..operation(name, record, since) })
    }

    fn release(&mut self, version: &str, stage: Word, record: &Record) -> Option<Operation> {
        let at = record.boottime_ns;
        match stage {
            Word::Validating | Word::Canary | Word::Baking | Word::Spreading | Word::RollingBack => {
                if self.releases.len() >= KEPT_MAX && !self.releases.contains_key(version) {
                    self.releases.pop_first();
                }
                let stages = self.releases.entry(version.to_owned()).or_default();
                if stages.len() < KEPT_MAX {
                    stages.push((stage, at));
                }
                None
            }
            Word::Done | Word::Vetoed | Word::RolledBack => {
                let begun = self.releases.remove(version)?;
                let ends = begun.iter().skip(1).map(|(_stage, since)| *since).chain([at]);
                let stages =
                    begun.iter().zip(ends).map(|((stage, since), end)| (stage.as_str(), span(record, *since, end)));
                let stages = stages.collect();
                let failure = (stage != Word::Done).then(|| stage.as_str().to_owned());
                let since = begun.first().map_or(at, |(_stage, since)| *since);
                Some(Operation { failure, stages, ..operation("configuration release", record, since) })
            }
            _node_s_own => None,
        }
    }
}

fn operation(name: &'static str, record: &Record, since: u64) -> Operation {
    Operation {
        name,
        subject: record.transition.subject.name().to_owned(),
        span: span(record, since, record.boottime_ns),
        failure: None,
        cause: record.transition.cause.as_str().to_owned(),
        planned: record.transition.planned,
        stages: Vec::new(),
    }
}

/// From two times of the machine's clock, of which `record` says what the wall clock showed at its own.
fn span(record: &Record, start: u64, end: u64) -> Span {
    let wall = record.at_unix_ms.saturating_mul(1_000_000);
    let since_1970 = |at: u64| wall.saturating_sub(record.boottime_ns.saturating_sub(at));
    let start = since_1970(start);
    Span { start, end: since_1970(end).max(start) }
}

#[cfg(test)]
mod tests {
    use mainstay_core::transition::Transition;

    use super::*;

    /// A record at this many seconds after the machine's start.
    fn record(second: u64, subject: Subject, aspect: Aspect, to: Word, cause: &str) -> Record {
        Record {
            sequence: second,
            at_unix_ms: 1_700_000_000_000 + second * 1000,
            boottime_ns: second * 1_000_000_000,
            node: "lb1".to_owned(),
            transition: Transition::new(subject, aspect, Word::Unknown, to).because(cause),
        }
    }

    fn lasted(operation: &Operation) -> (u64, u64) {
        let second = |nanos: u64| nanos / 1_000_000_000 - 1_700_000_000;
        (second(operation.span.start), second(operation.span.end))
    }

    #[test]
    fn a_database_is_told_of_from_its_last_write_to_its_next() {
        let mut operations = Operations::default();
        let orders = || Subject::Database { name: "orders".to_owned() };
        let standing = |second, word, cause: &str| record(second, orders(), Aspect::Standing, word, cause);
        assert_eq!(operations.hear(&standing(90, Word::Up, "db1 takes writes")), None, "it has begun");
        assert_eq!(operations.hear(&standing(100, Word::Down, "db1 is to be replaced")), None);
        assert_eq!(operations.hear(&standing(101, Word::Unknown, "this node has no lease")), None);
        assert_eq!(operations.hear(&standing(102, Word::Down, "db2 does not take writes")), None);
        let failover = operations.hear(&standing(104, Word::Up, "db2 takes writes")).expect("it is over");
        assert_eq!(
            (failover.name, failover.subject.as_str(), lasted(&failover)),
            ("database failover", "orders", (100, 104))
        );
        assert_eq!(failover.cause, "db1 is to be replaced; db2 takes writes");
        let mut handover = standing(110, Word::Down, "db2 hands over to db1");
        handover.transition.planned = true;
        assert_eq!(operations.hear(&handover), None);
        let switchover = operations.hear(&standing(111, Word::Up, "db1 takes writes")).expect("it is over");
        assert_eq!((switchover.name, switchover.planned), ("database switchover", true));
        // A node that came back to a group that serves has seen nothing of a change.
        assert_eq!(operations.hear(&standing(120, Word::Unknown, "this node has no lease")), None);
        assert_eq!(operations.hear(&standing(121, Word::Up, "db1 takes writes")), None);
    }

    #[test]
    fn a_takeover_begins_with_the_first_sign_of_trouble() {
        let mut operations = Operations::default();
        let address = || Subject::Address { name: "10.0.0.1".to_owned() };
        let away = |second, name: &str| {
            record(second, Subject::Member { name: name.to_owned() }, Aspect::Membership, Word::Away, "no answer")
        };
        assert_eq!(operations.hear(&away(100, "lb3")), None);
        assert_eq!(operations.hear(&away(200, "lb2")), None);
        let held = record(203, address(), Aspect::Holder, Word::Held, "won, token 7");
        let takeover = operations.hear(&held).expect("an operation");
        assert_eq!(
            (takeover.name, takeover.subject.as_str(), lasted(&takeover)),
            ("address takeover", "10.0.0.1", (200, 203))
        );
        assert_eq!(takeover.cause, "won, token 7");
        // Without trouble it is a moment.
        let later = record(300, address(), Aspect::Holder, Word::Held, "");
        assert_eq!(operations.hear(&later).map(|it| lasted(&it)), Some((300, 300)));
    }

    #[test]
    fn elections_and_sessions_last_from_the_loss_to_the_return() {
        let mut operations = Operations::default();
        let mut hear = |second, aspect, to| operations.hear(&record(second, Subject::Cluster, aspect, to, "why"));
        assert_eq!(hear(1, Aspect::Quorum, Word::Present), None);
        assert_eq!(hear(10, Aspect::Quorum, Word::Lost), None);
        assert_eq!(hear(11, Aspect::Session, Word::Lost), None);
        let election = hear(12, Aspect::Quorum, Word::Present).expect("an operation");
        assert_eq!((election.name, election.cause.as_str(), lasted(&election)), ("election", "why", (10, 12)));
        let session = hear(14, Aspect::Session, Word::Held).expect("an operation");
        assert_eq!((session.name, lasted(&session)), ("session renewal", (11, 14)));
        assert_eq!(hear(15, Aspect::Session, Word::Held), None);
    }

    #[test]
    fn a_release_has_its_stages_and_how_it_ended() {
        let mut operations = Operations::default();
        let config = |name: &str| Subject::Config { name: name.to_owned() };
        let mut hear =
            |second, name: &str, to| operations.hear(&record(second, config(name), Aspect::Configuration, to, "said"));
        for (second, stage) in [(1, Word::Validating), (2, Word::Canary), (4, Word::Baking), (9, Word::RollingBack)] {
            assert_eq!(hear(second, "8", stage), None);
        }
        assert_eq!(hear(3, "node", Word::Applied), None);
        let release = hear(10, "8", Word::RolledBack).expect("an operation");
        assert_eq!((lasted(&release), release.failure.as_deref()), ((1, 10), Some("rolled_back")));
        let stages: Vec<_> =
            release.stages.iter().map(|(name, span)| (*name, (span.end - span.start) / 1_000_000_000)).collect();
        assert_eq!(stages, [("validating", 1), ("canary", 2), ("baking", 5), ("rolling_back", 1)]);
        assert_eq!(hear(11, "8", Word::Done), None, "it is over");
    }

    #[test]
    fn what_never_ends_does_not_pile_up() {
        let mut operations = Operations::default();
        for number in 0..1_000 {
            let config = Subject::Config { name: number.to_string() };
            let stage = record(number, config, Aspect::Configuration, Word::Canary, "");
            let away = Subject::Member { name: number.to_string() };
            assert_eq!(operations.hear(&stage), None);
            assert_eq!(operations.hear(&record(number, away, Aspect::Membership, Word::Away, "")), None);
        }
        assert_eq!((operations.releases.len(), operations.away.len()), (KEPT_MAX, KEPT_MAX));
    }
}
