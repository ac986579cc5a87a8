//! The planner of groups. One node at a time holds the role; it follows what members say of themselves and what operators ask
//! for, and writes the plans in transactions that its fencing token guards. All nodes follow, so that one that takes the role
//! over knows what was seen.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_cluster::coordinator::{Compare, Coordinator, Error, Operation, Transaction};
use mainstay_cluster::role::{Role, Stops};
use mainstay_cluster::session::{Session, TooMany};
use mainstay_core::database::{Obstacle, Phase, Plan, Policy, obstacle, plan};
use mainstay_core::lease::Token;
use mainstay_core::time::Moment;
use mainstay_core::transition::{Aspect, Subject, Transition, Word};
use mainstay_runtime::journal::Journal;

use super::board::{FAILOVERS_MAX, Failover};
use super::fencing::Fencing;
use super::follow::{News, follow, within};
use super::keys;
use super::memory::Memory;
use super::stored::{Groups, Stored, encode};
use super::words::{describe_failover, describe_obstacle};
use crate::fence::stonith::Hook;

/// The role's name.
pub const ROLE: &str = "databases";
/// What depends on time alone is looked at this often. Nothing is asked of the store for it.
const LOOK: Duration = Duration::from_millis(50);
/// How long after this node's own start a primary that was not seen yet may be starting too.
const SETTLE: Duration = Duration::from_secs(5);
/// What was written is heard of in this time, or it is asked for again.
const NEWS_WITHIN: Duration = Duration::from_secs(1);

/// Takes part in the planning of these groups until `leave` is over.
///
/// # Errors
/// If the session has no room for the role.
pub async fn run(
    session: Session,
    coordinator: Arc<dyn Coordinator>,
    policies: BTreeMap<String, Policy>,
    hooks: BTreeMap<String, Hook>,
    journal: Journal,
    leave: impl Future<Output = ()>,
) -> Result<(), TooMany> {
    let role = session.role(mainstay_cluster::keys::role(ROLE), Stops::Fenced)?;
    role.want(true);
    let groups = Groups::new(policies.keys().cloned());
    let memories = policies.keys().map(|name| (name.clone(), Memory::default())).collect();
    let started = session.now();
    let fencing = Fencing::new(hooks);
    let mut planner = Planner {
        fencing,
        started,
        session,
        coordinator,
        policies,
        groups,
        memories,
        stale: BTreeMap::new(),
        said: BTreeMap::new(),
        journal,
    };
    tokio::pin!(leave);
    tokio::select! {
        biased;
        () = &mut leave => {}
        () = planner.live(&role) => {}
    }
    role.resign().await;
    Ok(())
}

struct Planner {
    fencing: Fencing,
    /// Where changes of primary are told.
    journal: Journal,
    /// When this node began.
    started: Moment,
    session: Session,
    coordinator: Arc<dyn Coordinator>,
    policies: BTreeMap<String, Policy>,
    groups: Groups,
    memories: BTreeMap<String, Memory>,
    /// Groups of which the store may have something else than is known here, and until when it is waited for the news of it.
    stale: BTreeMap<String, Moment>,
    /// Why nobody is promoted, as it was told.
    said: BTreeMap<String, String>,
}

impl Planner {
    async fn live(&mut self, role: &Role) {
        let (mut news, _following) = follow(Arc::clone(&self.coordinator));
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut token = None;
        loop {
            tokio::select! {
                biased;
                heard = news.recv() => match heard {
                    Some(heard) => self.hear(heard),
                    None => return,
                },
                _time = looks.tick() => {}
            }
            // Everything that has come is heard before anything is decided.
            while let Ok(heard) = news.try_recv() {
                self.hear(heard);
            }
            let held = role.holds(self.session.now());
            if held != token {
                token = held;
                self.stale.clear();
                self.note();
            }
            let Some(token) = token else {
                self.fencing.forget();
                continue;
            };
            for name in self.policies.keys().cloned().collect::<Vec<_>>() {
                if let Err(error) = self.decide(token, &name).await {
                    tracing::debug!(%error, group = name, "databases: the plan was not written, and is made anew");
                }
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Whole(listing) => {
                self.groups.read(&listing);
                self.memories.values_mut().for_each(Memory::forget);
            }
            News::Batch(batch) => self.groups.apply(&batch),
        }
        self.stale.clear();
        self.note();
    }

    fn note(&mut self) {
        let now = self.session.now();
        for (name, memory) in &mut self.memories {
            if let (Some(policy), Some(stored)) = (self.policies.get(name), self.groups.get(name)) {
                memory.note(policy, stored, now);
            }
        }
    }

    /// Writes the plan if it is another one, and takes away what an operator asked for once it was looked at.
    async fn decide(&mut self, token: Token, name: &str) -> Result<(), Error> {
        let now = self.session.now();
        let (Some(policy), Some(stored)) = (self.policies.get(name), self.groups.get(name)) else { return Ok(()) };
        let (Some(memory), Some(previous)) = (self.memories.get_mut(name), &stored.plan) else { return Ok(()) };
        if self.stale.get(name).is_some_and(|until| now < *until) {
            return Ok(());
        }
        memory.note(policy, stored, now);
        let request = stored.request.as_ref().and_then(|(_, request)| request.clone());
        let mut observation = memory.observe(policy, stored, request.clone(), now);
        observation.fenced = self.fencing.off(name, previous.term);
        let hindered = obstacle(policy, &observation, previous);
        self.fencing.look(name, previous.term, hindered.as_ref(), now, policy.restart_within);
        if !matches!(hindered, Some(Obstacle::NotFenced { .. })) {
            memory.note_fenced(now);
        }
        say(&mut self.said, name, hindered);
        let next = plan(policy, &observation, previous);
        let is_starting = |primary: &str| now.since(self.started) < SETTLE && !memory.has_met(primary);
        let held = request.is_none() && begins(previous, &next).is_some_and(is_starting);
        let next = if held { previous.clone() } else { next };
        let failover = memory.failover(&next, self.session.ttl(), now, unix_ms());
        let operations = operations(name, stored, previous, &next, failover.as_ref());
        if operations.is_empty() {
            return Ok(());
        }
        let (plan_revision, asked) = (stored.plan_revision, stored.request.as_ref().map_or(0, |(since, _)| *since));
        let guarded = [
            Compare::created(mainstay_cluster::keys::role(ROLE), token),
            Compare::modified(keys::plan(name), plan_revision),
            Compare::modified(keys::request(name), asked),
        ];
        let before = previous.clone();
        let why = previous.serving().map(|from| memory.why(from, stored, request.as_ref(), now)).unwrap_or_default();
        let reply = within(self.coordinator.transact(Transaction::when(guarded, operations))).await;
        // Whatever came of it, what is known here is older than that.
        self.stale.insert(name.to_owned(), self.session.now().after(NEWS_WITHIN));
        if !reply?.succeeded {
            return Ok(());
        }
        self.tell(name, &before, &next, (&why, failover.as_ref()));
        Ok(())
    }

    fn tell(&self, group: &str, before: &Plan, next: &Plan, (why, failover): (&str, Option<&Failover>)) {
        if before.phase != next.phase {
            tracing::info!(group, term = next.term, plan = next.number, phase = ?next.phase, "databases: planned");
        }
        // A group's primary is a role that one node has at a time.
        let subject = Subject::Role { name: format!("database/{group}") };
        let record = |from: Word, to: Word, cause: String, planned: bool| {
            self.journal
                .record(Transition::new(subject.clone(), Aspect::Holder, from, to).because(cause).planned(planned));
        };
        match (&before.phase, &next.phase) {
            (Phase::Serving { primary }, Phase::Electing { forced, .. }) => {
                record(Word::Present, Word::Lost, format!("{primary} is to be replaced: {why}"), forced.is_some());
            }
            (Phase::Serving { primary }, Phase::Yielding { to, .. }) => {
                record(Word::Present, Word::Leaving, format!("{primary} hands over to {to}"), true);
            }
            (_, Phase::Serving { primary }) if failover.is_none() && before.phase != next.phase => {
                record(Word::Absent, Word::Present, format!("{primary} is primary with term {}", next.term), true);
            }
            _ => {}
        }
        if let Some(failover) = failover {
            let Failover { from, to, cause, risk, .. } = failover;
            tracing::warn!(group, from, to, cause, ?risk, "databases: writes go to another primary");
            record(Word::Absent, Word::Moved, describe_failover(failover), failover.planned);
        }
    }
}

/// The primary that is to be replaced, if that begins now.
fn begins<'a>(previous: &'a Plan, next: &Plan) -> Option<&'a str> {
    previous.serving().filter(|_| matches!(next.phase, Phase::Electing { .. }))
}

fn operations(
    name: &str,
    stored: &Stored,
    previous: &Plan,
    next: &Plan,
    failover: Option<&Failover>,
) -> Vec<Operation> {
    let mut operations = Vec::new();
    if next != previous {
        operations.push(Operation::put(keys::plan(name), encode(next), None));
    }
    if let Some(failover) = failover.filter(|_| next != previous) {
        let history: Vec<&Failover> = [failover].into_iter().chain(&stored.history).take(FAILOVERS_MAX).collect();
        operations.push(Operation::put(keys::history(name), encode(&history), None));
        // What was found out later of changes that are forgotten goes with them.
        let is_forgotten = |term: &&u64| history.iter().all(|failover| failover.term != **term);
        let routed = stored.routed.keys().filter(is_forgotten).map(|term| keys::routed(name, *term));
        let losses = stored.losses.keys().filter(is_forgotten).map(|term| keys::loss(name, *term));
        operations.extend(routed.chain(losses).map(Operation::delete));
    }
    // Each request is looked at once, whatever becomes of it.
    operations.extend(stored.request.as_ref().map(|_| Operation::delete(keys::request(name))));
    operations
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Says why nobody is promoted, once.
fn say(said: &mut BTreeMap<String, String>, group: &str, obstacle: Option<Obstacle>) {
    // That more members may answer soon is no news.
    let reason = obstacle.filter(|obstacle| *obstacle != Obstacle::Gathering).map(|it| describe_obstacle(&it));
    if said.get(group) == reason.as_ref() {
        return;
    }
    match reason {
        Some(reason) => {
            tracing::info!(group, reason, "databases: nobody is promoted yet");
            said.insert(group.to_owned(), reason);
        }
        None => {
            said.remove(group);
        }
    }
}
