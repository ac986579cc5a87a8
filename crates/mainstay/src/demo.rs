//! `mainstay demo`: a gateway, or with `--nodes 3` three of them with one address, and three small HTTP servers of its own,
//! steady traffic, faults on a schedule, and at the end what clients saw of them.
//!
//! The clients (`load`) and the course of events (`director`) run on threads of their own; gateway and endpoints are
//! processes, so that they can be killed and hung like real ones.

mod audience;
mod children;
mod databases;
mod director;
mod incident;
mod links;
mod load;
mod probe;
mod report;
mod schedule;
mod screen;
mod service;
mod stage;
mod tally;
mod terminal;
mod watch;
mod wire;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use mainstay_runtime::signal::Signals;
use mainstay_runtime::thread::run_here;

pub use children::{GatewayArgs, gateway};
pub use service::{Args as ServiceArgs, serve};

use crate::failure::Failure;
use audience::Audience;
use director::Director;
use load::Load;
use probe::Probe;
use report::{Measured, Report, write_text};
use schedule::{LONGEST, NODES, SHORTEST, SHORTEST_OF_NODES};
use stage::Stage;

/// How the demo is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long traffic flows; the schedule of faults scales with it.
    pub duration: Duration,
    /// Print nothing but the report, as JSON.
    pub json: bool,
    /// Print lines instead of the live view, also on a terminal.
    pub plain: bool,
    /// How many gateways: one, or three that share an address.
    pub nodes: usize,
    /// Show groups of databases instead.
    pub databases: bool,
}

/// As given on the command line.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct DemoArgs {
    /// How long traffic flows, from 10s to 1h; the faults are spread over it
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    duration: Duration,
    /// Print only the report, as JSON
    #[arg(long)]
    json: bool,
    /// Print lines instead of the live view
    #[arg(long)]
    plain: bool,
    /// How many gateways: 1, or 3 that are a cluster with one address, of which the one that holds it is killed, frozen and
    /// cut off, too
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = parse_nodes)]
    nodes: usize,
    /// Show groups of PostgreSQL and Redis instead, whose primaries die; takes about a minute, and both have to be installed
    #[arg(long, conflicts_with_all = ["duration", "nodes"])]
    databases: bool,
}

impl From<DemoArgs> for Options {
    fn from(args: DemoArgs) -> Self {
        Self {
            duration: args.duration,
            json: args.json,
            plain: args.plain,
            nodes: args.nodes,
            databases: args.databases,
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _other => None,
    };
    let seconds = scale.and_then(|scale| number.parse::<u64>().ok()?.checked_mul(scale));
    let duration = seconds.map(Duration::from_secs).ok_or("write a whole number and its unit: 90s, 2m")?;
    if (SHORTEST..=LONGEST).contains(&duration) {
        Ok(duration)
    } else {
        Err("the demo lasts from 10s to 1h".to_owned())
    }
}

fn parse_nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count == 1 || count == NODES => Ok(count),
        _other => Err(format!("the demo has 1 node, or {NODES}")),
    }
}

/// Runs the demo.
///
/// # Errors
/// If a process cannot be started, or the gateway ends early.
pub fn run(options: Options) -> Result<ExitCode, Failure> {
    if options.databases {
        return databases::run(options.json);
    }
    if options.duration < SHORTEST || options.duration > LONGEST {
        return Err(Failure::usage("the demo lasts from 10 s to 1 h").hint("for example: mainstay demo --duration 60s"));
    }
    if options.nodes > 1 && options.duration < SHORTEST_OF_NODES {
        let failure =
            Failure::usage(format!("with several nodes the demo lasts from {} s", SHORTEST_OF_NODES.as_secs()));
        return Err(failure.hint("for example: mainstay demo --nodes 3 --duration 60s"));
    }
    run_here(course(options)).map_err(|error| Failure::from_error(&error))??;
    Ok(ExitCode::SUCCESS)
}

async fn course(options: Options) -> Result<(), Failure> {
    let mut signals = Signals::catch().map_err(|error| Failure::from_error(&error))?;
    // Whoever waits a minute in front of a silent terminal deserves a word; the JSON on standard output stays alone.
    if options.json && io::stderr().is_terminal() {
        eprintln!("measuring for {} s; the report comes as JSON on standard output", options.duration.as_secs());
    }
    let mut stage = tokio::select! {
        stage = Stage::start(options.nodes) => stage?,
        signal = signals.next() => return Err(Failure::new(format!("ended by {} before anything ran", signal.name()))),
    };
    let load = Load::start(stage.address(), options.duration)
        .map_err(|error| Failure::new(format!("cannot start the clients: {error}")))?;
    let watch = || Probe::start(stage.address().port());
    let probe = (options.nodes > 1).then(watch).transpose();
    let probe = probe.map_err(|error| Failure::new(format!("cannot watch who listens: {error}")))?;
    let mut audience = audience(options)?;
    audience.started(&stage.admins());
    let outcome = Director::new(&mut stage, &load, options.duration).run(&mut audience, &mut signals).await;
    let elapsed = load.elapsed().min(options.duration);
    let holders = probe.as_ref().map(Probe::holders);
    // The terminal is given back before anything is printed.
    drop(audience);
    let tally = load.finish();
    let order_lines = stage.orders();
    let mut directory = stage.end().await;
    let incidents = outcome.map_err(|failure| {
        let kept = directory.keep().display().to_string();
        failure.hint(format!("configuration and logs are in {kept}"))
    })?;
    let planned = options.duration;
    let measured =
        Measured { tally: &tally, incidents: &incidents, order_lines: &order_lines, elapsed, planned, holders };
    let mut report = Report::new(&measured);
    if report.is_worth_a_look() {
        report.set_logs(directory.keep().display().to_string());
    }
    print(&report, options)
}

fn audience(options: Options) -> Result<Audience, Failure> {
    if options.json {
        return Ok(Audience::Nobody);
    }
    let steerable = std::env::var_os("TERM").is_some_and(|name| name != "dumb");
    if options.plain || !steerable || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Ok(Audience::plain(options.duration));
    }
    Audience::live()
        .map_err(|error| Failure::new(format!("cannot use this terminal: {error}")).hint("mainstay demo --plain"))
}

fn print(report: &Report, options: Options) -> Result<(), Failure> {
    let text = if options.json {
        serde_json::to_string_pretty(report).map_err(|error| Failure::from_error(&error))? + "\n"
    } else {
        let mut text = String::from(if options.plain { "\n" } else { "" });
        write_text(report, &mut text).map_err(|error| Failure::from_error(&error))?;
        text
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| Failure::new(format!("cannot print the report: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h"), Ok(LONGEST));
        for wrong in ["", "s", "60", "9s", "2h", "1d", "1.5m", "-1s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
