//! What the demo ends with: everything that was measured, as JSON and as one screen of text.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Serialize;

use crate::demo::incident::{Effect, Incident, effects};
use crate::demo::load::{CONNECTIONS, RATE};
use crate::demo::probe::{self, Holders};
use crate::demo::schedule::{Kind, NAMES, NODE_NAMES};
use crate::demo::tally::{GAP, SLOW, Tally, percent};
use crate::demo::watch;

mod text;

pub(crate) use text::{grouped, seconds, write_text};

/// The measurements.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    /// Of this program.
    version: &'static str,
    /// How long requests were sent.
    duration_seconds: f64,
    /// Whether somebody ended the demo before its time.
    ended_early: bool,
    /// Requests that were planned a second.
    planned_requests_per_second: u32,
    /// Connections that they were spread over.
    client_connections: usize,
    /// Requests that were sent.
    requests: u64,
    /// Those that did not succeed.
    failed: u64,
    /// Percent of requests that succeeded.
    availability_percent: Option<f64>,
    /// Seconds with requests.
    seconds: u64,
    /// Those in which none failed.
    seconds_without_failure: u64,
    /// The same in percent.
    seconds_without_failure_percent: Option<f64>,
    /// Of successful requests, from when they were due.
    latency_ms: Latency,
    /// The longest that a client slept beyond the time when its request was due: the machine was busy with other things.
    machine_late_ms: Option<f64>,
    /// The request that took longest.
    slowest: Option<Slowest>,
    /// The POST requests.
    orders: Orders,
    /// Failed requests by what the client saw.
    failures: BTreeMap<String, u64>,
    /// Answers by endpoint.
    answered: BTreeMap<&'static str, u64>,
    /// What was done, in order.
    faults: Vec<FaultReport>,
    /// Of several nodes, if there were.
    nodes: Option<NodesReport>,
    /// Where logs were left, if they were.
    logs: Option<String>,
    /// What the figures mean.
    how_measured: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Slowest {
    ms: f64,
    method: &'static str,
    at_seconds: f64,
    outcome: String,
    during: Option<String>,
    request_id: Option<String>,
}

/// The orders (POST requests), from the clients' confirmations and the endpoints' own record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Orders {
    /// Confirmed to the client.
    confirmed: u64,
    /// Confirmed, but not on record.
    lost: u64,
    /// On record more than once.
    executed_twice: u64,
    /// On record although the client was told of a failure.
    executed_but_failed: u64,
}

/// What is of interest if there were several nodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct NodesReport {
    /// How many.
    count: usize,
    /// How many of them listened on the clients' address.
    holders: Holders,
    /// The longest time without a successful answer.
    longest_gap_seconds: Option<f64>,
    /// The longest from a fault of the node that held the address to the first answer by another one.
    longest_takeover_seconds: Option<f64>,
}

/// A fault and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct FaultReport {
    kind: Kind,
    what: &'static str,
    endpoint: Option<&'static str>,
    node: Option<&'static str>,
    at_seconds: f64,
    lasted_seconds: Option<f64>,
    noticed_after_seconds: Option<f64>,
    last_effect_after_seconds: Option<f64>,
    longest_gap_seconds: Option<f64>,
    back_after_seconds: Option<f64>,
    failed: u64,
    slow: u64,
}

/// What a report is made from.
pub(crate) struct Measured<'a> {
    /// The clients' sums.
    pub(crate) tally: &'a Tally,
    /// The faults.
    pub(crate) incidents: &'a [Incident],
    /// The endpoints' record of orders.
    pub(crate) order_lines: &'a str,
    /// How long requests were sent.
    pub(crate) elapsed: Duration,
    /// How long they were meant to be sent.
    pub(crate) planned: Duration,
    /// How many nodes listened, if there were several.
    pub(crate) holders: Option<Holders>,
}

impl Report {
    /// Adds everything up.
    pub(crate) fn new(measured: &Measured<'_>) -> Self {
        let Measured { tally, incidents, order_lines, elapsed, planned, holders } = measured;
        let (clean, busy) = tally.clean_seconds();
        let [p50, p99, p999] = tally.quantiles([0.5, 0.99, 0.999]).map(|latency| latency.map(millis));
        let effects = effects(incidents, tally, *elapsed);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            duration_seconds: rounded(elapsed.as_secs_f64(), 2),
            ended_early: elapsed < planned,
            planned_requests_per_second: RATE,
            client_connections: CONNECTIONS,
            requests: tally.requests(),
            failed: tally.failed(),
            availability_percent: tally.availability().map(|percent| rounded(percent, 4)),
            seconds: busy,
            seconds_without_failure: clean,
            seconds_without_failure_percent: percent(clean, busy).map(|percent| rounded(percent, 4)),
            latency_ms: Latency { p50, p99, p999 },
            machine_late_ms: tally.latest_wake().map(millis),
            slowest: slowest(tally, incidents),
            orders: orders(tally.confirmed(), order_lines),
            failures: tally.failures().clone(),
            answered: NAMES.into_iter().zip(tally.answered()).collect(),
            faults: incidents.iter().zip(effects).map(|(incident, effect)| fault(incident, effect)).collect(),
            nodes: holders.map(|holders| nodes(holders, tally, incidents, *elapsed)),
            logs: None,
            how_measured: how_measured(),
        }
    }

    /// Whether there is something that somebody will want to look into.
    pub(crate) fn is_worth_a_look(&self) -> bool {
        let unnoticed = |fault: &FaultReport| fault.noticed_after_seconds.is_none() && !self.ended_early;
        // Where the address itself is taken from its holder requests fail, and nothing is to be learned from logs.
        let (failed, several) = self.nodes.map_or((self.failed > 0, 0), |nodes| (false, nodes.holders.several));
        failed || several > 0 || self.orders.lost + self.orders.executed_twice > 0 || self.faults.iter().any(unnoticed)
    }

    /// Says where the logs are.
    pub(crate) fn set_logs(&mut self, path: String) {
        self.logs = Some(path);
    }
}

fn how_measured() -> String {
    format!(
        "Counted by the clients. `noticed`: from the fault until the gateway's status, asked for every {} ms over its \
         admin socket, shows the endpoint without traffic (reload: until the first answer under the new configuration); \
         `last effect`: from the fault to the end of the last request that failed or took over {} ms; `back`: from the \
         end of the fault until the status shows the endpoint with traffic again. A node: `noticed` is from the fault \
         until the first answer by another node, `back` from its end until the node is with the majority again. `gap`: \
         the longest time without a successful answer until the next fault, if over {} ms. Who listens on the clients' \
         address is read from the kernel every {} ms.",
        watch::EVERY.as_millis(),
        SLOW.as_millis(),
        GAP.as_millis(),
        probe::EVERY.as_millis()
    )
}

fn nodes(holders: Holders, tally: &Tally, incidents: &[Incident], elapsed: Duration) -> NodesReport {
    let seconds = |time: Duration| rounded(time.as_secs_f64(), 3);
    let takeovers = incidents.iter().filter(|incident| incident.node.is_some()).filter_map(Incident::noticed_after);
    NodesReport {
        count: NODE_NAMES.len(),
        holders,
        longest_gap_seconds: tally.longest_gap(Duration::ZERO, None, elapsed).map(seconds),
        longest_takeover_seconds: takeovers.max().map(seconds),
    }
}

fn slowest(tally: &Tally, incidents: &[Incident]) -> Option<Slowest> {
    let sample = tally.slowest()?;
    let before = incidents.iter().rev().find(|incident| incident.begun <= sample.done);
    Some(Slowest {
        ms: millis(sample.latency()),
        method: if sample.post { "POST" } else { "GET" },
        at_seconds: rounded(sample.due.as_secs_f64(), 2),
        outcome: match &sample.outcome {
            Ok(endpoint) => format!("answered by {}", NAMES.get(*endpoint).copied().unwrap_or("an endpoint")),
            Err(how) => format!("failed: {how}"),
        },
        during: before.map(|incident| format!("{} {}", incident.whose(), incident.fault.kind.label())),
        request_id: sample.id.clone(),
    })
}

fn orders(confirmed: &[u64], lines: &str) -> Orders {
    let mut record: HashMap<u64, u64> = HashMap::new();
    for order in lines.lines().filter_map(|line| line.trim().parse().ok()) {
        *record.entry(order).or_default() += 1;
    }
    let lost = confirmed.iter().filter(|order| !record.contains_key(order)).count() as u64;
    let known: std::collections::HashSet<u64> = confirmed.iter().copied().collect();
    Orders {
        confirmed: confirmed.len() as u64,
        lost,
        executed_twice: record.values().filter(|times| **times > 1).count() as u64,
        executed_but_failed: record.keys().filter(|order| !known.contains(order)).count() as u64,
    }
}

fn fault(incident: &Incident, effect: Effect) -> FaultReport {
    let seconds = |time: Duration| rounded(time.as_secs_f64(), 3);
    FaultReport {
        kind: incident.fault.kind,
        what: incident.fault.kind.label(),
        endpoint: incident.fault.endpoint.and_then(|endpoint| NAMES.get(endpoint)).copied(),
        node: incident.node.and_then(|node| NODE_NAMES.get(node)).copied(),
        at_seconds: seconds(incident.begun),
        lasted_seconds: incident.ended.map(|ended| seconds(ended.saturating_sub(incident.begun))),
        noticed_after_seconds: incident.noticed_after().map(seconds),
        last_effect_after_seconds: effect.last.map(seconds),
        longest_gap_seconds: effect.gap.map(seconds),
        back_after_seconds: incident.back_after().map(seconds),
        failed: effect.failed,
        slow: effect.slow,
    }
}

fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3, 2)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::demo::incident::tests::fault as planned;
    use crate::demo::tally::tests::sample;

    pub(crate) fn example(rounds: usize) -> Report {
        let ms = Duration::from_millis;
        let mut tally = Tally::default();
        for at in 0..12_000 {
            tally.record(sample(at * 5, 1 + at % 3, Ok(usize::try_from(at % 3).unwrap())));
        }
        tally.record(sample(2_400, 20, Err("gateway 502 (upstream-reset), POST")));
        tally.record(sample(14_000, 1_012, Ok(2)));
        for order in 0..100 {
            tally.confirm(order);
        }
        let kinds = [Kind::Kill, Kind::Hang, Kind::Restart, Kind::Slow, Kind::Reload, Kind::Errors];
        let incidents: Vec<Incident> = (0..rounds as u64 * 6)
            .map(|at| {
                let kind = kinds[usize::try_from(at).unwrap() % 6];
                let endpoint = (kind != Kind::Reload).then_some(usize::try_from(at).unwrap() % 3);
                let mut incident = Incident::new(planned(kind, endpoint, at * 9_000, 0), ms(2_400 + at * 9_000));
                incident.noticed = Some(incident.begun + ms(1_030));
                incident.ended = Some(incident.begun + ms(4_500));
                incident.back = (kind != Kind::Reload).then_some(incident.begun + ms(5_530));
                incident
            })
            .collect();
        let order_lines: String = (0..=100).map(|order| format!("{order}\n")).collect();
        let (elapsed, planned) = (Duration::from_secs(60), Duration::from_secs(60));
        let holders = None;
        Report::new(&Measured {
            tally: &tally,
            incidents: &incidents,
            order_lines: &order_lines,
            elapsed,
            planned,
            holders,
        })
    }

    pub(crate) fn example_of_nodes() -> Report {
        let ms = Duration::from_millis;
        let mut tally = Tally::default();
        for at in (0..2_400).chain(3_600..60_000).step_by(5) {
            tally.record(sample(at, 2, Ok(0)));
        }
        for at in (2_400..3_600).step_by(5) {
            tally.record(sample(at, 1, Err("connection refused")));
        }
        let kinds =
            [Kind::NodeKill, Kind::Hang, Kind::NodeFreeze, Kind::Kill, Kind::NodeCut, Kind::Move, Kind::NodeMute];
        let incidents: Vec<Incident> = (0u64..)
            .zip(kinds)
            .map(|(at, kind)| {
                let endpoint = (!kind.is_of_a_node()).then_some(1);
                let mut incident = Incident::new(planned(kind, endpoint, at * 8_000, 0), ms(2_400 + at * 8_000));
                incident.node = kind.is_of_a_node().then_some(2);
                incident.noticed = Some(incident.begun + ms(1_205));
                incident.ended = Some(incident.begun + ms(4_500));
                incident.back = (kind != Kind::Move).then_some(incident.begun + ms(5_530));
                incident
            })
            .collect();
        let (elapsed, planned) = (Duration::from_secs(60), Duration::from_secs(60));
        let holders = Some(Holders { looks: 5_931, nobody: 512, ..Holders::default() });
        Report::new(&Measured { tally: &tally, incidents: &incidents, order_lines: "", elapsed, planned, holders })
    }

    #[test]
    fn of_nodes_it_says_who_held_the_address_and_for_how_long_nobody_answered() {
        let report = example_of_nodes();
        let nodes = report.nodes.unwrap();
        assert_eq!((nodes.count, nodes.holders.looks, nodes.holders.several), (3, 5_931, 0));
        assert_eq!((nodes.longest_gap_seconds, nodes.longest_takeover_seconds), (Some(1.205), Some(1.205)));
        let first = &report.faults[0];
        assert_eq!((first.node, first.endpoint, first.longest_gap_seconds), (Some("node3"), None, Some(1.205)));
        assert_eq!((report.faults[1].node, report.faults[1].longest_gap_seconds), (None, None));
        assert!(report.failed > 0 && !report.is_worth_a_look());
        let mut two = report.clone();
        two.nodes = Some(NodesReport { holders: Holders { several: 1, ..nodes.holders }, ..nodes });
        assert!(two.is_worth_a_look());
    }

    #[test]
    fn figures_agree_with_what_was_recorded() {
        let report = example(1);
        assert_eq!((report.requests, report.failed), (12_002, 1));
        assert_eq!(report.availability_percent, Some(99.9917));
        assert_eq!((report.seconds_without_failure, report.seconds), (59, 60));
        assert_eq!(report.seconds_without_failure_percent, Some(98.3333));
        assert_eq!(report.latency_ms.p50, Some(2.0));
        assert_eq!(report.orders, Orders { confirmed: 100, executed_but_failed: 1, ..Orders::default() });
        let slowest = report.slowest.as_ref().unwrap();
        assert_eq!((slowest.ms, slowest.during.as_deref()), (1012.0, Some("bravo hung (SIGSTOP)")));
        let first = &report.faults[0];
        assert_eq!((first.noticed_after_seconds, first.back_after_seconds), (Some(1.03), Some(1.03)));
        assert_eq!((first.failed, first.slow, first.last_effect_after_seconds), (1, 0, Some(0.02)));
        assert_eq!((report.faults[1].failed, report.faults[1].slow), (0, 1));
        assert!(report.is_worth_a_look());
        assert!(!report.ended_early);
    }

    #[test]
    fn lost_and_doubled_orders_are_found() {
        let found = orders(&[1, 2, 3], "1\n2\n2\n9\nrubbish\n");
        assert_eq!(found, Orders { confirmed: 3, lost: 1, executed_twice: 1, executed_but_failed: 1 });
    }

    #[test]
    fn an_empty_demo_divides_nothing_by_nothing() {
        let tally = Tally::default();
        let (elapsed, planned) = (Duration::ZERO, Duration::from_secs(10));
        let holders = None;
        let report =
            Report::new(&Measured { tally: &tally, incidents: &[], order_lines: "", elapsed, planned, holders });
        assert_eq!((report.availability_percent, report.latency_ms.p99), (None, None));
        assert!(report.ended_early && !report.is_worth_a_look());
        assert!(serde_json::to_string(&report).unwrap().contains("\"availability_percent\":null"));
    }
}
