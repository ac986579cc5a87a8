//! The table for people.

use crate::proxy::Missing;
use crate::report::{Report, Row, Sample, Series};
use crate::scenario::{Kind, Target};
use std::fmt::Write as _;

/// The whole report. Writing to a string cannot fail, so what `writeln!` says is dropped throughout.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let machine = &report.machine;
    let _ = writeln!(
        text,
        "{}, {} cores of {}, {}, load average {}",
        machine.date, machine.cores, machine.processor, machine.kernel, machine.load_average
    );
    let _ = writeln!(text, "{}", machine.versions.join("; "));
    let _ = writeln!(
        text,
        "{} interleaved rounds of {} s; ratios are paired within a round and given as median (lowest..highest)",
        report.rounds, report.seconds
    );
    for Missing { proxy, reason } in &report.missing {
        let _ = writeln!(text, "{proxy}: not available ({})", one_line(reason));
    }
    let of = |wanted: fn(Kind) -> bool| report.series.iter().filter(move |it| wanted(it.kind)).collect::<Vec<_>>();
    summary(&report.series, &mut text);
    requests(&of(|kind| matches!(kind, Kind::Requests(_))), &mut text);
    latency(&of(|kind| kind == Kind::Latency), &mut text);
    idle(&of(|kind| kind == Kind::Idle), &mut text);
    failures(&report.series, &mut text);
    text
}

/// What is judged against what it should reach.
fn summary(series: &[Series], text: &mut String) {
    let rows: Vec<(&Series, &Row)> = series
        .iter()
        .filter_map(|series| series.rows.iter().find(|row| row.proxy == series.judged).map(|row| (series, row)))
        .collect();
    if rows.is_empty() {
        return;
    }
    text.push_str("\n| Mainstay | measured | target | |\n|---|---:|---:|---|\n");
    for (series, row) in rows {
        let (measured, target) = match series.target {
            Target::RatioMin(least) => (ratio_text(row.ratio), format!(">= {least:.2}")),
            Target::RatioMax(most) => (ratio_text(row.ratio), format!("<= {most:.2}")),
            Target::KibMax(most) => {
                let kib = row.median(Sample::value).map(|bytes| format!("{:.2} KiB", bytes / 1024.0));
                (kib.unwrap_or("-".to_owned()), format!("<= {most:.2} KiB"))
            }
        };
        let verdict = match row.met {
            Some(true) => "met",
            Some(false) => "**short**",
            None if row.samples.is_empty() => "**failed**",
            None => "",
        };
        let _ = writeln!(text, "| {} | {measured} | {target} | {verdict} |", series.what);
    }
}

fn requests(series: &[&Series], text: &mut String) {
    if series.is_empty() {
        return;
    }
    text.push_str(
        "\n| requests per CPU-second of the proxy | proxy | median | to the base | share of its core | errors |\n\
         |---|---|---:|---:|---:|---:|\n",
    );
    for series in series {
        for row in &series.rows {
            let share = |sample: &Sample| match sample {
                Sample::Requests { cpu_share, .. } => *cpu_share * 100.0,
                Sample::Latency { .. } | Sample::Idle { .. } => 0.0,
            };
            let (Some(median), Some(share)) = (row.median(Sample::value), row.median(share)) else {
                let _ = writeln!(text, "| {} | {} | failed | - | - | - |", series.what, row.proxy);
                continue;
            };
            let (ratio, errors) = (ratio_text(row.ratio), errors_text(row));
            let _ =
                writeln!(text, "| {} | {} | {median:.0} | {ratio} | {share:.0} % | {errors} |", series.what, row.proxy);
        }
    }
}

fn latency(series: &[&Series], text: &mut String) {
    for series in series {
        let rate = series.rows.iter().find_map(|row| match row.samples.first()?.sample {
            Sample::Latency { rate, .. } => Some(rate),
            Sample::Requests { .. } | Sample::Idle { .. } => None,
        });
        let rate = rate.map_or("no rate".to_owned(), |rate| format!("{rate} requests a second"));
        let _ = writeln!(
            text,
            "\n| {} ({rate}) | p50 us | p99 us | p99.9 us | p99 to HAProxy | generator's own p99 us | errors |\n\
             |---|---:|---:|---:|---:|---:|---:|",
            series.what
        );
        for row in &series.rows {
            let of = |which: fn(&[f64; 4]) -> f64| {
                row.median(|sample| match sample {
                    Sample::Latency { p50_us, p99_us, p999_us, own_p99_us, .. } => {
                        which(&[*p50_us, *p99_us, *p999_us, *own_p99_us])
                    }
                    Sample::Requests { .. } | Sample::Idle { .. } => 0.0,
                })
            };
            let all = (of(|it| it[0]), of(|it| it[1]), of(|it| it[2]), of(|it| it[3]));
            let (Some(p50), Some(p99), Some(p999), Some(own)) = all else {
                let _ = writeln!(text, "| {} | failed | - | - | - | - | - |", row.proxy);
                continue;
            };
            let (ratio, errors) = (ratio_text(row.ratio), errors_text(row));
            let _ =
                writeln!(text, "| {} | {p50:.0} | {p99:.0} | {p999:.0} | {ratio} | {own:.0} | {errors} |", row.proxy);
        }
    }
}

fn idle(series: &[&Series], text: &mut String) {
    for series in series {
        let _ = writeln!(text, "\n| {} | KiB | connections lost |\n|---|---:|---:|", series.what);
        for row in &series.rows {
            let Some(bytes) = row.median(Sample::value) else {
                let _ = writeln!(text, "| {} | failed | - |", row.proxy);
                continue;
            };
            let _ = writeln!(text, "| {} | {:.2} | {} |", row.proxy, bytes / 1024.0, errors_text(row));
        }
    }
}

/// What went wrong, each thing once.
fn failures(series: &[Series], text: &mut String) {
    let failed = |series: &Series| series.rows.iter().any(|row| !row.failures.is_empty());
    if !series.iter().any(failed) {
        return;
    }
    text.push_str("\nRounds without a sample:\n\n");
    for series in series {
        for row in &series.rows {
            let Some(first) = row.failures.first() else { continue };
            let _ =
                writeln!(text, "- {}, {}: {} times, {}", series.name, row.proxy, row.failures.len(), one_line(first));
        }
    }
}

fn errors_text(row: &Row) -> String {
    match row.samples.iter().map(|taken| taken.sample.errors()).sum::<u64>() {
        0 => "0".to_owned(),
        errors => format!("**{errors}**"),
    }
}

fn ratio_text(ratio: Option<[f64; 3]>) -> String {
    ratio.map_or("-".to_owned(), |[median, low, high]| format!("{median:.2} ({low:.2}..{high:.2})"))
}

/// Fit for a line of its own, and not longer than that.
pub(crate) fn one_line(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::proxy::{BASE, OURS};
    use crate::scenario::SCENARIOS;

    #[test]
    fn a_failure_stands_in_the_table_beside_what_succeeded() {
        let mut series = Series::new(&SCENARIOS[0], [BASE, OURS].into_iter());
        let sample = Sample::Requests { per_cpu_second: 50_000.0, per_second: 1.0, cpu_share: 0.9, errors: 0 };
        series.push(0, 0, sample);
        series.fail(1, "nothing was served\nat all".to_owned());
        let missing = vec![Missing { proxy: "envoy", reason: "envoy is not installed\n  hint: no".to_owned() }];
        let mut report = Report { machine: Machine::read(&[]), rounds: 1, seconds: 1, missing, series: vec![series] };
        report.relate();
        let text = markdown(&report);
        assert!(text.contains("envoy: not available (envoy is not installed hint: no)"), "{text}");
        assert!(text.contains("| mainstay | failed | - | - | - |"), "{text}");
        assert!(text.contains("| - | >= 1.20 | **failed** |"), "{text}");
        assert!(text.contains("| haproxy | 50000 | 1.00 (1.00..1.00) | 90 % | 0 |"), "{text}");
        assert!(text.contains("- keep-alive-64, mainstay: 1 times, nothing was served at all"), "{text}");
    }
}
