//! The live view, as lines of text with tones. Pure: the terminal is in `terminal.rs`.

use std::time::Duration;

use crate::demo::incident::{Effect, Incident, whose};
use crate::demo::report::{grouped, seconds};
use crate::demo::schedule::{ENDPOINTS, Fault, Kind, NAMES, NODE_NAMES};
use crate::demo::tally::{Recent, Second};

/// From this width on everything is shown.
const WIDE: usize = 100;

/// How a piece of text is meant; the terminal chooses colours by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Text.
    Plain,
    /// Headings and what is only an aid.
    Dim,
    /// What is most important.
    Strong,
    /// As it should be.
    Good,
    /// Under way.
    Warn,
    /// Not as it should be.
    Bad,
}

/// A line of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) Vec<(Tone, String)>);

impl Line {
    fn new() -> Self {
        Self::default()
    }

    fn of(tone: Tone, text: impl Into<String>) -> Self {
        Self::new().and(tone, text)
    }

    fn and(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.0.push((tone, text.into()));
        self
    }

    fn width(&self) -> usize {
        self.0.iter().map(|(_tone, text)| text.chars().count()).sum()
    }

    /// Puts text at the right edge.
    fn right(self, width: usize, tone: Tone, text: &str) -> Self {
        let gap = width.saturating_sub(self.width() + text.chars().count()).max(1);
        self.and(Tone::Plain, " ".repeat(gap)).and(tone, text)
    }

    /// Cut to the width of the terminal.
    fn cut(mut self, width: usize) -> Self {
        let mut left = width;
        for (_tone, text) in &mut self.0 {
            let kept: String = text.chars().take(left).collect();
            left -= kept.chars().count();
            *text = kept;
        }
        self
    }
}

/// An endpoint on the screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EndpointRow {
    /// What the demo did to it; nothing while it is well.
    pub(crate) fault: Option<Kind>,
    /// The gateway's words about it.
    pub(crate) words: String,
    /// Whether the gateway sends it traffic.
    pub(crate) eligible: bool,
    /// The clients' figures.
    pub(crate) recent: Recent,
    /// Answers so far.
    pub(crate) answered: u64,
}

/// A node on the screen, if there are several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeRow {
    /// What the demo did to it; nothing while it is well.
    pub(crate) fault: Option<Kind>,
    /// Whether it says that it holds the address.
    pub(crate) holds: bool,
    /// Whether it leads.
    pub(crate) leads: bool,
    /// Whether it is with a majority; none if it does not answer.
    pub(crate) quorum: Option<bool>,
    /// Where it can be looked at.
    pub(crate) admin: String,
}

/// Everything that is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scene {
    /// Since the start.
    pub(crate) elapsed: Duration,
    /// In all.
    pub(crate) duration: Duration,
    /// Requests so far.
    pub(crate) requests: u64,
    /// Those that failed.
    pub(crate) failed: u64,
    /// Percent that succeeded.
    pub(crate) availability: Option<f64>,
    /// The clients' figures over all endpoints.
    pub(crate) recent: Recent,
    /// The endpoints.
    pub(crate) endpoints: [EndpointRow; ENDPOINTS],
    /// The nodes; none if there is one gateway alone.
    pub(crate) nodes: Vec<NodeRow>,
    /// Seconds so far; the last one is still running.
    pub(crate) seconds: Vec<Second>,
    /// Faults so far with what clients saw of them.
    pub(crate) incidents: Vec<(Incident, Effect)>,
    /// The next fault.
    pub(crate) next: Option<Fault>,
    /// How to look at the gateway from another terminal.
    pub(crate) status_command: String,
}

/// The lines of a screen of the given size, never more or wider than it.
pub(crate) fn render(scene: &Scene, width: usize, height: usize) -> Vec<Line> {
    let mut lines = vec![verdict(scene, width), figures(scene), Line::new()];
    let wide = width >= WIDE;
    lines.push(endpoint_heading(wide));
    lines.extend(scene.endpoints.iter().zip(NAMES).map(|(row, name)| endpoint(name, row, wide)));
    if !scene.nodes.is_empty() {
        lines.push(node_heading());
        lines.extend(scene.nodes.iter().zip(NODE_NAMES).map(|(row, name)| node(name, row)));
    }
    lines.push(Line::new());
    lines.extend(sparklines(scene, width));
    lines.push(Line::new());
    lines.push(fault_heading());
    let fixed = lines.len() + 3;
    let room = height.saturating_sub(fixed).max(1);
    let skipped = scene.incidents.len().saturating_sub(room);
    lines.extend(scene.incidents.iter().skip(skipped).map(|(incident, effect)| fault(incident, effect)));
    lines.push(upcoming(scene));
    while lines.len() + 1 < height {
        lines.push(Line::new());
    }
    lines.truncate(height.saturating_sub(1));
    lines.push(Line::of(Tone::Dim, "q ends it").right(width, Tone::Dim, &scene.status_command));
    lines.truncate(height);
    lines.into_iter().map(|line| line.cut(width)).collect()
}

fn verdict(scene: &Scene, width: usize) -> Line {
    let serving = scene.endpoints.iter().filter(|row| row.eligible).count();
    let now_failing = scene.seconds.iter().rev().take(2).any(|second| second.failures > 0);
    let (tone, text) = match (serving, now_failing) {
        (0, _) => (Tone::Bad, "NOT SERVING: no endpoint gets traffic".to_owned()),
        (_, true) => (Tone::Bad, format!("requests are failing; {serving} of {ENDPOINTS} endpoints get traffic")),
        (ENDPOINTS, false) => (Tone::Good, format!("serving; all {ENDPOINTS} endpoints get traffic")),
        (_, false) => (Tone::Warn, format!("serving; {serving} of {ENDPOINTS} endpoints get traffic")),
    };
    let (tone, text) = match (scene.nodes.iter().zip(NODE_NAMES).find(|(row, _name)| row.holds), scene.nodes.is_empty())
    {
        (Some((_row, name)), _) => (tone, format!("{text}; by {name}")),
        (None, false) => (Tone::Bad, "NOT SERVING: no node holds the address".to_owned()),
        (None, true) => (tone, text),
    };
    let clock = format!("{} of {}", minutes(scene.elapsed), minutes(scene.duration));
    Line::of(Tone::Strong, "mainstay demo  ").and(tone, text).right(width, Tone::Dim, &clock)
}

fn figures(scene: &Scene) -> Line {
    let availability =
        scene.availability.map_or("-".to_owned(), |it| format!("{:.3} %", (it * 1000.0).floor() / 1000.0));
    let failed_tone = if scene.failed == 0 { Tone::Good } else { Tone::Bad };
    let recent = &scene.recent;
    Line::of(Tone::Plain, format!("{} requests   ", grouped(scene.requests)))
        .and(failed_tone, format!("{} failed   ", grouped(scene.failed)))
        .and(Tone::Strong, availability)
        .and(Tone::Plain, format!("   {:.0}/s   p50 {}   p99 {}", recent.rate, ms(recent.p50), ms(recent.p99)))
}

fn endpoint_heading(wide: bool) -> Line {
    let answers = if wide { format!("{:>8}  ", "answers") } else { String::new() };
    let (name, is, rate, says) = ("endpoint", "is", "req/s", "the gateway says");
    Line::of(Tone::Dim, format!("{name:<8} {is:<15} {rate:>5} {:>8} {:>8}  {answers}{says}", "p50", "p99"))
}

fn endpoint(name: &str, row: &EndpointRow, wide: bool) -> Line {
    let (tone, state) = match row.fault {
        None => (Tone::Plain, "running"),
        Some(kind) => (Tone::Bad, state(kind)),
    };
    let recent = &row.recent;
    let answers = if wide { format!("{:>8}  ", grouped(row.answered)) } else { String::new() };
    let figures = format!("{:>5.0} {:>8} {:>8}  {answers}", recent.rate, ms(recent.p50), ms(recent.p99));
    let words_tone = if row.eligible { Tone::Good } else { Tone::Warn };
    Line::of(Tone::Strong, format!("{name:<8} "))
        .and(tone, format!("{state:<15} "))
        .and(Tone::Plain, figures)
        .and(words_tone, row.words.clone())
}

fn state(kind: Kind) -> &'static str {
    match kind {
        Kind::Kill => "killed",
        Kind::Hang => "hung",
        Kind::Restart => "restarting",
        Kind::NodeKill => "killed",
        Kind::NodeFreeze => "frozen",
        Kind::Slow | Kind::Errors | Kind::Reload | Kind::NodeCut | Kind::NodeMute | Kind::Move => kind.label(),
    }
}

fn node_heading() -> Line {
    Line::of(Tone::Dim, format!("{:<8} {:<15} {:<21} {}", "node", "is", "it says", " look at it"))
}

fn node(name: &str, row: &NodeRow) -> Line {
    let (tone, is) = match row.fault {
        None => (Tone::Plain, "running"),
        Some(kind) => (Tone::Bad, state(kind)),
    };
    let (says_tone, says) = match (row.quorum, row.holds, row.leads) {
        (None, _, _) => (Tone::Warn, "nothing"),
        (Some(false), true, _) => (Tone::Bad, "no quorum, has address"),
        (Some(false), false, _) => (Tone::Warn, "no quorum"),
        (Some(true), true, true) => (Tone::Good, "has address, leads"),
        (Some(true), true, false) => (Tone::Good, "has address"),
        (Some(true), false, true) => (Tone::Plain, "stands by, leads"),
        (Some(true), false, false) => (Tone::Plain, "stands by"),
    };
    Line::of(Tone::Strong, format!("{name:<8} "))
        .and(tone, format!("{is:<15} "))
        .and(says_tone, format!("{says:<22} "))
        .and(Tone::Dim, row.admin.clone())
}

/// One column a second: how many requests were due in it, and how many of them failed.
fn sparklines(scene: &Scene, width: usize) -> [Line; 2] {
    const LABEL: usize = 10;
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let whole = scene.seconds.len().saturating_sub(1);
    let columns = width.saturating_sub(LABEL);
    let shown = scene.seconds.get(whole.saturating_sub(columns)..whole).unwrap_or_default();
    let most = shown.iter().map(|second| second.requests).max().unwrap_or(0).max(1);
    let bar = |second: &Second| {
        let eighths = (second.requests as usize * BARS.len()).div_ceil(most as usize);
        if second.requests == 0 { ' ' } else { BARS[eighths.clamp(1, BARS.len()) - 1] }
    };
    let requests: String = shown.iter().map(bar).collect();
    let mut failures = Line::of(Tone::Dim, format!("{:<LABEL$}", "failures"));
    for second in shown {
        failures = match second.failures {
            0 => failures.and(Tone::Dim, "·"),
            count @ 1..=9 => failures.and(Tone::Bad, count.to_string()),
            _more => failures.and(Tone::Bad, "#"),
        };
    }
    [Line::of(Tone::Dim, format!("{:<LABEL$}", "requests")).and(Tone::Plain, requests), failures]
}

fn fault_heading() -> Line {
    let text = format!("{:<5}  {:<9} {:<18} {:<22} {:<20}", "at", "fault", "", "noticed after", "clients saw");
    Line::of(Tone::Dim, text.trim_end())
}

fn fault(incident: &Incident, effect: &Effect) -> Line {
    let (tone, gateway) = match (incident.noticed_after(), incident.back_after(), incident.ended) {
        (Some(noticed), Some(back), _) => (Tone::Plain, format!("{}, back {}", seconds(noticed), seconds(back))),
        (Some(noticed), None, _) if matches!(incident.fault.kind, Kind::Reload | Kind::Move) => {
            (Tone::Plain, seconds(noticed))
        }
        (Some(noticed), None, _) => (Tone::Warn, seconds(noticed)),
        (None, _, None) => (Tone::Warn, "not yet".to_owned()),
        (None, _, Some(_)) => (Tone::Dim, "not noticed".to_owned()),
    };
    let (effect_tone, seen) = match (effect.failed, effect.slow) {
        (0, 0) => (Tone::Good, "nothing".to_owned()),
        (0, slow) => (Tone::Warn, format!("{slow} slow")),
        (failed, 0) => (Tone::Bad, format!("{failed} failed")),
        (failed, slow) => (Tone::Bad, format!("{failed} failed, {slow} slow")),
    };
    let seen = match effect.gap.filter(|_gap| incident.node.is_some()) {
        Some(gap) => format!("{seen}, gap {}", seconds(gap)),
        None => seen,
    };
    Line::of(Tone::Dim, format!("{:<5}  ", minutes(incident.begun)))
        .and(Tone::Strong, format!("{:<9} ", incident.whose()))
        .and(Tone::Plain, format!("{:<18} ", incident.fault.kind.label()))
        .and(tone, format!("{gateway:<22} "))
        .and(effect_tone, seen)
}

fn upcoming(scene: &Scene) -> Line {
    match &scene.next {
        Some(fault) => {
            let left = fault.begin.saturating_sub(scene.elapsed).as_secs() + 1;
            let text =
                format!("{:<5}  {:<9} {:<18} in {left} s", minutes(fault.begin), whose(fault), fault.kind.label());
            Line::of(Tone::Dim, text)
        }
        None => {
            let left = scene.duration.saturating_sub(scene.elapsed).as_secs() + 1;
            Line::of(Tone::Dim, format!("{:<5}  no further fault; the report comes in {left} s", ""))
        }
    }
}

fn minutes(time: Duration) -> String {
    format!("{:02}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

fn ms(latency: Option<Duration>) -> String {
    match latency.map(|latency| latency.as_secs_f64() * 1e3) {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::schedule::plan;

    fn scene() -> Scene {
        let faults = plan(Duration::from_secs(60));
        let incidents = faults.iter().map(|fault| (Incident::new(*fault, fault.begin), Effect::default())).collect();
        let row = |fault| EndpointRow {
            fault,
            words: "down: connection refused after a very long explanation that does not fit".to_owned(),
            eligible: fault.is_none(),
            recent: Recent {
                rate: 66.6,
                p50: Some(Duration::from_micros(940)),
                p99: Some(Duration::from_millis(1004)),
            },
            answered: 12_345,
        };
        Scene {
            elapsed: Duration::from_secs(23),
            duration: Duration::from_secs(60),
            requests: 4600,
            failed: 2,
            availability: Some(99.9565),
            endpoints: [row(None), row(Some(Kind::Hang)), row(None)],
            seconds: (0..200).map(|at| Second { requests: 200, failures: u32::from(at % 50 == 0) * 12 }).collect(),
            incidents,
            next: faults.get(3).copied(),
            status_command: "mainstay status --admin /tmp/mainstay-demo-1-0/admin.sock".to_owned(),
            ..Scene::default()
        }
    }

    fn text(lines: &[Line]) -> String {
        let plain = |line: &Line| line.0.iter().map(|(_tone, text)| text.as_str()).collect::<String>();
        lines.iter().map(plain).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn it_fits_any_terminal() {
        let several = Scene { nodes: vec![NodeRow::default(); 3], ..scene() };
        for ((width, height), scene) in [(80, 24), (200, 60), (40, 10), (20, 3), (1, 1)]
            .into_iter()
            .flat_map(|size| [(size, scene()), (size, several.clone())])
        {
            let lines = render(&scene, width, height);
            assert_eq!(lines.len(), height, "{width}x{height}");
            assert!(lines.iter().all(|line| line.width() <= width), "{width}x{height}\n{}", text(&lines));
        }
        assert!(render(&Scene::default(), 80, 24).len() == 24);
    }

    #[test]
    fn it_says_what_matters_first() {
        let shown = text(&render(&scene(), 80, 24));
        let first = shown.lines().next().unwrap();
        assert!(first.starts_with("mainstay demo  serving; 2 of 3 endpoints get traffic"), "{first}");
        assert!(first.ends_with("00:23 of 01:00"), "{first}");
        for part in ["4,600 requests   2 failed   99.956 %", "bravo    hung", "charlie  running", "nothing", "in 8 s"] {
            assert!(shown.contains(part), "`{part}` is not in\n{shown}");
        }
    }

    #[test]
    fn several_nodes_are_shown_with_who_serves_first() {
        let node = |fault, holds, quorum| NodeRow {
            fault,
            holds,
            leads: holds,
            quorum,
            admin: "http://127.0.0.1:40001".to_owned(),
        };
        let nodes = vec![
            node(Some(Kind::NodeFreeze), false, None),
            node(None, true, Some(true)),
            node(Some(Kind::NodeCut), false, Some(false)),
        ];
        let mut scene = Scene { nodes, ..scene() };
        let shown = text(&render(&scene, 80, 24));
        assert!(shown.lines().next().unwrap().contains("; by node2"), "{shown}");
        for part in [
            "node1    frozen          nothing                http://127.0.0.1:40001",
            "node2    running         has address, leads     http://127.0.0.1:40001",
            "node3    cut off         no quorum ",
        ] {
            assert!(shown.contains(part), "`{part}` is not in\n{shown}");
        }
        scene.nodes[1].holds = false;
        assert!(text(&render(&scene, 80, 24)).contains("NOT SERVING: no node holds the address"));
    }

    #[test]
    fn failures_show_in_the_second_they_fell_into() {
        let mut scene = scene();
        scene.seconds = vec![Second { requests: 200, failures: 0 }; 10];
        scene.seconds[3].failures = 4;
        scene.seconds[8].requests = 100;
        let shown = text(&render(&scene, 80, 24));
        assert!(shown.contains("requests  ████████▄"), "{shown}");
        assert!(shown.contains("failures  ···4·····"), "{shown}");
    }
}
