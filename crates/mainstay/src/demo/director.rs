//! The course of the demo: does what the plan says when its time comes, watches what the gateway makes of it, and tells
//! the audience. One loop on one thread; the load runs beside it.

use std::time::Duration;

use mainstay_runtime::signal::Signals;
use rustix::process::Signal;
use tokio::time::{MissedTickBehavior, interval};

use crate::demo::audience::Audience;
use crate::demo::incident::{Change, Incident, effects};
use crate::demo::load::Load;
use crate::demo::schedule::{ENDPOINTS, Fault, Kind, plan};
use crate::demo::screen::{EndpointRow, Scene};
use crate::demo::stage::Stage;
use crate::demo::watch::{self, View, Watcher};
use crate::failure::Failure;

/// What a slow endpoint adds to every answer: `Kind::label` names it too.
const SLOW_BY_MS: u32 = 400;

/// The running demo.
pub(crate) struct Director<'a> {
    stage: &'a mut Stage,
    load: &'a Load,
    duration: Duration,
    watcher: Watcher,
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
    half_done: bool,
}

impl<'a> Director<'a> {
    /// Nothing has happened yet.
    pub(crate) fn new(stage: &'a mut Stage, load: &'a Load, duration: Duration) -> Self {
        let watcher = stage.watcher();
        let mut planned = plan(duration).into_iter();
        let next = planned.next();
        let (view, incidents) = (View::default(), Vec::new());
        Self { stage, load, duration, watcher, view, planned, next, active: None, incidents }
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
            self.stage.check()?;
            self.act(audience).await?;
            self.watch(audience).await;
            if audience.is_due(self.load.elapsed()) {
                audience.show(&self.scene());
            }
            if audience.wants_end() {
                break;
            }
        }
        // A hung endpoint would hold up the requests that wait for it.
        for endpoint in 0..ENDPOINTS {
            self.stage.signal(endpoint, Signal::CONT);
        }
        Ok(self.incidents)
    }

    /// Begins and ends faults whose time has come.
    async fn act(&mut self, audience: &mut Audience) -> Result<(), Failure> {
        let now = self.load.elapsed();
        if let Some(active) = self.active {
            if now >= active.fault.end {
                self.end(active.fault).await?;
                let now = self.load.elapsed();
                if let Some(incident) = self.incidents.last_mut() {
                    incident.ended = Some(now);
                }
                self.active = None;
                audience.ended(&active.fault, now);
            } else if !active.half_done && now >= active.fault.begin + (active.fault.end - active.fault.begin) / 2 {
                self.half(active.fault)?;
                self.active = Some(Active { half_done: true, ..active });
            }
            return Ok(());
        }
        if let Some(fault) = self.next
            && now >= fault.begin
        {
            // The time before it is done: what is measured from here on is rather too long than too short.
            let config = self.begin(fault).await?;
            self.incidents.push(Incident { config, ..Incident::new(fault, now) });
            self.active = Some(Active { fault, half_done: false });
            self.next = self.planned.next();
            audience.begun(&fault, now);
        }
        Ok(())
    }

    async fn begin(&mut self, fault: Fault) -> Result<Option<u64>, Failure> {
        let Some(endpoint) = fault.endpoint else { return self.stage.reload().map(Some) };
        match fault.kind {
            Kind::Kill => self.stage.signal(endpoint, Signal::KILL),
            Kind::Hang => self.stage.signal(endpoint, Signal::STOP),
            Kind::Slow => self.stage.control(endpoint, &format!("delay/{SLOW_BY_MS}")).await?,
            Kind::Errors => self.stage.control(endpoint, "errors/on").await?,
            Kind::Restart => self.stage.drain(endpoint, false).await?,
            Kind::Reload => return self.stage.reload().map(Some),
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
            (Kind::Kill | Kind::Hang | Kind::Slow | Kind::Errors | Kind::Restart | Kind::Reload, _) => Ok(()),
        }
    }

    async fn end(&mut self, fault: Fault) -> Result<(), Failure> {
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
            Kind::Reload => Ok(()),
        }
    }

    /// Asks the gateway for its view and notes what it has noticed.
    async fn watch(&mut self, audience: &mut Audience) {
        // While the gateway does not answer, the last view stands; that it has ended is found by `check`.
        if let Ok(view) = self.watcher.poll().await {
            self.view = view;
        } else {
            return;
        }
        let now = self.load.elapsed();
        let tally = self.load.tally();
        for incident in self.incidents.iter_mut().rev().take(ENDPOINTS) {
            let change = match (incident.fault.endpoint, incident.config) {
                (Some(endpoint), _) => self.view.endpoints.get(endpoint).and_then(|view| incident.observe(view, now)),
                (None, Some(config)) if incident.noticed.is_none() => {
                    incident.noticed = tally.config_seen(config);
                    incident.noticed.map(|_at| Change::Noticed)
                }
                (None, _) => None,
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
        let effects = effects(&self.incidents, tally.notable());
        Scene {
            elapsed: now,
            duration: self.duration,
            requests: tally.requests(),
            failed: tally.failed(),
            availability: tally.availability(),
            recent: tally.recent(None, now),
            endpoints,
            seconds: tally.seconds().to_vec(),
            incidents: self.incidents.iter().cloned().zip(effects).collect(),
            next: self.next,
            status_command: format!("mainstay status --admin {}", self.stage.socket().display()),
        }
    }
}
