//! The loop that feeds the machine each second, carries its messages out, and shows how things stand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::alert::{AgentSeen, Alerts, Condition, Delivery, Fingerprint, Millis, Muted, State};
use mainstay_core::random::Rng;
use mainstay_runtime::task::{self, Kind};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::clock;
use super::desk::{Desk, View};
use super::keep::Place;
use super::send::{Network, Sender};
use super::settings::Settings;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);
/// What is under way when the node leaves has this long to arrive.
const LAST_MESSAGES: Duration = Duration::from_secs(3);

/// What a look around says.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// Nothing yet: the node is starting.
    Wait,
    /// The node leaves: another process or node goes on.
    Gone,
    /// What is wrong.
    Seen(Vec<Condition>),
}

/// Looks around; it is told which receivers cannot be reached.
pub type Eyes = Box<dyn FnMut(Vec<AgentSeen>) -> Look>;
/// Is told of alerts that begin to fire (true) or end.
pub type Ears = Box<dyn Fn(&mainstay_core::alert::Instance, bool)>;

/// What the loop works with.
pub struct Parts {
    /// What it shares with others.
    pub desk: Arc<Desk>,
    /// What it sees by.
    pub eyes: Eyes,
    /// Who hears of it in the process.
    pub ears: Ears,
    /// Of the random numbers in waits between retries.
    pub seed: u64,
}

struct Evaluation {
    token: u64,
    alerts: Alerts,
    saved: Option<u64>,
    firing: BTreeMap<Fingerprint, Millis>,
}

struct Done {
    token: u64,
    delivery: Delivery,
    result: Result<(), String>,
}

struct Loop<'p> {
    parts: Parts,
    place: &'p dyn Place,
    settings: Arc<Settings>,
    sender: Option<Arc<dyn Sender>>,
    current: Option<Evaluation>,
    rng: Rng,
    give: UnboundedSender<Done>,
    under_way: usize,
}

/// Evaluates alerts whenever it is this node's turn, until the node leaves.
pub async fn run(parts: Parts, place: &dyn Place) {
    let (give, mut results) = unbounded_channel();
    let settings = parts.desk.settings();
    let rng = Rng::seeded(parts.seed);
    let mut this = Loop { parts, place, settings, sender: None, current: None, rng, give, under_way: 0 };
    this.connect();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let desk = Arc::clone(&this.parts.desk);
    loop {
        tokio::select! {
            biased;
            Some(done) = results.recv() => this.take(done),
            () = desk.asked() => {}
            _tick = ticks.tick() => {}
        }
        if !this.turn().await {
            break;
        }
    }
    let rest = async {
        while this.under_way > 0 {
            let Some(done) = results.recv().await else { return };
            this.take(done);
        }
    };
    if tokio::time::timeout(LAST_MESSAGES, rest).await.is_err() {
        tracing::info!("alerts: messages that are under way are left to whoever goes on");
    }
    this.keep().await;
}

impl Loop<'_> {
    fn connect(&mut self) {
        self.sender = None;
        // A client reads the system's certificates, which is much to keep where nobody is told.
        if !self.settings.destinations.is_empty() {
            match Network::new(&self.settings) {
                Ok(network) => self.sender = Some(Arc::new(network)),
                Err(error) => tracing::error!(error, "alerts are not delivered"),
            }
        }
        let names: Vec<String> = self.settings.destinations.iter().map(|it| it.receiver.name.clone()).collect();
        self.parts.desk.forget_receivers(&names);
        names.iter().for_each(|name| self.parts.desk.note(name, |_outcome| {}));
    }

    /// One round. False once the node leaves.
    async fn turn(&mut self) -> bool {
        let settings = self.parts.desk.settings();
        if !Arc::ptr_eq(&settings, &self.settings) {
            self.settings = settings;
            self.connect();
            if let Some(current) = &mut self.current {
                current.alerts.adopt(self.settings.policy());
            }
        }
        let agents = self.agents();
        let own = match (self.parts.eyes)(agents) {
            Look::Gone => return false,
            Look::Wait => return true,
            Look::Seen(conditions) => self.settings.adjust(conditions),
        };
        let conditions = self.place.exchange(own);
        let now = clock::now();
        self.stand().await;
        let Some(current) = &mut self.current else {
            self.show(now);
            return true;
        };
        let silences = self.parts.desk.silences();
        current.alerts.observe(now, &conditions, &silences);
        for (id, by) in self.parts.desk.acknowledgements() {
            // One whose alert does not fire is of no use any more.
            if !current.alerts.acknowledge(id, by) {
                self.parts.desk.forget_acknowledgement(id);
            }
        }
        self.tell_of_changes();
        let swept = self.parts.desk.sweep(now);
        if self.keep_if(swept).await {
            self.dispatch(now);
        }
        self.show(now);
        true
    }

    /// Takes up the evaluation, or leaves it.
    async fn stand(&mut self) {
        let token = self.place.evaluates();
        if self.current.as_ref().map(|current| current.token) == token {
            return;
        }
        self.current = None;
        let Some(token) = token else { return };
        match self.place.load().await {
            Ok(state) => {
                let fired = |it: &mainstay_core::alert::Instance| it.fired().filter(|_since| it.is_firing());
                let firing = state.alerts.iter().filter_map(|(id, it)| Some((*id, fired(it)?))).collect();
                let alerts = Alerts::new(self.settings.policy(), state);
                self.current = Some(Evaluation { token, alerts, saved: None, firing });
            }
            Err(error) => tracing::warn!(error, "what is known of alerts cannot be read; trying again"),
        }
    }

    fn agents(&self) -> Vec<AgentSeen> {
        let Some(current) = &self.current else { return Vec::new() };
        let outcomes = self.parts.desk.outcomes();
        let error = |name: &str| outcomes.get(name).and_then(|it| it.last_error.clone()).unwrap_or_default();
        let failing = current.alerts.failing().into_iter();
        failing.map(|(name, failures)| AgentSeen { error: error(&name), name, failures }).collect()
    }

    async fn keep(&mut self) -> bool {
        self.keep_if(true).await
    }

    /// Keeps what has changed, or everything if `always`. False if it could not be.
    async fn keep_if(&mut self, always: bool) -> bool {
        let Some(current) = &mut self.current else { return false };
        let changes = current.alerts.changes();
        if !always && current.saved == Some(changes) {
            return true;
        }
        match self.place.save(current.alerts.state(), &self.parts.desk.silences()).await {
            Ok(()) => {
                current.saved = Some(changes);
                true
            }
            Err(error) => {
                tracing::warn!(error, "the state of alerts was not kept; nothing is sent before it is");
                false
            }
        }
    }

    fn dispatch(&mut self, now: Millis) {
        let Some(current) = &mut self.current else { return };
        while let Some(delivery) = current.alerts.next(now) {
            let (give, token) = (self.give.clone(), current.token);
            let sender = self.sender.clone();
            self.under_way += 1;
            task::spawn_local(Kind::Control, async move {
                let result = match sender {
                    Some(sender) => sender.send(&delivery).await,
                    None => Err("nothing can be sent: see the log".to_owned()),
                };
                // The loop is gone only if the node is.
                let _taken = give.send(Done { token, delivery, result });
            });
        }
    }

    fn take(&mut self, done: Done) {
        let now = clock::now();
        self.under_way = self.under_way.saturating_sub(1);
        let Done { token, delivery, result } = done;
        let (receiver, alerts) = (&delivery.receiver, delivery.items.len());
        match &result {
            Ok(()) => tracing::info!(receiver, alerts, firing = delivery.is_firing(), "alerts delivered"),
            Err(error) => {
                tracing::warn!(receiver, alerts, attempt = delivery.attempt + 1, error, "alerts not delivered")
            }
        }
        self.parts.desk.note(receiver, |outcome| match &result {
            Ok(()) => {
                outcome.delivered += 1;
                outcome.last_delivered = Some(now);
                outcome.last_error = None;
            }
            Err(error) => {
                outcome.failed += 1;
                outcome.last_error = Some(error.clone());
            }
        });
        // Of an evaluation that is over nothing is written: whoever has it now sends the message again.
        if let Some(current) = self.current.as_mut().filter(|current| current.token == token) {
            current.alerts.settled(now, delivery.id, result.is_ok(), &mut self.rng);
        }
    }

    fn tell_of_changes(&mut self) {
        let Some(current) = &mut self.current else { return };
        let state = current.alerts.state();
        let firing = state.alerts.iter().filter(|(_id, it)| it.is_firing());
        let firing: BTreeMap<_, _> = firing.filter_map(|(id, it)| Some((*id, it.fired()?))).collect();
        for (id, since) in &firing {
            if let (true, Some(alert)) = (current.firing.get(id) != Some(since), state.alerts.get(id)) {
                tracing::info!(
                    alert = alert.name(),
                    severity = alert.severity.word(),
                    summary = alert.summary,
                    "alert"
                );
                (self.parts.ears)(alert, true);
            }
        }
        for id in current.firing.keys().filter(|id| !firing.contains_key(id)) {
            if let Some(alert) = state.alerts.get(id) {
                tracing::info!(alert = alert.name(), summary = alert.summary, "alert is over");
                (self.parts.ears)(alert, false);
            }
        }
        current.firing = firing;
    }

    fn show(&self, now: Millis) {
        let policy = self.settings.policy();
        let seen;
        let (alerts, without_room) = match &self.current {
            Some(current) => (&current.alerts, current.alerts.without_room()),
            None => {
                let mut watched = Alerts::new(policy, self.place.watched());
                watched.consider(now, &self.parts.desk.silences());
                seen = watched;
                (&seen, 0)
            }
        };
        let state: State = alerts.state().clone();
        let muted = |id: &Fingerprint| Some((*id, alerts.muted(*id))).filter(|(_id, muted)| Muted::is_muted(muted));
        let muted = state.alerts.keys().filter_map(muted).collect();
        let waiting = alerts.waiting(now);
        for destination in &self.settings.destinations {
            let name = &destination.receiver.name;
            let waiting = if self.current.is_some() { waiting.get(name).copied().unwrap_or(0) } else { 0 };
            self.parts.desk.note(name, |outcome| outcome.waiting = waiting);
        }
        self.parts.desk.show(View { at: now, evaluator: self.place.evaluator(), state, muted, without_room });
    }
}
