//! From samples to the table.

use crate::machine::Machine;
use crate::scenario::{Kind, Scenario};
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// One proxy in one round.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Sample {
    /// Load for some seconds.
    Requests {
        /// Requests for each second of the proxy's user and system time.
        per_cpu_second: f64,
        /// Requests a second of the clock.
        per_second: f64,
        /// CPU time over clock time.
        cpu_share: f64,
        /// Socket errors, and answers other than 2xx and 3xx.
        errors: u64,
    },
    /// Idle connections.
    Idle {
        /// How much resident memory grew.
        bytes_per_connection: f64,
        /// Connections still open when it was read.
        open: usize,
        /// Connections that were made.
        asked: usize,
    },
}

impl Sample {
    fn value(&self) -> f64 {
        match self {
            Sample::Requests { per_cpu_second, .. } => *per_cpu_second,
            Sample::Idle { bytes_per_connection, .. } => *bytes_per_connection,
        }
    }

    fn errors(&self) -> u64 {
        match self {
            Sample::Requests { errors, .. } => *errors,
            Sample::Idle { open, asked, .. } => (asked - open) as u64,
        }
    }

    fn cpu_share(&self) -> f64 {
        match self {
            Sample::Requests { cpu_share, .. } => *cpu_share,
            Sample::Idle { .. } => 0.0,
        }
    }
}

/// All samples of one scenario.
#[derive(Serialize)]
pub(crate) struct Series {
    name: &'static str,
    what: &'static str,
    #[serde(skip)]
    kind: Kind,
    /// One for each proxy; the first is what the others are related to.
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    proxy: String,
    samples: Vec<Sample>,
    /// Against the first proxy in the same round: median, lowest, highest.
    ratio: Option<[f64; 3]>,
}

impl Series {
    /// An empty one.
    pub(crate) fn new(scenario: &Scenario, proxies: impl Iterator<Item = String>) -> Series {
        let rows = proxies.map(|proxy| Row { proxy, samples: Vec::new(), ratio: None }).collect();
        Series { name: scenario.name, what: scenario.what, kind: scenario.kind, rows }
    }

    /// Adds the sample of one proxy in the current round.
    pub(crate) fn push(&mut self, proxy: usize, sample: Sample) {
        self.rows[proxy].samples.push(sample);
    }

    /// Relates every proxy to the first one, within each round.
    fn relate(&mut self) {
        let base: Vec<f64> = self.rows[0].samples.iter().map(Sample::value).collect();
        for row in &mut self.rows {
            let pairs = row.samples.iter().zip(&base).filter(|(_, base)| **base > 0.0);
            let ratios: Vec<f64> = pairs.map(|(sample, base)| sample.value() / base).collect();
            row.ratio = spread(&ratios);
        }
    }
}

/// Median, lowest and highest.
fn spread(values: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    Some([median, first, last])
}

/// The whole run.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rounds: usize,
    seconds: u64,
    series: Vec<Series>,
}

impl Report {
    /// Relates all samples.
    pub(crate) fn new(mut series: Vec<Series>, rounds: usize, seconds: u64, binary: &Path, with: bool) -> Report {
        series.iter_mut().for_each(Series::relate);
        Report { machine: Machine::read(with.then_some(binary)), rounds, seconds, series }
    }

    /// The table for people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        let machine = &self.machine;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}, {} cores of {}, {}, load average {}",
            machine.date, machine.cores, machine.processor, machine.kernel, machine.load_average
        );
        let _ = writeln!(text, "{}", machine.versions.join("; "));
        let _ = writeln!(
            text,
            "{} interleaved rounds of {} s; ratios are paired within a round and given as median (lowest..highest)\n",
            self.rounds, self.seconds
        );
        self.requests_table(&mut text);
        self.idle_table(&mut text);
        text
    }

    fn requests_table(&self, text: &mut String) {
        let series: Vec<&Series> = self.series.iter().filter(|it| it.kind == Kind::Requests).collect();
        if series.is_empty() {
            return;
        }
        text.push_str(
            "| requests per CPU-second of the proxy | proxy | median | to HAProxy | share of its core | errors |\n",
        );
        text.push_str("|---|---|---:|---:|---:|---:|\n");
        for series in series {
            for row in &series.rows {
                let values: Vec<f64> = row.samples.iter().map(Sample::value).collect();
                let shares: Vec<f64> = row.samples.iter().map(Sample::cpu_share).collect();
                let (Some([median, ..]), Some([share, ..])) = (spread(&values), spread(&shares)) else { continue };
                let errors: u64 = row.samples.iter().map(Sample::errors).sum();
                let _ = writeln!(
                    text,
                    "| {} | {} | {median:.0} | {} | {:.0} % | {} |",
                    series.what,
                    row.proxy,
                    ratio_text(row.ratio),
                    share * 100.0,
                    if errors > 0 { format!("**{errors}**") } else { "0".to_owned() },
                );
            }
        }
    }

    fn idle_table(&self, text: &mut String) {
        for series in self.series.iter().filter(|it| it.kind == Kind::Idle) {
            let _ = writeln!(text, "\n| {} | KiB | connections lost |\n|---|---:|---:|", series.what);
            for row in &series.rows {
                let values: Vec<f64> = row.samples.iter().map(Sample::value).collect();
                let Some([median, ..]) = spread(&values) else { continue };
                let lost: u64 = row.samples.iter().map(Sample::errors).sum();
                let _ = writeln!(text, "| {} | {:.2} | {lost} |", row.proxy, median / 1024.0);
            }
        }
    }

    /// Writes `latest.md` and `latest.json`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("latest.md"), self.markdown())?;
        std::fs::write(folder.join("latest.json"), serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

fn ratio_text(ratio: Option<[f64; 3]>) -> String {
    ratio.map_or("-".to_owned(), |[median, low, high]| format!("{median:.2} ({low:.2}..{high:.2})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    fn sample(per_cpu_second: f64) -> Sample {
        Sample::Requests { per_cpu_second, per_second: 1.0, cpu_share: 1.0, errors: 0 }
    }

    #[test]
    fn the_middle_of_values() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some([2.0, 1.0, 3.0]));
        assert_eq!(spread(&[4.0, 1.0]), Some([2.5, 1.0, 4.0]));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratios_are_paired_within_a_round() {
        let mut series = Series::new(&SCENARIOS[0], ["haproxy", "mainstay"].map(str::to_owned).into_iter());
        for (base, ours) in [(100.0, 120.0), (50.0, 60.0), (10.0, 12.0)] {
            series.push(0, sample(base));
            series.push(1, sample(ours));
        }
        series.relate();
        // The machine became ten times slower over the rounds, and the ratio does not show it.
        let [median, low, high] = series.rows[1].ratio.unwrap();
        assert!([median, low, high].iter().all(|it| (it - 1.2).abs() < 1e-9));
    }
}
