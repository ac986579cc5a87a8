//! Samples, and how they are related to each other.

use crate::machine::Machine;
use crate::proxy::Missing;
use crate::scenario::{Kind, Scenario, Target};
use crate::table;
use anyhow::Result;
use serde::Serialize;
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
    /// Requests at set times.
    Latency {
        /// Half of the requests were answered this many microseconds after their time, or sooner.
        p50_us: f64,
        /// 99 of 100.
        p99_us: f64,
        /// 999 of 1000.
        p999_us: f64,
        /// Requests a second.
        rate: u64,
        /// How late the generator itself began a request for which a connection was free, 99 of 100.
        own_p99_us: f64,
        /// Requests that were not answered as they should be.
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
    /// What is related to that of the others.
    pub(crate) fn value(&self) -> f64 {
        match self {
            Sample::Requests { per_cpu_second, .. } => *per_cpu_second,
            Sample::Latency { p99_us, .. } => *p99_us,
            Sample::Idle { bytes_per_connection, .. } => *bytes_per_connection,
        }
    }

    /// Whatever went wrong while it was taken.
    pub(crate) fn errors(&self) -> u64 {
        match self {
            Sample::Requests { errors, .. } | Sample::Latency { errors, .. } => *errors,
            Sample::Idle { open, asked, .. } => (asked - open) as u64,
        }
    }

    /// One line for the progress on standard error.
    pub(crate) fn describe(&self) -> String {
        let errors = self.errors();
        let errors = if errors > 0 { format!("  {errors} ERRORS") } else { String::new() };
        match self {
            Sample::Requests { per_cpu_second, per_second, cpu_share, .. } => format!(
                "{per_cpu_second:>8.0} req/CPU-s  {per_second:>8.0} req/s  {:>3.0} % of the core{errors}",
                cpu_share * 100.0
            ),
            Sample::Latency { p50_us, p99_us, p999_us, rate, own_p99_us, .. } => format!(
                "p50 {p50_us:>6.0}  p99 {p99_us:>6.0}  p99.9 {p999_us:>6.0} us at {rate} req/s, \
                 generator's own p99 {own_p99_us:.0} us{errors}"
            ),
            Sample::Idle { bytes_per_connection, open, .. } => {
                format!("{:>8.2} KiB per idle connection, {open} open{errors}", bytes_per_connection / 1024.0)
            }
        }
    }
}

/// All samples of one scenario.
#[derive(Serialize)]
pub(crate) struct Series {
    /// For machines.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// How it was measured.
    #[serde(skip)]
    pub kind: Kind,
    /// The proxy that the others are related to.
    pub base: &'static str,
    /// The proxy that should reach the target.
    #[serde(skip)]
    pub judged: &'static str,
    /// What that should reach.
    #[serde(skip)]
    pub target: Target,
    /// One for each proxy.
    pub rows: Vec<Row>,
}

/// The samples of one proxy.
#[derive(Serialize)]
pub(crate) struct Row {
    /// Its name in the table.
    pub proxy: &'static str,
    /// With the round in which each was taken.
    pub samples: Vec<Taken>,
    /// What went wrong in rounds without a sample.
    pub failures: Vec<String>,
    /// Against the base in the same round: median, lowest, highest.
    pub ratio: Option<[f64; 3]>,
    /// Whether the proxy that is judged reached its target: nothing for the others.
    pub met: Option<bool>,
}

/// A sample and its round.
#[derive(Serialize)]
pub(crate) struct Taken {
    round: usize,
    /// What was seen.
    #[serde(flatten)]
    pub sample: Sample,
}

impl Row {
    /// The median of something over all samples.
    pub(crate) fn median(&self, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        spread(&self.samples.iter().map(|taken| of(&taken.sample)).collect::<Vec<_>>()).map(|[median, ..]| median)
    }
}

impl Series {
    /// An empty one.
    pub(crate) fn new(scenario: &Scenario, proxies: impl Iterator<Item = &'static str>) -> Series {
        let row = |proxy| Row { proxy, samples: Vec::new(), failures: Vec::new(), ratio: None, met: None };
        Series {
            name: scenario.name,
            what: scenario.what,
            kind: scenario.kind,
            base: scenario.base,
            judged: scenario.judged,
            target: scenario.target,
            rows: proxies.map(row).collect(),
        }
    }

    /// Adds the sample of one proxy.
    pub(crate) fn push(&mut self, proxy: usize, round: usize, sample: Sample) {
        self.rows[proxy].samples.push(Taken { round, sample });
    }

    /// Notes why a proxy has no sample.
    pub(crate) fn fail(&mut self, proxy: usize, reason: String) {
        self.rows[proxy].failures.push(reason);
    }

    /// Relates every proxy to the base, within each round, and the one that is judged to its target.
    fn relate(&mut self) {
        let base = self.rows.iter().find(|row| row.proxy == self.base);
        let base: Vec<(usize, f64)> =
            base.map(|row| row.samples.iter().map(|it| (it.round, it.sample.value())).collect()).unwrap_or_default();
        let (target, judged) = (self.target, self.judged);
        for row in &mut self.rows {
            let pair = |taken: &Taken| {
                let (_, base) = base.iter().find(|(round, base)| *round == taken.round && *base > 0.0)?;
                Some(taken.sample.value() / base)
            };
            row.ratio = spread(&row.samples.iter().filter_map(pair).collect::<Vec<_>>());
            if row.proxy == judged {
                let ratio = row.ratio.map(|[median, ..]| median);
                let reached = match target {
                    Target::RatioMin(least) => ratio.map(|ratio| ratio >= least),
                    Target::RatioMax(most) => ratio.map(|ratio| ratio <= most),
                    Target::KibMax(most) => row.median(Sample::value).map(|bytes| bytes / 1024.0 <= most),
                };
                // A figure that was reached by leaving requests unanswered is none.
                let errors: u64 = row.samples.iter().map(|taken| taken.sample.errors()).sum();
                row.met = reached.map(|reached| reached && errors == 0);
            }
        }
    }
}

/// Median, lowest and highest.
pub(crate) fn spread(values: &[f64]) -> Option<[f64; 3]> {
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
    /// What it happened on.
    pub machine: Machine,
    /// How many.
    pub rounds: usize,
    /// Of load in each.
    pub seconds: u64,
    /// Proxies that did not take part, and why.
    pub missing: Vec<Missing>,
    /// One for each scenario.
    pub series: Vec<Series>,
}

impl Report {
    /// Relates all samples.
    pub(crate) fn relate(&mut self) {
        self.series.iter_mut().for_each(Series::relate);
    }

    /// Writes `latest.md` and `latest.json`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("latest.md"), table::markdown(self))?;
        std::fs::write(folder.join("latest.json"), serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{BASE, OURS};
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
        let mut series = Series::new(&SCENARIOS[0], [BASE, OURS].into_iter());
        for (round, base, ours) in [(0, 100.0, 120.0), (1, 50.0, 60.0), (2, 10.0, 12.0)] {
            series.push(0, round, sample(base));
            series.push(1, round, sample(ours));
        }
        series.relate();
        // The machine became ten times slower over the rounds, and the ratio does not show it.
        let [median, low, high] = series.rows[1].ratio.unwrap();
        assert!([median, low, high].iter().all(|it| (it - 1.2).abs() < 1e-9));
        assert_eq!((series.rows[0].met, series.rows[1].met), (None, Some(true)));
    }

    #[test]
    fn what_was_reached_with_errors_is_not_met() {
        let mut series = Series::new(&SCENARIOS[0], [BASE, OURS].into_iter());
        series.push(0, 0, sample(100.0));
        series.push(1, 0, Sample::Requests { per_cpu_second: 200.0, per_second: 1.0, cpu_share: 1.0, errors: 1 });
        series.relate();
        assert_eq!(series.rows[1].met, Some(false));
    }

    #[test]
    fn a_round_that_one_of_the_two_missed_counts_for_nothing() {
        let mut series = Series::new(&SCENARIOS[0], [BASE, OURS].into_iter());
        series.push(0, 0, sample(100.0));
        series.push(0, 2, sample(200.0));
        series.fail(0, "it was killed".to_owned());
        for round in 0..3 {
            series.push(1, round, sample(110.0));
        }
        series.relate();
        assert_eq!(series.rows[1].ratio, Some([(1.1 + 0.55) / 2.0, 0.55, 1.1]));
        assert_eq!(series.rows[1].met, Some(false));
    }
}
