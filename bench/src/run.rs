//! The rounds.

use crate::proxy::{self, Missing, Proxy};
use crate::report::{Report, Sample, Series};
use crate::scenario::{Kind, SCENARIOS, Scenario};
use crate::site::Site;
use crate::{Arguments, idle, latency, load, machine, measure, origin, table};
use anyhow::{Context as _, Result, bail, ensure};
use std::time::Duration;

/// How often a proxy may fail in one scenario before the rest of its rounds is left out.
const FAILURES_MAX: usize = 2;

/// The scenarios that were asked for.
pub(crate) fn chosen(only: &[String]) -> Result<Vec<&'static Scenario>> {
    for name in only {
        if !SCENARIOS.iter().any(|scenario| scenario.name == name) {
            let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            bail!("there is no scenario {name}; there are: {}", names.join(", "));
        }
    }
    Ok(SCENARIOS.iter().filter(|it| only.is_empty() || only.iter().any(|name| name == it.name)).collect())
}

/// Measures everything that was asked for, prints the table and writes it down.
pub(crate) fn bench(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.rounds > 0 && arguments.seconds > 0, "--rounds and --seconds must be at least 1");
    let scenarios = chosen(&arguments.only)?;
    machine::check_tools(&[("wrk", "wrk"), ("h2load", "nghttp2-client"), ("openssl", "openssl")])?;
    measure::raise_file_limit(measure::FILES)?;
    // The harness itself, the origin and the load share the second core; the proxies have the first to themselves.
    measure::pin_to(measure::LOAD_CORE)?;

    let site = Site::prepare(&arguments.work, arguments.ports)?;
    let (mut proxies, missing) = proxy::choose(&site, &arguments.proxies, &arguments.mainstay)?;
    for Missing { proxy: name, reason } in &missing {
        eprintln!("{name} does not take part: {}", table::one_line(reason));
    }
    ensure!(!proxies.is_empty(), "no proxy to measure");
    let _origin = origin::start(&site)?;
    let mut report = Report {
        machine: machine::Machine::read(&proxies),
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        missing,
        series: Vec::new(),
    };
    for (at, scenario) in scenarios.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", at + 1, scenarios.len(), scenario.name, scenario.what);
        report.series.push(run_scenario(scenario, &mut proxies, &site, arguments));
        // After each, so that whatever ends the run early leaves what was measured until then.
        report.relate();
        report.write(&arguments.results).context("cannot write the results")?;
    }
    report.machine.load_average = machine::load_average();
    report.write(&arguments.results).context("cannot write the results")?;
    println!("{}", table::markdown(&report));
    eprintln!("written to {}/latest.md and latest.json", arguments.results.display());
    Ok(())
}

/// All rounds of one scenario over all proxies. The order of the proxies turns with the round, so that whatever drifts
/// on the machine does not always meet the same one. What fails is noted, and the others go on.
fn run_scenario(scenario: &Scenario, proxies: &mut [Proxy], site: &Site, arguments: &Arguments) -> Series {
    // Memory does not vary between rounds the way time does, and ten thousand connections take a while to come and go.
    let rounds = if scenario.kind == Kind::Idle { 1 } else { arguments.rounds };
    let taking_part: Vec<usize> =
        (0..proxies.len()).filter(|at| scenario.rounds(proxies[*at].name, rounds) > 0).collect();
    let mut series = Series::new(scenario, taking_part.iter().map(|at| proxies[*at].name));
    let rate = match scenario.kind {
        Kind::Latency => match latency::rate(scenario, proxies, site, arguments) {
            Ok(rate) => {
                eprintln!("  at {rate} requests a second");
                rate
            }
            Err(error) => {
                eprintln!("  FAILED: {error:#}");
                (0..taking_part.len()).for_each(|row| series.fail(row, format!("{error:#}")));
                return series;
            }
        },
        Kind::Requests(_) | Kind::Idle => 0,
    };
    for round in 0..rounds {
        for turn in 0..taking_part.len() {
            let row = (turn + round) % taking_part.len();
            let proxy = &mut proxies[taking_part[row]];
            if round >= scenario.rounds(proxy.name, rounds) || series.rows[row].failures.len() >= FAILURES_MAX {
                continue;
            }
            match sample(scenario, proxy, site, arguments, rate) {
                Ok(sample) => {
                    eprintln!("  round {}/{rounds}  {:<18} {}", round + 1, proxy.name, sample.describe());
                    series.push(row, round, sample);
                }
                Err(error) => {
                    eprintln!("  round {}/{rounds}  {:<18} FAILED: {error:#}", round + 1, proxy.name);
                    series.fail(row, format!("{error:#}"));
                    // Whatever state that left it in.
                    proxy.stop();
                }
            }
        }
    }
    series
}

/// One sample of one proxy, which is started if it does not run.
fn sample(scenario: &Scenario, proxy: &mut Proxy, site: &Site, arguments: &Arguments, rate: u64) -> Result<Sample> {
    // A process that has served a load keeps what it allocated for it: for the idle connections each starts anew.
    if scenario.kind == Kind::Idle || !proxy.runs() {
        proxy.restart(site)?;
    }
    let duration = Duration::from_secs(arguments.seconds);
    let sample = match scenario.kind {
        Kind::Idle => idle::measure(proxy, scenario.connections)?,
        Kind::Latency => latency::measure(scenario, proxy, rate, duration)?,
        Kind::Requests(_) => load::measure(scenario, proxy, site, duration)?,
    };
    proxy.after_sample()?;
    Ok(sample)
}
