//! What a node knows of its groups: follows the store, and hands it to the members' drivers and to the board.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay_cluster::coordinator::{Consistency, Coordinator, Range};
use mainstay_cluster::session::{Session, Standing};
use mainstay_core::database::{Policy, obstacle};
use tokio::sync::watch;

use super::board::{Board, Engine, Member, View};
use super::follow::{News, follow, within};
use super::keys::DATABASES;
use super::memory::Memory;
use super::stored::{Groups, Stored};
use super::words::describe_obstacle;

/// How often the board is told what depends on time alone.
const LOOK: Duration = Duration::from_millis(500);

/// A group as the configuration has it.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What kind of servers it has.
    pub engine: Engine,
    /// Its members in their order, with where their servers listen.
    pub members: Vec<(String, SocketAddr)>,
    /// How it is kept.
    pub policy: Policy,
}

/// What stands in the store, for the members' drivers of this node.
#[derive(Debug)]
pub struct Feeds(BTreeMap<String, watch::Sender<Arc<Stored>>>);

impl Feeds {
    /// Of these groups nothing is known yet.
    pub fn new(groups: &[Group]) -> Self {
        let feed = |group: &Group| (group.name.clone(), watch::Sender::new(Arc::new(Stored::default())));
        Self(groups.iter().map(feed).collect())
    }

    /// One group's; `None` if there is no such group.
    pub fn of(&self, group: &str) -> Option<watch::Receiver<Arc<Stored>>> {
        Some(self.0.get(group)?.subscribe())
    }
}

/// Follows the store until `leave` is over.
pub async fn run(
    session: Session,
    coordinator: Arc<dyn Coordinator>,
    groups: Vec<Group>,
    feeds: Feeds,
    board: Board,
    leave: impl Future<Output = ()>,
) {
    for group in &groups {
        let members = group.members.iter();
        let member = |(node, address): &(String, SocketAddr)| Member {
            node: node.clone(),
            address: *address,
            alive: false,
            report: None,
        };
        let view = View {
            engine: group.engine,
            plan: Default::default(),
            is_current: false,
            members: members.map(member).collect(),
            own: None,
            obstacle: None,
            end: None,
            paused: false,
            failovers: Vec::new(),
        };
        board.set(&group.name, view);
    }
    let known = Groups::new(groups.iter().map(|group| group.name.clone()));
    let memories = groups.iter().map(|_| Memory::default()).collect();
    let mut viewer = Viewer { session, coordinator, groups, known, memories, feeds, board, read_on: None };
    tokio::pin!(leave);
    tokio::select! {
        biased;
        () = &mut leave => {}
        () = viewer.live() => {}
    }
}

struct Viewer {
    session: Session,
    coordinator: Arc<dyn Coordinator>,
    groups: Vec<Group>,
    known: Groups,
    /// As the groups.
    memories: Vec<Memory>,
    feeds: Feeds,
    board: Board,
    /// The lease that everything was read anew on.
    read_on: Option<i64>,
}

impl Viewer {
    async fn live(&mut self) {
        let (mut news, _following) = follow(Arc::clone(&self.coordinator));
        let mut standing = self.session.follow();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                heard = news.recv() => match heard {
                    Some(heard) => self.hear(heard),
                    None => return,
                },
                changed = standing.changed() => if changed.is_err() { return },
                _time = looks.tick() => {}
            }
            if let Some(lease) = self.lease().filter(|lease| self.read_on != Some(*lease)) {
                self.read(lease).await;
            }
            self.tell();
        }
    }

    fn lease(&self) -> Option<i64> {
        match self.session.standing() {
            Standing::Held(term) if self.session.now() < term.deadline => Some(term.lease),
            Standing::Held(_) | Standing::Without | Standing::Closed => None,
        }
    }

    /// What is known is not older than the session.
    async fn read(&mut self, lease: i64) {
        let every = Range::prefix(DATABASES);
        let listing = within(self.coordinator.range(every, None, 0, Consistency::Linearizable)).await;
        match listing {
            Ok(listing) => {
                self.hear(News::Whole(listing));
                self.read_on = Some(lease);
            }
            Err(error) => tracing::debug!(%error, "databases: what stands in the store cannot be read yet"),
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Whole(listing) => {
                self.known.read(&listing);
                self.memories.iter_mut().for_each(Memory::forget);
            }
            News::Batch(batch) => self.known.apply(&batch),
        }
        let now = self.session.now();
        for (group, memory) in self.groups.iter().zip(&mut self.memories) {
            let (Some(stored), Some(feed)) = (self.known.get(&group.name), self.feeds.0.get(&group.name)) else {
                continue;
            };
            memory.note(&group.policy, stored, now);
            feed.send_if_modified(|told| {
                let differs = **told != *stored;
                if differs {
                    *told = Arc::new(stored.clone());
                }
                differs
            });
        }
    }

    fn tell(&self) {
        let is_current = self.lease().is_some_and(|lease| self.read_on == Some(lease));
        let now = self.session.now();
        for (group, memory) in self.groups.iter().zip(&self.memories) {
            let Some(stored) = self.known.get(&group.name) else { continue };
            let plan = stored.plan.clone().unwrap_or_default();
            let observation = memory.observe(&group.policy, stored, None, now);
            let hindered = obstacle(&group.policy, &observation, &plan).map(|obstacle| describe_obstacle(&obstacle));
            let failovers = stored.failovers();
            self.board.update(&group.name, |view| {
                for member in &mut view.members {
                    member.alive = stored.reports.contains_key(&member.node);
                    member.report = stored.report(&member.node).cloned();
                }
                view.plan = plan;
                view.is_current = is_current;
                view.obstacle = hindered;
                view.end = observation.end;
                view.paused = stored.paused;
                view.failovers = failovers;
            });
        }
    }
}
