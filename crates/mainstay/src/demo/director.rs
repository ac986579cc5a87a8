//! The course of the demo: does what the plan says when its time comes, watches what the gateway makes of it, and tells
//! the audience. One loop on one thread; the load runs beside it.

use std::time::Duration;

use mainstay_runtime::signal::Signals;
use rustix::process::Signal;
use tokio::time::{MissedTickBehavior, interval};

use crate::demo::audience::Audience;
use crate::demo::incident::{Change, Incident, effects};
use crate::demo::load::Load;
use crate::demo::schedule::{ENDPOINTS, Fault, Kind, NODE_NAMES, plan, plan_of_nodes};
use crate::demo::screen::{EndpointRow, NodeRow, Scene};
use crate::demo::stage::Stage;
use crate::demo::watch::{self, View, Watcher};
use crate::failure::Failure;

/// What a slow endpoint adds to every answer: `Kind::label` names it too.
const SLOW_BY_MS: u32 = 400;

/// A fault that has to wait for the nodes is left out if less time would be left after it.
const REST: Duration = Duration::from_secs(1);

/// The running demo.
pub(crate) struct Director<'a> {
    stage: &'a mut Stage,
    load: &'a Load,
    duration: Duration,
    watchers: Vec<Watcher>,
    /// What the gateways said last; none if one did not answer.
    views: Vec<Option<View>>,
    /// Of the one that serves.
    view: View,
    planned: std::vec::IntoIter<Fault>,
    next: Option<Fault>,
    active: Option<Active>,
    incidents: Vec<Incident>,
}

/// The fault that is under way, the last of the incidents.
#[derive(Clone, Copy, Debug)]
struct Active {
    fault: Fault,
    /// The node that it met.
    node: Option<usize>,
    half_done: bool,
}

impl Active {
    /// The node whose process is not there to be asked.
    fn silent(self) -> Option<usize> {
        self.node.filter(|_node| matches!(self.fault.kind, Kind::NodeKill | Kind::NodeFreeze))
    }
}

impl<'a> Director<'a> {
    /// Nothing has happened yet.
    pub(crate) fn new(stage: &'a mut Stage, load: &'a Load, duration: Duration) -> Self {
        let watchers = stage.watchers();
        let faults = if watchers.len() > 1 { plan_of_nodes(duration) } else { plan(duration) };
        let mut planned = faults.into_iter();
        let next = planned.next();
        let (view, views, incidents) = (View::default(), vec![None; watchers.len()], Vec::new());
        Self { stage, load, duration, watchers, views, view, planned, next, active: None, incidents }
    }

    /// Runs to the end of the time or until somebody ends it. What was done to endpoints is undone then.
    ///
    /// # Errors
    /// If the gateway ends, or an endpoint cannot be steered.
    pub(crate) async fn run(
        mut self,
        audience: &mut Audience,
        signals: &mut Signals,
    ) -> Result<Vec<Incident>, Failure> {
        let mut ticks = interval(watch::EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.load.elapsed() < self.duration {
            tokio::select! {
                biased;
                _signal = signals.next() => break,
                _tick = ticks.tick() => {}
            }
            self.stage.check(self.active.and_then(Active::silent))?;
            self.act(audience).await?;
            self.watch(audience).await;
            if audience.is_due(self.load.elapsed()) {
                audience.show(&self.scene());
            }
            if audience.wants_end() {
                break;
            }
        }
        // A hung endpoint would hold up the requests that wait for it, as would a frozen node.
        for endpoint in 0..ENDPOINTS {
            self.stage.signal(endpoint, Signal::CONT);
        }
        for gateway in 0..self.stage.gateways() {
            self.stage.signal_gateway(gateway, Signal::CONT);
        }
        self.stage.heal();
        Ok(self.incidents)
    }

    /// Begins and ends faults whose time has come.
    async fn act(&mut self, audience: &mut Audience) -> Result<(), Failure> {
        let now = self.load.elapsed();
        if let Some(active) = self.active {
            if now >= active.fault.end {
                self.end(active).await?;
                let now = self.load.elapsed();
                if let Some(incident) = self.incidents.last_mut() {
                    incident.ended = Some(now);
                }
                self.active = None;
                if let Some(incident) = self.incidents.last() {
                    audience.ended(incident, now);
                }
            } else if !active.half_done && now >= active.fault.begin + (active.fault.end - active.fault.begin) / 2 {
                self.half(active.fault)?;
                self.active = Some(Active { half_done: true, ..active });
            }
            return Ok(());
        }
        if let Some(fault) = self.due(now) {
            let node = if fault.kind.is_of_a_node() { self.holder() } else { None };
            // The time before it is done: what is measured from here on is rather too long than too short.
            let config = self.begin(fault, node).await?;
            self.incidents.push(Incident { config, node, ..Incident::new(fault, now) });
            self.active = Some(Active { fault, node, half_done: false });
            if let Some(incident) = self.incidents.last() {
                audience.begun(incident, now);
            }
        }
        Ok(())
    }

    /// The next fault if its time has come. Several nodes are never met by a second fault before they are whole: what would
    /// be shown then is a majority that is gone. What has no time left for itself after that is left out.
    fn due(&mut self, now: Duration) -> Option<Fault> {
        let fault = self.next.filter(|fault| now >= fault.begin)?;
        if self.views.len() < 2 {
            self.next = self.planned.next();
            return Some(fault);
        }
        let fault = fault.at(now);
        let fits = fault.end + REST < self.duration;
        if fits && !self.is_whole() {
            return None;
        }
        self.next = self.planned.next();
        fits.then_some(fault)
    }

    /// Whether all nodes are there and agree on who holds the address.
    fn is_whole(&self) -> bool {
        let holder = self.holder();
        let agrees = |view: &Option<View>| {
            let part = view.as_ref().and_then(|view| view.part.as_ref());
            part.is_some_and(|part| {
                part.quorum && part.holder.as_deref() == holder.and_then(|at| NODE_NAMES.get(at)).copied()
            })
        };
        holder.is_some() && self.views.iter().all(agrees)
    }

    /// The node that holds the address, as it says itself.
    fn holder(&self) -> Option<usize> {
        let holds =
            |view: &Option<View>| view.as_ref().and_then(|view| view.part.as_ref()).is_some_and(|part| part.holds);
        self.views.iter().position(holds)
    }

    async fn begin(&mut self, fault: Fault, node: Option<usize>) -> Result<Option<u64>, Failure> {
        if let Some(node) = node {
            match fault.kind {
                Kind::NodeKill => self.stage.signal_gateway(node, Signal::KILL),
                Kind::NodeFreeze => self.stage.signal_gateway(node, Signal::STOP),
                Kind::NodeCut => self.stage.cut(node, true),
                Kind::NodeMute => self.stage.cut(node, false),
                Kind::Move => self.stage.move_address(node, (node + 1) % self.views.len()).await?,
                Kind::Kill | Kind::Hang | Kind::Slow | Kind::Errors | Kind::Restart | Kind::Reload => {}
            }
            return Ok(None);
        }
        let Some(endpoint) = fault.endpoint else { return self.stage.reload().map(Some) };
        match fault.kind {
            Kind::Kill => self.stage.signal(endpoint, Signal::KILL),
            Kind::Hang => self.stage.signal(endpoint, Signal::STOP),
            Kind::Slow => self.stage.control(endpoint, &format!("delay/{SLOW_BY_MS}")).await?,
            Kind::Errors => self.stage.control(endpoint, "errors/on").await?,
            Kind::Restart => self.stage.drain(endpoint, false).await?,
            Kind::Reload => return self.stage.reload().map(Some),
            Kind::NodeKill | Kind::NodeFreeze | Kind::NodeCut | Kind::NodeMute | Kind::Move => {}
        }
        Ok(None)
    }

    /// Only a planned restart has something to do halfway: the endpoint is drained by then and can be replaced.
    fn half(&mut self, fault: Fault) -> Result<(), Failure> {
        match (fault.kind, fault.endpoint) {
            (Kind::Restart, Some(endpoint)) => {
                self.stage.signal(endpoint, Signal::TERM);
                self.stage.restart(endpoint)
            }
            _other => Ok(()),
        }
    }

    async fn end(&mut self, active: Active) -> Result<(), Failure> {
        let Active { fault, node, .. } = active;
        if let Some(node) = node {
            match fault.kind {
                Kind::NodeKill | Kind::NodeFreeze => self.stage.revive(node)?,
                _other => self.stage.heal(),
            }
            return Ok(());
        }
        let Some(endpoint) = fault.endpoint else { return Ok(()) };
        match fault.kind {
            Kind::Kill => self.stage.restart(endpoint),
            Kind::Hang => {
                self.stage.signal(endpoint, Signal::CONT);
                Ok(())
            }
            Kind::Slow => self.stage.control(endpoint, "delay/0").await,
            Kind::Errors => self.stage.control(endpoint, "errors/off").await,
            Kind::Restart => self.stage.drain(endpoint, true).await,
            Kind::Reload | Kind::NodeKill | Kind::NodeFreeze | Kind::NodeCut | Kind::NodeMute | Kind::Move => Ok(()),
        }
    }

    /// Asks the gateways for their view and notes what they have noticed.
    async fn watch(&mut self, audience: &mut Audience) {
        let silent = self.active.and_then(Active::silent);
        for (at, (watcher, view)) in self.watchers.iter_mut().zip(&mut self.views).enumerate() {
            // One that is frozen would only be waited for.
            *view = if Some(at) == silent { None } else { watcher.poll().await.ok() };
        }
        // While nobody serves, the last view stands; that a gateway has ended is found by `check`.
        let serving = if self.views.len() > 1 { self.holder() } else { Some(0) };
        if let Some(view) = serving.and_then(|at| self.views.get(at)).and_then(Option::as_ref) {
            self.view = view.clone();
        }
        let now = self.load.elapsed();
        let tally = self.load.tally();
        for incident in self.incidents.iter_mut().rev().take(ENDPOINTS) {
            let change = match (incident.fault.endpoint, incident.node, incident.config) {
                (Some(endpoint), _, _) => {
                    self.view.endpoints.get(endpoint).and_then(|view| incident.observe(view, now))
                }
                (None, Some(node), _) => {
                    let view = self.views.get(node).and_then(Option::as_ref);
                    incident.observe_node(node, &tally, view, now)
                }
                (None, None, Some(config)) if incident.noticed.is_none() => {
                    incident.noticed = tally.config_seen(config);
                    incident.noticed.map(|_at| Change::Noticed)
                }
                (None, None, _) => None,
            };
            if let Some(change) = change {
                audience.changed(incident, change);
            }
        }
    }

    fn scene(&self) -> Scene {
        let now = self.load.elapsed();
        let tally = self.load.tally();
        let mut endpoints: [EndpointRow; ENDPOINTS] = Default::default();
        for (at, row) in endpoints.iter_mut().enumerate() {
            let active = self.active.filter(|active| active.fault.endpoint == Some(at));
            row.fault = active.map(|active| active.fault.kind);
            row.recent = tally.recent(Some(at), now);
            row.answered = tally.answered().get(at).copied().unwrap_or(0);
            if let Some(view) = self.view.endpoints.get(at) {
                row.words = view.words();
                row.eligible = view.eligible;
            }
        }
        let effects = effects(&self.incidents, &tally, now);
        Scene {
            elapsed: now,
            duration: self.duration,
            requests: tally.requests(),
            failed: tally.failed(),
            availability: tally.availability(),
            recent: tally.recent(None, now),
            endpoints,
            nodes: self.node_rows(),
            seconds: tally.seconds().to_vec(),
            incidents: self.incidents.iter().cloned().zip(effects).collect(),
            next: self.next,
            status_command: format!("mainstay status --admin {}", self.stage.socket(0).display()),
        }
    }

    fn node_rows(&self) -> Vec<NodeRow> {
        let row = |(at, admin): (usize, std::net::SocketAddr)| {
            let part = self.views.get(at).and_then(Option::as_ref).and_then(|view| view.part.as_ref());
            let active = self.active.filter(|active| active.node == Some(at));
            NodeRow {
                fault: active.map(|active| active.fault.kind),
                holds: part.is_some_and(|part| part.holds),
                leads: part.is_some_and(|part| part.quorum && part.leader.as_deref() == NODE_NAMES.get(at).copied()),
                quorum: part.map(|part| part.quorum),
                admin: format!("http://{admin}"),
            }
        };
        self.stage.admins().into_iter().enumerate().map(row).collect()
    }
}
