//! Who watches: a terminal that shows the live view, a stream of plain lines, or nobody until the report.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::demo::incident::{Change, Incident};
use crate::demo::report::{grouped, seconds};
use crate::demo::schedule::{Kind, NAMES, NODE_NAMES};
use crate::demo::screen::{Scene, render};
use crate::demo::terminal::Terminal;

/// How often the live view is drawn.
const FRAME: Duration = Duration::from_millis(200);

/// Who watches.
#[derive(Debug)]
pub(crate) enum Audience {
    /// Somebody at a terminal.
    Live {
        /// It.
        terminal: Terminal,
        /// When it is drawn next.
        next: Duration,
    },
    /// Lines to standard output.
    Plain {
        /// How far the figures are apart.
        every: Duration,
        /// When they come next.
        next: Duration,
        /// Whether nobody reads them any more.
        gone: bool,
    },
    /// Nobody.
    Nobody,
}

impl Audience {
    /// Plain lines, with figures some twelve times.
    pub(crate) fn plain(duration: Duration) -> Self {
        let every = (duration / 12).clamp(Duration::from_secs(2), Duration::from_secs(10));
        Self::Plain { every, next: every, gone: false }
    }

    /// The live view.
    ///
    /// # Errors
    /// If the terminal cannot be steered.
    pub(crate) fn live() -> io::Result<Self> {
        Ok(Self::Live { terminal: Terminal::take()?, next: Duration::ZERO })
    }

    /// Whether `show` has something to show now.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        match self {
            Self::Live { next, .. } | Self::Plain { next, .. } => now >= *next,
            Self::Nobody => false,
        }
    }

    /// Shows how things are.
    pub(crate) fn show(&mut self, scene: &Scene) {
        match self {
            Self::Live { terminal, next } => {
                let (width, height) = terminal.size();
                // A terminal that is gone sends a signal or is noticed at the report; the measurement goes on.
                let _gone = terminal.draw(&render(scene, width, height));
                *next = scene.elapsed + FRAME;
            }
            Self::Plain { every, next, gone } => {
                let serving: Vec<&str> =
                    scene.endpoints.iter().zip(NAMES).filter(|(row, _)| row.eligible).map(|(_, name)| name).collect();
                let serving = if serving.is_empty() { "no endpoint".to_owned() } else { serving.join(", ") };
                let (requests, failed, rate) = (grouped(scene.requests), grouped(scene.failed), scene.recent.rate);
                let p99 = scene.recent.p99.unwrap_or_default().as_secs_f64() * 1e3;
                let holds = scene.nodes.iter().zip(NODE_NAMES).find(|(row, _name)| row.holds);
                let by = match holds {
                    Some((_row, name)) => format!(" by {name}"),
                    None if scene.nodes.is_empty() => String::new(),
                    None => " by no node".to_owned(),
                };
                let text = format!(
                    "{requests} requests, {failed} failed, {rate:.0}/s, p99 {p99:.1} ms; traffic{by} to {serving}"
                );
                *gone |= line(scene.elapsed, &text).is_err();
                *next = scene.elapsed + *every;
            }
            Self::Nobody => {}
        }
    }

    /// Tells where the nodes can be looked at, if there are several.
    pub(crate) fn started(&mut self, admins: &[SocketAddr]) {
        for (name, admin) in NODE_NAMES.iter().zip(admins) {
            self.tell(Duration::ZERO, &format!("{name} runs; look at it: http://{admin}"));
        }
    }

    /// Tells that a fault was done.
    pub(crate) fn begun(&mut self, incident: &Incident, now: Duration) {
        let which = match incident.fault.kind {
            Kind::Move => " away",
            _other if incident.node.is_some() => ", which held the address",
            _other => "",
        };
        self.tell(now, &format!("{} {}{which}", incident.whose(), incident.fault.kind.label()));
    }

    /// Tells that it was undone.
    pub(crate) fn ended(&mut self, incident: &Incident, now: Duration) {
        let what = match incident.fault.kind {
            Kind::Kill | Kind::NodeKill => "started again",
            Kind::Hang => "continued (SIGCONT)",
            Kind::Slow => "no longer slow",
            Kind::Errors => "no longer answers 503",
            Kind::Restart => "restarted, drain undone",
            Kind::NodeFreeze => "continued, or started again if its guard killed it",
            Kind::NodeCut | Kind::NodeMute => "reaches the others again",
            Kind::Reload | Kind::Move => return,
        };
        self.tell(now, &format!("{} {what}", incident.whose()));
    }

    /// Tells what the gateway made of it.
    pub(crate) fn changed(&mut self, incident: &Incident, change: Change) {
        let whose = incident.whose();
        match (change, incident.fault.kind) {
            (Change::Noticed, Kind::Reload) => {
                let after = seconds(incident.noticed_after().unwrap_or_default());
                self.tell(incident.noticed.unwrap_or_default(), &format!("new configuration answers after {after}"));
            }
            (Change::Noticed, _) if incident.node.is_some() => {
                let after = seconds(incident.noticed_after().unwrap_or_default());
                let at = incident.noticed.unwrap_or_default();
                self.tell(at, &format!("another node answers in place of {whose}, {after} after"));
            }
            (Change::Back, _) if incident.node.is_some() => {
                let after = seconds(incident.back_after().unwrap_or_default());
                self.tell(
                    incident.back.unwrap_or_default(),
                    &format!("{whose} is with the others again after {after}"),
                );
            }
            (Change::Noticed, _) => {
                let after = seconds(incident.noticed_after().unwrap_or_default());
                self.tell(
                    incident.noticed.unwrap_or_default(),
                    &format!("{whose} gets no traffic any more after {after}"),
                );
            }
            (Change::Back, _) => {
                let after = seconds(incident.back_after().unwrap_or_default());
                self.tell(incident.back.unwrap_or_default(), &format!("{whose} gets traffic again after {after}"));
            }
        }
    }

    /// Whether somebody has pressed a key that ends the demo, or nobody reads its lines any more.
    pub(crate) fn wants_end(&self) -> bool {
        match self {
            Self::Live { terminal, .. } => terminal.wants_end(),
            Self::Plain { gone, .. } => *gone,
            Self::Nobody => false,
        }
    }

    fn tell(&mut self, now: Duration, text: &str) {
        match self {
            Self::Plain { gone, .. } => *gone |= line(now, text).is_err(),
            Self::Live { .. } | Self::Nobody => {}
        }
    }
}

/// A line with its time.
fn line(now: Duration, text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "[{:02}:{:04.1}] {text}", now.as_secs() / 60, now.as_secs_f64() % 60.0)?;
    out.flush()
}
