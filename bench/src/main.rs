//! `mainstay-bench`: Mainstay, HAProxy and nginx under the same load in the same interleaved run. See `bench/README.md`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people run in a terminal")]

mod handshake;
mod idle;
mod load;
mod machine;
mod measure;
mod origin;
mod process;
mod proxy;
mod report;
mod scenario;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, Subcommand};
use proxy::{Proxy, Site};
use report::{Report, Sample, Series};
use scenario::{Kind, SCENARIOS, Scenario};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Compares Mainstay with HAProxy and nginx on this machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Rounds of each scenario; ratios are paired within a round.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of load on each proxy in each round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Only these scenarios, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The binary to measure.
    #[arg(long, default_value = "target/release/mainstay")]
    mainstay: PathBuf,
    /// Three rounds of two seconds: enough to see a trend, not to claim one.
    #[arg(long)]
    quick: bool,
    /// Leaves Mainstay out, to check the bench itself.
    #[arg(long)]
    peers_only: bool,
    /// Where the results go.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
    /// Where configurations, certificates and logs go while it runs.
    #[arg(long, default_value = "bench/work")]
    work: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// The backend that all proxies forward to (the bench starts it itself).
    Origin {
        /// Ports on 127.0.0.1 to listen on.
        ports: Vec<u16>,
    },
    /// Full TLS handshakes, each with one request (the bench starts this itself).
    Handshakes {
        /// The proxy.
        address: SocketAddr,
        /// Connections at once.
        connections: usize,
        /// How long.
        seconds: u64,
        /// The certificate to trust.
        ca: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments) -> Result<()> {
    match &arguments.command {
        Some(Command::Origin { ports }) => return origin::run(ports),
        Some(Command::Handshakes { address, connections, seconds, ca }) => {
            let outcome = handshake::run(*address, *connections, Duration::from_secs(*seconds), ca)?;
            println!("{}", outcome.text());
            return Ok(());
        }
        None => {}
    }
    if arguments.quick {
        arguments.rounds = 3;
        arguments.seconds = 2;
    }
    bench(&arguments)
}

/// The scenarios that were asked for.
fn chosen(only: &[String]) -> Result<Vec<&'static Scenario>> {
    for name in only {
        if !SCENARIOS.iter().any(|scenario| scenario.name == name) {
            let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            bail!("there is no scenario {name}; there are: {}", names.join(", "));
        }
    }
    Ok(SCENARIOS.iter().filter(|it| only.is_empty() || only.iter().any(|name| name == it.name)).collect())
}

fn bench(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.rounds > 0 && arguments.seconds > 0, "--rounds and --seconds must be at least 1");
    let scenarios = chosen(&arguments.only)?;
    machine::check_tools(!arguments.peers_only, &arguments.mainstay)?;
    measure::raise_file_limit(measure::FILES)?;
    // The harness itself, the origin and the load share the second core; the proxies have the first to themselves.
    measure::pin_to(measure::LOAD_CORE)?;

    let site = Site::prepare(&arguments.work)?;
    let _origin = origin::start(&site)?;
    let mut proxies = proxy::start_all(&site, (!arguments.peers_only).then_some(arguments.mainstay.as_path()))?;

    let mut series = Vec::new();
    for (at, scenario) in scenarios.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", at + 1, scenarios.len(), scenario.name, scenario.what);
        series.push(run_scenario(scenario, &mut proxies, &site, arguments)?);
    }
    let report = Report::new(series, arguments.rounds, arguments.seconds, &arguments.mainstay, !arguments.peers_only);
    println!("{}", report.markdown());
    report.write(&arguments.results).context("cannot write the results")?;
    eprintln!("written to {}/latest.md and latest.json", arguments.results.display());
    Ok(())
}

/// All rounds of one scenario over all proxies. The order of the proxies turns with the round, so that whatever drifts
/// on the machine does not always meet the same one.
fn run_scenario(scenario: &Scenario, proxies: &mut [Proxy], site: &Site, arguments: &Arguments) -> Result<Series> {
    let taking_part: Vec<usize> = (0..proxies.len()).filter(|at| scenario.includes(&proxies[*at].name)).collect();
    let mut series = Series::new(scenario, taking_part.iter().map(|at| proxies[*at].name.clone()));
    // Memory does not vary between rounds the way time does, and ten thousand connections take a while to come and go.
    let rounds = if scenario.kind == Kind::Idle { 1 } else { arguments.rounds };
    for round in 0..rounds {
        for turn in 0..taking_part.len() {
            let index = (turn + round) % taking_part.len();
            let proxy = &mut proxies[taking_part[index]];
            let sample = match scenario.kind {
                Kind::Idle => {
                    // A process that has served a load keeps what it allocated for it: each starts anew here.
                    proxy.restart(site)?;
                    idle::measure(proxy, site.idle_connections)?
                }
                Kind::Requests => load::measure(scenario, proxy, site, Duration::from_secs(arguments.seconds))?,
            };
            eprintln!("  round {}/{rounds}  {:<22} {}", round + 1, proxy.name, sample.describe());
            series.push(index, sample);
            proxy.after_sample()?;
        }
    }
    Ok(series)
}

impl Sample {
    /// One line for the progress on standard error.
    fn describe(&self) -> String {
        match self {
            Sample::Requests { per_cpu_second, per_second, cpu_share, errors } => format!(
                "{per_cpu_second:>8.0} req/CPU-s  {per_second:>8.0} req/s  {:>3.0} % of the core{}",
                cpu_share * 100.0,
                if *errors > 0 { format!("  {errors} ERRORS") } else { String::new() }
            ),
            Sample::Idle { bytes_per_connection, open, asked } => {
                let lost = asked - open;
                let lost = if lost > 0 { format!("  {lost} CONNECTIONS LOST") } else { String::new() };
                format!("{:>8.2} KiB per idle connection, {open} open{lost}", bytes_per_connection / 1024.0)
            }
        }
    }
}
