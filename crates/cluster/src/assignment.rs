//! The planner of floating addresses. One node at a time holds the role; it observes what nodes say of themselves and what
//! operators ask for, and writes the plan in a transaction that its fencing token guards. Every node then campaigns for the
//! addresses that the plan gives it.

mod observe;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::assign::{Plan, Policy, plan};
use mainstay_core::lease::Token;
use mainstay_core::time::Moment;

use crate::coordinator::{
    Compare, Coordinator, Error, Operation, Range, TRANSACTION_PARTS_MAX, Transaction, TransactionReply, Watch,
};
use crate::keys;
use crate::role::{Follow, Role, Stops};
use crate::session::{Session, TooMany};

pub use observe::{Candidacy, Request};
use observe::{Known, Memory};

/// The role's name.
pub const ROLE: &str = "planner";
/// What depends on time alone is looked at this often.
const LOOK: Duration = Duration::from_millis(500);
/// No answer of the coordinator is waited for longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// After the coordinator could not be asked.
const PAUSE: Duration = Duration::from_millis(100);

/// How the planner is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The addresses.
    pub policy: Policy,
    /// How long after the node's own start others may still be starting, unless they were seen and are gone.
    pub settle: Duration,
}

impl Settings {
    /// With the usual time for nodes to start.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, settle: Duration::from_secs(3) }
    }
}

/// Takes part in the planning until `leave` is over.
///
/// # Errors
/// If the session has no room for the role.
pub async fn run(
    session: Session,
    coordinator: Arc<dyn Coordinator>,
    settings: Settings,
    leave: impl Future<Output = ()>,
) -> Result<(), TooMany> {
    let role = session.role(keys::role(ROLE), Stops::Fenced)?;
    role.want(true);
    let started = session.now();
    let mut planner = Planner { session, coordinator, settings, started, memory: Memory::default() };
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
    session: Session,
    coordinator: Arc<dyn Coordinator>,
    settings: Settings,
    /// When this node began.
    started: Moment,
    memory: Memory,
}

impl Planner {
    async fn live(&mut self, role: &Role) {
        let mut follow = role.follow();
        loop {
            let Some(token) = role.holds(self.session.now()) else {
                tokio::select! {
                    biased;
                    held = follow.changed() => if !held { return },
                    () = self.look_around() => {}
                }
                continue;
            };
            if let Err(error) = self.reign(role, &mut follow, token).await {
                tracing::debug!(%error, "addresses: the planner cannot go on, and begins anew");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// While others may still be starting: who is there, from time to time. Whoever was there and is gone when this node has
    /// to plan, perhaps because the planner has died, is not starting.
    async fn look_around(&mut self) {
        if self.session.now().since(self.started) >= self.settings.settle {
            return std::future::pending().await;
        }
        // What cannot be read now is read the next time.
        if let Ok(known) = self.read().await {
            self.memory.note(&known);
        }
        tokio::time::sleep(LOOK).await;
    }

    /// Plans for as long as the role is held with this token.
    async fn reign(&mut self, role: &Role, follow: &mut Follow, token: Token) -> Result<(), Error> {
        let known = self.read().await?;
        let from = known.revision + 1;
        let mut addresses = within(self.coordinator.watch(Range::prefix(keys::ADDRESSES), from)).await?;
        let mut nodes = within(self.coordinator.watch(Range::prefix(keys::NODES), from)).await?;
        self.decide(token, known).await?;
        // Renewals may come more often than it is looked, and must not put that off.
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while role.holds(self.session.now()) == Some(token) {
            tokio::select! {
                biased;
                held = follow.changed() => if !held { return Ok(()) },
                told = either(&mut *addresses, &mut *nodes) => {
                    told?;
                    let known = self.read().await?;
                    self.decide(token, known).await?;
                }
                _time = looks.tick() => {
                    let known = self.read().await?;
                    self.decide(token, known).await?;
                }
            }
        }
        Ok(())
    }

    async fn read(&self) -> Result<Known, Error> {
        let every = |prefix: &str| Operation::Range { range: Range::prefix(prefix), limit: 0 };
        let reading = Transaction::always([every(keys::ADDRESSES), every(keys::NODES)]);
        Ok(Known::of(within(self.coordinator.transact(reading)).await?))
    }

    /// Writes the plan if it is another one, and takes note of what operators asked for.
    async fn decide(&mut self, token: Token, known: Known) -> Result<(), Error> {
        let now = self.session.now();
        let starting = now.since(self.started) < self.settings.settle;
        let observation = self.memory.observe(now, &known, starting);
        let next = plan(&self.settings.policy, &observation, &known.plan);
        let mut operations = Vec::new();
        if next != known.plan || (known.plan_revision == 0 && next.number > 0) {
            operations.push(Operation::put(keys::ADDRESS_PLAN, encode(&next), None));
        }
        // Each request is looked at once, whatever becomes of it.
        let answered = known.requests.iter().take(TRANSACTION_PARTS_MAX / 2);
        operations.extend(answered.map(|(ip, _)| Operation::delete(keys::requested_move(ip))));
        if operations.is_empty() {
            return Ok(());
        }
        let guarded =
            [Compare::created(keys::role(ROLE), token), Compare::modified(keys::ADDRESS_PLAN, known.plan_revision)];
        let reply: TransactionReply = within(self.coordinator.transact(Transaction::when(guarded, operations))).await?;
        if reply.succeeded && next.number != known.plan.number {
            for (ip, owner) in next.owners.iter().filter(|(ip, owner)| known.plan.owners.get(ip) != Some(owner)) {
                let before = known.plan.owner(*ip).unwrap_or("nobody");
                tracing::info!(address = %ip, from = before, to = owner.node, plan = next.number, "addresses: planned");
            }
        }
        Ok(())
    }
}

/// The plan as it is stored under [`keys::ADDRESS_PLAN`].
pub fn encode(plan: &Plan) -> Bytes {
    serde_json::to_vec(plan).unwrap_or_default().into()
}

/// Reads a stored plan; `None` if it is not one.
pub fn decode(bytes: &[u8]) -> Option<Plan> {
    serde_json::from_slice(bytes).ok()
}

async fn either(one: &mut dyn Watch, other: &mut dyn Watch) -> Result<(), Error> {
    tokio::select! {
        batch = one.next() => batch.map(|_changes| ()),
        batch = other.next() => batch.map(|_changes| ()),
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Unknown(format!("no answer within {ANSWER_WITHIN:?}"));
    tokio::time::timeout(ANSWER_WITHIN, call).await.unwrap_or_else(|_elapsed| Err(late()))
}

#[cfg(test)]
mod tests;
