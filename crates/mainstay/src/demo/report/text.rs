//! The report for people: fits a terminal of 80 columns and 24 lines.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::demo::report::{FaultReport, Report};
use crate::demo::tally::SLOW;

/// Faults that are shown one by one; more than these are summed up by kind.
const FAULTS_MAX: usize = 7;

/// From here on it is worth saying that the machine itself made requests slow.
const MACHINE_LATE_MS: f64 = 50.0;

/// Kinds of failures that are shown.
const FAILURES_MAX: usize = 3;

/// The same for several nodes, whose report has a line more.
const FAILURES_OF_NODES_MAX: usize = 2;

/// Writes the report.
///
/// # Errors
/// If `out` fails.
pub(crate) fn write_text(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let early = if report.ended_early { ", ended early" } else { "" };
    let requests = grouped(report.requests);
    writeln!(
        out,
        "Mainstay demo: {requests} requests in {:.0} s{early}; {}",
        report.duration_seconds,
        verdict(report)
    )?;
    writeln!(out)?;
    write_figures(report, out)?;
    write_faults(report, out)?;
    write_failures(report, out)?;
    writeln!(out)?;
    let slow = SLOW.as_millis();
    if report.nodes.is_some() {
        writeln!(out, "Counted by the clients. Noticed (node): another one answers. Slow: > {slow} ms.")?;
    } else {
        writeln!(out, "Counted by the clients. Noticed, back: by the gateway's status. Slow: > {slow} ms.")?;
    }
    if let Some(worst) = report.machine_late_ms.filter(|worst| *worst >= MACHINE_LATE_MS) {
        writeln!(
            out,
            "This machine was busy: clients woke up to {} late, which counts as latency.",
            millis(Some(worst))
        )?;
    }
    match &report.logs {
        Some(path) => writeln!(out, "Logs, kept because something failed: {path}"),
        None if report.nodes.is_some() => writeln!(out, "Next: three nodes in five minutes, docs/cluster.md"),
        None => writeln!(out, "Next: mainstay proxy --listen :8080 HOST:PORT HOST:PORT"),
    }
}

fn verdict(report: &Report) -> String {
    match report.failed {
        0 if report.requests == 0 => "nothing measured".to_owned(),
        0 => "none failed".to_owned(),
        failed => format!("{} failed", grouped(failed)),
    }
}

fn write_figures(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let good = report.requests - report.failed;
    let requests = format!("{} of {}", grouped(good), grouped(report.requests));
    writeln!(
        out,
        "  availability         {:>9}   {requests} requests succeeded",
        percent(report.availability_percent)
    )?;
    let (clean, seconds) = (report.seconds_without_failure, report.seconds);
    let share = percent(report.seconds_without_failure_percent);
    writeln!(out, "  time without failure {share:>9}   {clean} of {seconds} seconds")?;
    let latency = &report.latency_ms;
    let [p50, p99, p999] = [latency.p50, latency.p99, latency.p999].map(millis);
    writeln!(out, "  latency              {p50:>9}   median; p99 {p99}; p99.9 {p999}")?;
    if let Some(nodes) = &report.nodes {
        let holders = &nodes.holders;
        let most = if holders.several == 0 {
            "never two at once".to_owned()
        } else {
            format!("TWO AT ONCE in {}", grouped(holders.several))
        };
        let (looks, nobody) = (grouped(holders.looks), grouped(holders.nobody));
        let gap = nodes.longest_gap_seconds.map_or("-".to_owned(), short);
        writeln!(out, "  longest gap          {gap:>9}   without a successful answer")?;
        writeln!(out, "  who listens          {looks:>9}   looks: {most}; nobody in {nobody}")?;
    } else if let Some(slowest) = &report.slowest {
        let during = slowest.during.as_ref().map(|during| format!(" ({during})")).unwrap_or_default();
        let at = clock(slowest.at_seconds);
        writeln!(out, "  slowest request      {:>9}   {} at {at}{during}", millis(Some(slowest.ms)), slowest.method)?;
    }
    let orders = &report.orders;
    let unsure = match orders.executed_but_failed {
        0 => String::new(),
        count => format!("; {count} done though failed"),
    };
    let (lost, twice) = (orders.lost, orders.executed_twice);
    writeln!(out, "  orders (POST)        {:>9}   done; {lost} lost; {twice} twice{unsure}", grouped(orders.confirmed))
}

fn write_faults(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.faults.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let many = report.faults.len() > FAULTS_MAX;
    let at = if many { "times" } else { "at" };
    let effect = if report.nodes.is_some() { "gap" } else { "effect" };
    writeln!(
        out,
        "  {:<9} {:<17} {at:>5}  {:>8} {effect:>8} {:>8} {:>6} {:>5}",
        "fault", "", "noticed", "back", "failed", "slow"
    )?;
    if many {
        write_by_kind(report, out)
    } else {
        report.faults.iter().try_for_each(|fault| write_fault(report, fault, out))
    }
}

fn write_fault(report: &Report, fault: &FaultReport, out: &mut dyn Write) -> fmt::Result {
    let whose = fault.endpoint.or(fault.node).unwrap_or("gateway");
    let at = clock(fault.at_seconds);
    write_row(out, whose, fault.what, &at, Row::of(report, fault))
}

/// The worst of each kind.
fn write_by_kind(report: &Report, out: &mut dyn Write) -> fmt::Result {
    let mut kinds: Vec<&FaultReport> = Vec::new();
    for fault in &report.faults {
        if kinds.iter().all(|known| known.kind != fault.kind) {
            kinds.push(fault);
        }
    }
    for kind in kinds {
        let same = report.faults.iter().filter(|fault| fault.kind == kind.kind);
        let row = same.clone().map(|fault| Row::of(report, fault)).fold(Row::default(), Row::worse);
        write_row(out, "worst of", kind.what, &format!("{}x", same.count()), row)?;
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    noticed: Option<f64>,
    effect: Option<f64>,
    back: Option<f64>,
    failed: u64,
    slow: u64,
}

impl Row {
    fn of(report: &Report, fault: &FaultReport) -> Self {
        Self {
            noticed: fault.noticed_after_seconds,
            effect: match report.nodes {
                Some(_) => fault.longest_gap_seconds,
                None => fault.last_effect_after_seconds,
            },
            back: fault.back_after_seconds,
            failed: fault.failed,
            slow: fault.slow,
        }
    }

    fn worse(self, other: Self) -> Self {
        let longer = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (one, None) | (None, one) => one,
        };
        Self {
            noticed: longer(self.noticed, other.noticed),
            effect: longer(self.effect, other.effect),
            back: longer(self.back, other.back),
            failed: self.failed + other.failed,
            slow: self.slow + other.slow,
        }
    }
}

fn write_row(out: &mut dyn Write, whose: &str, what: &str, at: &str, row: Row) -> fmt::Result {
    let [noticed, effect, back] = [row.noticed, row.effect, row.back].map(|time| time.map_or("-".to_owned(), short));
    let (failed, slow) = (row.failed, row.slow);
    writeln!(out, "  {whose:<9} {what:<17} {at:>5}  {noticed:>8} {effect:>8} {back:>8} {failed:>6} {slow:>5}")
}

fn write_failures(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.failures.is_empty() {
        return Ok(());
    }
    let mut failures: Vec<(&String, &u64)> = report.failures.iter().collect();
    failures.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
    writeln!(out)?;
    let most = if report.nodes.is_some() { FAILURES_OF_NODES_MAX } else { FAILURES_MAX };
    for (at, (how, count)) in failures.iter().take(most).enumerate() {
        let title = if at == 0 { "failures" } else { "" };
        writeln!(out, "  {title:<20} {:>9}   {how}", grouped(**count))?;
    }
    if failures.len() > most {
        writeln!(out, "  {:<20} {:>9}   and {} other kinds (see --json)", "", "", failures.len() - most)?;
    }
    if report.nodes.is_none() && failures.iter().any(|(how, _count)| how.ends_with(", POST")) {
        writeln!(out, "  A POST that may have reached an endpoint is not sent again: it fails.")?;
    }
    Ok(())
}

/// `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1.03 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    short(duration.as_secs_f64())
}

fn short(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

/// Never rounded up to a hundred: one failure in a million is one.
fn percent(percent: Option<f64>) -> String {
    percent.map_or("-".to_owned(), |percent| format!("{:.3} %", (percent * 1000.0).floor() / 1000.0))
}

fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    format!("{:02}:{:02}", whole / 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::report::tests::{example, example_of_nodes};

    fn text(report: &Report) -> String {
        let mut text = String::new();
        write_text(report, &mut text).unwrap();
        text
    }

    #[test]
    fn the_report_fits_a_small_terminal() {
        for mut report in [example(0), example(1), example(3), example_of_nodes()] {
            for kind in 0..6 {
                report.failures.insert(format!("gateway 504 (some long reason {kind}), POST"), kind);
            }
            report.set_logs("/tmp/mainstay-demo-1234567-0".to_owned());
            let text = text(&report);
            assert!(text.lines().count() <= 24, "{}\n{text}", text.lines().count());
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn the_report_says_what_was_measured() {
        let text = text(&example(1));
        for part in [
            "12,002 requests in 60 s; 1 failed",
            "  availability          99.991 %   12,001 of 12,002 requests succeeded",
            "  time without failure  98.333 %   59 of 60 seconds",
            "  slowest request        1012 ms   GET at 00:14 (bravo hung (SIGSTOP))",
            "  orders (POST)              100   done; 0 lost; 0 twice; 1 done though failed",
            "  alpha     killed (kill -9)  00:02    1.03 s   0.02 s   1.03 s      1     0",
            "  failures                     1   gateway 502 (upstream-reset), POST",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }

    #[test]
    fn the_report_of_nodes_says_who_held_the_address() {
        let text = text(&example_of_nodes());
        for part in [
            "  longest gap             1.21 s   without a successful answer",
            "  who listens              5,931   looks: never two at once; nobody in 512",
            "  node3     killed (kill -9)  00:02    1.21 s   1.21 s   1.03 s    240     0",
            "  bravo     hung (SIGSTOP)    00:10    1.21 s        -   1.03 s      0     0",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }

    #[test]
    fn a_single_failure_is_never_rounded_away() {
        assert_eq!(percent(Some(99.9999)), "99.999 %");
        assert_eq!(percent(Some(100.0)), "100.000 %");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
    }
}
