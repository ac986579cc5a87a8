//! `mainstay-bench`: Mainstay and other proxies under the same load in the same interleaved run. See `bench/README.md`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people run in a terminal")]

mod handshake;
mod idle;
mod latency;
mod load;
mod machine;
mod measure;
mod open_loop;
mod origin;
mod process;
mod profile;
mod proxy;
mod report;
mod run;
mod scenario;
mod site;
mod table;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Compares Mainstay with HAProxy, nginx, Caddy and Envoy on this machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Rounds of each scenario; ratios are paired within a round.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of load on each proxy in each round.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Only these scenarios, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these proxies, separated by commas: haproxy, nginx, ours, ours-no-log, ours-patterns, envoy, caddy.
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<String>,
    /// Requests a second in the scenario `latency`, in place of half of HAProxy's peak.
    #[arg(long)]
    rate: Option<u64>,
    /// The first of the 170 ports in use, below those of outgoing connections; another bench at the same time needs others.
    #[arg(long, default_value_t = 18_000)]
    ports: u16,
    /// The binary to measure.
    #[arg(long, default_value = "target/release/mainstay")]
    mainstay: PathBuf,
    /// Three rounds of one second: enough to see a trend, not to claim one.
    #[arg(long)]
    quick: bool,
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
    /// Requests at set times (the bench starts this itself).
    OpenLoop {
        /// The proxy.
        address: SocketAddr,
        /// Connections at once.
        connections: usize,
        /// Requests a second.
        rate: u64,
        /// How long.
        seconds: f64,
    },
    /// What one request costs, in figures that a busy machine does not change. See `docs/performance.md`.
    Profile(profile::Options),
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
        Some(Command::OpenLoop { address, connections, rate, seconds }) => {
            let seen = open_loop::run(*address, *connections, *rate, Duration::try_from_secs_f64(*seconds)?)?;
            println!("{}", serde_json::to_string(&seen)?);
            return Ok(());
        }
        Some(Command::Profile(options)) => return profile::run(&arguments, options),
        None => {}
    }
    if arguments.quick {
        arguments.rounds = 3;
        arguments.seconds = 1;
    }
    run::bench(&arguments)
}
