//! Objectives as rules of Prometheus, over what `/metrics` of the nodes says: for those who have alerting elsewhere.

use std::fmt::Write;
use std::time::Duration;

use mainstay_core::slo::{self, Rule};
use mainstay_observe::history::{Access, Kind};
use mainstay_observe::slo::{Good, Objective};

use crate::config::Config;

/// The rules, as YAML.
pub(super) fn rules(config: &Config) -> String {
    let mut text = String::from("groups:\n- name: mainstay-objectives\n  rules:");
    let mut any = false;
    let mut left_out = String::new();
    for of in &config.objectives {
        match Selection::of(config, of) {
            Some(selection) => {
                any = true;
                objective(&mut text, of, &selection);
            }
            None => left_out.push_str(&format!("# {}: durations of probes are not in Prometheus' rules\n", of.name)),
        }
    }
    text.push_str(if any { "\n" } else { " []\n" });
    left_out + &text
}

/// Which samples count the events of an objective.
struct Selection {
    total: Vec<String>,
    /// Of bad events; with latency of good ones.
    part: Vec<String>,
    is_part_good: bool,
}

impl Selection {
    fn of(config: &Config, of: &Objective) -> Option<Self> {
        let name = of.subject.name.as_ref();
        let routes: Vec<&str> = match of.subject.kind {
            Kind::Route => vec![name],
            Kind::Service => {
                let leads = config.spec.routes.iter().filter(|route| route.cells.is_none() && route.service == name);
                leads.map(|route| route.name.as_str()).collect()
            }
            Kind::Database => return Some(Self::of_database(of)),
            Kind::Probe if of.good == Good::Answered => {
                return Some(Self::of_events("mainstay_probe_events_total", &format!("probe=\"{name}\"")));
            }
            Kind::Endpoint | Kind::Listener | Kind::Node | Kind::Probe => return None,
        };
        // The names are of letters, digits, `-`, `_` and `.`.
        let labels = if routes.is_empty() {
            format!("service=\"{name}\"")
        } else {
            format!("route=~\"{}\"", routes.join("|").replace('.', "\\\\."))
        };
        Some(match (of.good, routes.is_empty()) {
            (Good::Answered, false) => Self {
                total: vec![format!("mainstay_requests_total{{{labels}}}")],
                part: vec![format!("mainstay_requests_total{{{labels},code_class=\"5xx\"}}")],
                is_part_good: false,
            },
            (Good::Answered, true) => {
                let failures = ["connect_failures", "resets", "timeouts"];
                let failures = failures.iter().map(|kind| format!("mainstay_endpoint_{kind}_total{{{labels}}}"));
                let answers = format!("mainstay_endpoint_responses_total{{{labels},code_class=\"5xx\"}}");
                Self {
                    total: vec![format!("mainstay_endpoint_attempts_total{{{labels}}}")],
                    part: failures.chain([answers]).collect(),
                    is_part_good: false,
                }
            }
            (Good::Within(bound), by_endpoint) => {
                let family = if by_endpoint { "mainstay_endpoint_duration" } else { "http_server_request_duration" };
                Self {
                    total: vec![format!("{family}_seconds_count{{{labels}}}")],
                    part: vec![format!("{family}_seconds_bucket{{{labels},le=\"{:?}\"}}", bound.as_secs_f64())],
                    is_part_good: true,
                }
            }
        })
    }

    /// The seconds in which there was a server, or what clients of a listener wait.
    fn of_database(of: &Objective) -> Self {
        let (group, access) = Access::of(&of.subject.name);
        let access = access.word();
        let Good::Within(bound) = of.good else {
            let labels = format!("database=\"{group}\",access=\"{access}\"");
            return Self::of_events("mainstay_database_seconds_total", &labels);
        };
        let listener = format!("{group}-{access}");
        Self {
            total: vec![format!("mainstay_database_duration_seconds_count{{listener=\"{listener}\"}}")],
            part: vec![format!(
                "mainstay_database_duration_seconds_bucket{{listener=\"{listener}\",le=\"{:?}\"}}",
                bound.as_secs_f64()
            )],
            is_part_good: true,
        }
    }

    /// Events that are counted by outcome.
    fn of_events(counter: &str, labels: &str) -> Self {
        Self {
            total: vec![format!("{counter}{{{labels}}}")],
            part: vec![format!("{counter}{{{labels},outcome=\"bad\"}}")],
            is_part_good: false,
        }
    }

    fn sum(samples: &[String], function: &str, window: &str) -> String {
        let sums: Vec<String> = samples.iter().map(|sample| format!("sum({function}({sample}[{window}]))")).collect();
        if sums.len() == 1 { sums.concat() } else { format!("({})", sums.join(" + ")) }
    }

    /// The share of events that was bad.
    fn ratio(&self, window: &str) -> String {
        let (part, total) = (Self::sum(&self.part, "rate", window), Self::sum(&self.total, "rate", window));
        let ratio = format!("{part} / {total}");
        if self.is_part_good { format!("1 - {ratio}") } else { ratio }
    }
}

fn objective(text: &mut String, of: &Objective, selection: &Selection) {
    let name = &of.name;
    for span in slo::spans(of.terms.window) {
        let window = window(span);
        // Writing to a string does not fail.
        let _written = write!(
            text,
            "\n  - record: mainstay:objective_bad:ratio_rate{window}\n    expr: {}\n    labels: {{objective: {name:?}}}",
            quoted(&selection.ratio(&window))
        );
    }
    for rule in of.terms.rules() {
        let _written = write!(text, "\n{}", alert(of, selection, &rule));
    }
}

fn alert(of: &Objective, selection: &Selection, rule: &Rule) -> String {
    let (long, short) = (window(rule.long), window(rule.short));
    let limit = rule.burn * (1.0 - of.terms.target);
    let exceeds =
        |window: &str| format!("mainstay:objective_bad:ratio_rate{window}{{objective=\"{}\"}} > {limit:.6}", of.name);
    let events = Selection::sum(&selection.total, "increase", &long);
    let expression = format!("{} and {} and on() {events} >= {}", exceeds(&long), exceeds(&short), of.terms.min_events);
    let (name, severity, burn) = (&of.name, rule.severity.word(), rule.burn);
    format!(
        "  - alert: ObjectiveBurning\n    expr: {}\n    labels: {{severity: {severity:?}, objective: {name:?}}}\n    \
         annotations: {{summary: \"{name}: the error budget burns more than {burn} times too fast over {long}\"}}",
        quoted(&expression)
    )
}

/// A scalar of YAML in single quotes, in which only those are special.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn window(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        seconds if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        seconds => format!("{}m", seconds / 60),
    }
}
