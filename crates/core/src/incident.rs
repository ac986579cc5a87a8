//! Incidents: what broke, what was done, and when it was well again, put together from transitions.
//!
//! An incident is about one service (or synthetic probe, or the cluster itself). It begins when that is not well any more, with
//! what was seen of it shortly before, and ends when it is well again for [`Policy::settle`]; trouble before that belongs to
//! the same incident. Times of day are the journal's; lengths are of its boot-time clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::transition::{Aspect, Record, Subject, Transition, Word};

mod told;

pub use told::{Level, level, text};

/// What incidents are kept, and how they are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Trouble that comes back within this time belongs to the incident before.
    pub settle: Duration,
    /// What was seen so long before an incident's beginning may have led to it.
    pub before: Duration,
    /// Incidents that are kept after their end.
    pub kept: usize,
    /// Entries of one incident; later ones but its end are only counted.
    pub entries: usize,
    /// Incidents at once; further subjects have none.
    pub open: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { settle: Duration::from_secs(10), before: Duration::from_secs(30), kept: 500, entries: 400, open: 1_000 }
    }
}

/// Records that are remembered, since they may turn out to have led to something.
const RECENT_MAX: usize = 256;
/// Actions that an incident's line names.
const ACTIONS_MAX: usize = 8;

/// What part an entry plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Something broke.
    Fault,
    /// Mainstay or somebody did something about it.
    Action,
    /// Something is well again.
    Recovery,
    /// Something else that happened meanwhile.
    Note,
}

/// How bad an incident got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Users noticed nothing.
    Note,
    /// A part of what serves users did not.
    Degraded,
    /// Users were not served.
    Down,
}

/// An entry of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What part it plays.
    pub part: Part,
    /// What was seen.
    pub record: Record,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// When it began and what it is about: the same after a restart.
    pub id: String,
    /// What it is about.
    pub subject: Subject,
    /// How bad it got.
    pub severity: Severity,
    /// Why it began.
    pub cause: String,
    /// Whether somebody wanted it: a drain, for instance.
    pub planned: bool,
    /// When it began, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// When it ended, likewise; `None` while it lasts.
    pub ended_unix_ms: Option<u64>,
    /// For how long users were not served, by plan or not, up to the last entry.
    pub down: Duration,
    /// How long it took to its end, or to the last entry.
    pub lasted: Duration,
    /// What was done, shortly.
    pub actions: Vec<String>,
    /// The timeline, oldest first.
    pub entries: Vec<Entry>,
    /// Entries that found no room.
    pub left_out: u64,
    /// When it began, by the boot-time clock.
    began_ns: u64,
    /// Since when users are not served, likewise.
    down_since_ns: Option<u64>,
    /// Since when it is well, likewise, and by the wall clock.
    well_since: Option<(u64, u64)>,
}

/// All incidents that are remembered.
#[derive(Debug)]
pub struct Book {
    policy: Policy,
    recent: VecDeque<Record>,
    /// By subject. They end late, once they have settled.
    open: BTreeMap<Subject, Incident>,
    closed: VecDeque<Incident>,
}

/// How the subject of an incident stands after a transition.
enum Standing {
    Well,
    Amiss(Severity),
    /// Nobody looks any more, so that nothing is known of its end.
    Unknown,
}

impl Book {
    /// An empty one.
    pub fn new(policy: Policy) -> Self {
        Self { policy, recent: VecDeque::new(), open: BTreeMap::new(), closed: VecDeque::new() }
    }

    /// Takes the next record of one node's journal.
    pub fn take(&mut self, record: &Record) {
        self.advance(record.boottime_ns);
        let standing = standing(&record.transition);
        if let (Some(Standing::Amiss(_)), false) = (&standing, self.open.contains_key(&record.transition.subject)) {
            self.begin(record);
        }
        let (policy, subject) = (self.policy, &record.transition.subject);
        for (about, incident) in &mut self.open {
            if concerns(about, subject) {
                incident.add(&policy, record);
            }
            if about == subject
                && let Some(standing) = &standing
            {
                incident.stand(standing, record);
            }
        }
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(record.clone());
    }

    /// The observer begins anew: what was open ends unknown, as of its last entry.
    pub fn restart(&mut self) {
        self.recent.clear();
        for (_subject, mut incident) in std::mem::take(&mut self.open) {
            incident.close_unseen();
            self.keep(incident);
        }
    }

    /// It is `now` by the boot-time clock: what has been well for long enough is over.
    pub fn advance(&mut self, now_ns: u64) {
        let settle = u64::try_from(self.policy.settle.as_nanos()).unwrap_or(u64::MAX);
        let over = |incident: &Incident| {
            incident.well_since.is_some_and(|(since, _wall)| now_ns.saturating_sub(since) >= settle)
        };
        let ended: Vec<Subject> =
            self.open.iter().filter(|(_subject, it)| over(it)).map(|(subject, _)| subject.clone()).collect();
        for subject in ended {
            if let Some(incident) = self.open.remove(&subject) {
                self.keep(incident);
            }
        }
    }

    /// All that are remembered, the youngest first.
    pub fn incidents(&self) -> Vec<&Incident> {
        let mut all: Vec<&Incident> = self.open.values().chain(&self.closed).collect();
        all.sort_by(|a, b| (b.began_unix_ms, &b.id).cmp(&(a.began_unix_ms, &a.id)));
        all
    }

    /// The one with this id.
    pub fn find(&self, id: &str) -> Option<&Incident> {
        self.open.values().chain(&self.closed).find(|incident| incident.id == id)
    }

    fn begin(&mut self, record: &Record) {
        if self.open.len() >= self.policy.open {
            return;
        }
        let subject = &record.transition.subject;
        let mut incident = Incident::new(record);
        let before = u64::try_from(self.policy.before.as_nanos()).unwrap_or(u64::MAX);
        for earlier in &self.recent {
            let recent = record.boottime_ns.saturating_sub(earlier.boottime_ns) <= before;
            // What was well again before has not led to it.
            if recent
                && concerns(subject, &earlier.transition.subject)
                && matches!(part(&earlier.transition), Part::Fault | Part::Action)
            {
                incident.add(&self.policy, earlier);
            }
        }
        self.open.insert(subject.clone(), incident);
    }

    fn keep(&mut self, incident: Incident) {
        if self.closed.len() >= self.policy.kept {
            self.closed.pop_front();
        }
        self.closed.push_back(incident);
    }
}

impl Incident {
    fn new(record: &Record) -> Self {
        let subject = record.transition.subject.clone();
        let name = subject.name().replace(|it: char| !it.is_ascii_alphanumeric() && !"._-".contains(it), "_");
        Self {
            id: format!("{}-{}-{name}", record.at_unix_ms, subject.kind()),
            severity: Severity::Note,
            cause: record.transition.cause.to_string(),
            planned: record.transition.planned,
            began_unix_ms: record.at_unix_ms,
            ended_unix_ms: None,
            down: Duration::ZERO,
            lasted: Duration::ZERO,
            actions: Vec::new(),
            entries: Vec::new(),
            left_out: 0,
            began_ns: record.boottime_ns,
            down_since_ns: None,
            well_since: None,
            subject,
        }
    }

    fn add(&mut self, policy: &Policy, record: &Record) {
        let part = part(&record.transition);
        let since = Duration::from_nanos(record.boottime_ns.saturating_sub(self.began_ns));
        if let (Part::Action, true) = (part, self.actions.len() < ACTIONS_MAX) {
            self.actions.push(format!("{} after {:.1} s", text(&record.transition), since.as_secs_f64()));
        }
        if self.ended_unix_ms.is_none() {
            self.lasted = since;
        }
        if self.entries.len() >= policy.entries && record.transition.subject != self.subject {
            self.left_out += 1;
        } else if self.entries.len() < policy.entries + 100 {
            self.entries.push(Entry { part, record: record.clone() });
        } else {
            self.left_out += 1;
        }
    }

    fn stand(&mut self, standing: &Standing, record: &Record) {
        let now = record.boottime_ns;
        if let Some(since) = self.down_since_ns.take() {
            self.down += Duration::from_nanos(now.saturating_sub(since));
        }
        self.lasted = Duration::from_nanos(now.saturating_sub(self.began_ns));
        match standing {
            Standing::Well => {
                self.well_since = Some((now, record.at_unix_ms));
                self.ended_unix_ms = Some(record.at_unix_ms);
            }
            Standing::Amiss(severity) => {
                if *severity > self.severity {
                    self.severity = *severity;
                    // The worst is what it is named after.
                    self.cause = record.transition.cause.to_string();
                }
                self.planned &= record.transition.planned;
                self.well_since = None;
                self.ended_unix_ms = None;
                if *severity == Severity::Down {
                    self.down_since_ns = Some(now);
                }
            }
            Standing::Unknown => {
                self.well_since = Some((now, record.at_unix_ms));
                self.ended_unix_ms = Some(record.at_unix_ms);
            }
        }
    }

    fn close_unseen(&mut self) {
        let last = self.entries.last().map_or(self.began_unix_ms, |entry| entry.record.at_unix_ms);
        self.ended_unix_ms.get_or_insert(last);
        self.down_since_ns = None;
    }

    /// For how long users were not served until `now_ns` of the boot-time clock.
    pub fn down_until(&self, now_ns: u64) -> Duration {
        let open = self.down_since_ns.map_or(0, |since| now_ns.saturating_sub(since));
        self.down + Duration::from_nanos(open)
    }

    /// How long it lasts or lasted, as of `now_ns` of the boot-time clock.
    pub fn lasted_until(&self, now_ns: u64) -> Duration {
        match self.ended_unix_ms {
            Some(_ended) => self.lasted,
            None => Duration::from_nanos(now_ns.saturating_sub(self.began_ns)),
        }
    }

    /// Whether it has ended, as far as is known.
    pub const fn is_over(&self) -> bool {
        self.ended_unix_ms.is_some()
    }

    /// A line for people.
    pub fn title(&self) -> String {
        let how = match (self.severity, self.planned) {
            (Severity::Down, true) => "down by plan",
            (Severity::Down, false) => "down",
            (Severity::Degraded, _) => "degraded",
            (Severity::Note, _) => "changed",
        };
        match &self.subject {
            Subject::Service { name } => format!("{name}: {how}"),
            Subject::Cluster => "the cluster has no quorum".to_owned(),
            Subject::Member { name } => format!("node {name} is away"),
            other => format!("{other}: {how}"),
        }
    }
}

/// How whatever an incident can be about stands after a transition; `None` for all others.
fn standing(transition: &Transition) -> Option<Standing> {
    let (aspect, to) = (transition.change.aspect, transition.change.to);
    let severity = match (&transition.subject, aspect) {
        (Subject::Service { .. } | Subject::Database { .. }, Aspect::Standing)
        | (Subject::Probe { .. }, Aspect::Probe) => Severity::Down,
        (Subject::Cluster, Aspect::Quorum) | (Subject::Member { .. }, Aspect::Membership) => Severity::Note,
        _no_incident => return None,
    };
    Some(match to {
        Word::Up | Word::Present => Standing::Well,
        Word::Degraded => Standing::Amiss(Severity::Degraded),
        Word::Down | Word::Lost | Word::Away => Standing::Amiss(severity),
        _not_known => Standing::Unknown,
    })
}

/// Whether what happens to `subject` belongs into an incident about `about`.
fn concerns(about: &Subject, subject: &Subject) -> bool {
    if about == subject {
        return true;
    }
    match (about, subject) {
        (Subject::Service { name }, other) if other.service().is_some() => other.service() == Some(name),
        (_, Subject::Endpoint { .. } | Subject::Service { .. } | Subject::Probe { .. } | Subject::Listener { .. }) => {
            false
        }
        (_, Subject::Alert { .. } | Subject::Objective { .. } | Subject::Certificate { .. }) => false,
        (_, Subject::Database { .. }) => false,
        // What happens to nodes, addresses, roles, routes and configurations may have to do with anything.
        (_, Subject::Node { .. } | Subject::Route { .. } | Subject::Address { .. } | Subject::Role { .. }) => true,
        (_, Subject::Member { .. } | Subject::Cluster | Subject::Config { .. }) => true,
    }
}

/// What part a transition plays in an incident.
pub fn part(transition: &Transition) -> Part {
    let action = matches!(
        (transition.change.aspect, transition.change.to),
        (Aspect::Ejection, Word::Ejected)
            | (Aspect::Weight, Word::Eased)
            | (Aspect::Breaker, Word::Open)
            | (Aspect::Drain, Word::Draining)
            | (Aspect::Guard | Aspect::Quarantine, Word::On)
            | (Aspect::Holder, Word::Held | Word::Moved)
            | (Aspect::Configuration, Word::RollingBack | Word::RolledBack | Word::Applied)
            | (Aspect::Life, Word::HandedOver)
    ) || (transition.change.aspect, transition.change.from, transition.change.to)
        == (Aspect::Health, Word::Up, Word::Down);
    match (action, level(transition)) {
        (true, _) => Part::Action,
        (false, Level::Bad) => Part::Fault,
        (false, Level::Good) => Part::Recovery,
        (false, Level::Note) => Part::Note,
    }
}

#[cfg(test)]
mod tests;
