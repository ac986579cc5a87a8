//! The command line: what can be asked, and which module answers.

mod help;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::failure::Failure;
use crate::run::Predecessor;
use crate::{
    access, address, alerts, audit_log, cache, cell, certificate, client, cluster, database, demo, drain, explain,
    guard, ledger, logging, probes, run, shared_config, slo, status, steer, telemetry, upgrade,
};

/// Stands in front of services and databases, notices the failures of their parts, hides them, and measures that it did.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, arg_required_else_help = true, max_term_width = 100, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    credentials: client::Credentials,
    /// How the log on standard error looks: json or text [default: text on a terminal, else json]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = "Log", hide_possible_values = true)]
    log_format: Option<logging::Format>,
    /// What is logged: off, error, warn, info, debug or trace [default: info, or $MAINSTAY_LOG]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Log")]
    log_level: Option<String>,
}

const FIRST_STEPS: &str = "\
First steps:
  mainstay demo                                                 see it work, and measured
  mainstay proxy --listen :8080 127.0.0.1:3001 127.0.0.1:3002   no file needed
  mainstay check -c lb.toml                                     every mistake at once
  mainstay run -c lb.toml                                       serve it
  mainstay status                                               what a running node does

Exit codes: 0 done, 1 failed, 2 bad usage or bad configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a configuration file
    #[command(after_help = help::RUN_HELP)]
    Run(RunArgs),
    /// Check a configuration file without serving it
    #[command(after_help = help::CHECK_HELP)]
    Check(CheckArgs),
    /// Balance HTTP over endpoints, without a configuration file
    #[command(after_help = help::PROXY_HELP)]
    Proxy(run::ProxyArgs),
    /// Show what a running node does: services, endpoints, routes, listeners
    #[command(after_help = help::STATUS_HELP)]
    Status(status::StatusArgs),
    /// Tell what became of one recent request: route, endpoints considered, attempts, and why
    #[command(after_help = help::EXPLAIN_HELP)]
    Explain(explain::ExplainArgs),
    /// Stop sending new requests to one endpoint of a running node
    #[command(after_help = help::DRAIN_HELP)]
    Drain(drain::DrainArgs),
    /// Give one endpoint of a running node another share of traffic
    #[command(after_help = help::WEIGHT_HELP)]
    Weight(steer::WeightArgs),
    /// Send one endpoint of a running node nothing for a while
    #[command(after_help = help::EJECT_HELP)]
    Eject(steer::EjectArgs),
    /// Forget what a running node holds against one endpoint: its ejection, its circuit breaker
    #[command(after_help = help::RESET_HELP)]
    Reset(steer::ResetArgs),
    /// Tell how available a service was, from what this node wrote down; or look whether that is whole
    #[command(after_help = help::LEDGER_HELP)]
    Ledger(ledger::LedgerArgs),
    /// List what broke and what was done about it, or tell one incident minute by minute
    Incidents(ledger::IncidentsArgs),
    /// Have the operational log of a running node tell more or less for a while
    #[command(after_help = help::LOG_HELP)]
    Log(telemetry::command::LogArgs),
    /// Have more or fewer requests of a running node leave a line for a while
    #[command(after_help = help::EVENTS_HELP)]
    Events(telemetry::command::EventsArgs),
    /// Forget what the response cache of a running node has stored
    Cache(cache::CacheArgs),
    /// Show how full cells are, or move an account to another cell
    #[command(after_help = help::CELL_HELP)]
    Cell(cell::CellArgs),
    /// Show every certificate in use, or have an authority issue one now
    Certificate(certificate::CertificateArgs),
    /// Change, show and compare the configuration that the nodes of a cluster share
    #[command(after_help = help::CONFIG_HELP)]
    Config(shared_config::command::ConfigArgs),
    /// Show objectives, what is left of their error budgets and how fast these burn
    #[command(after_help = help::SLO_HELP)]
    Slo(slo::SloArgs),
    /// Show synthetic probes and what comes of them, or run one now
    #[command(after_help = help::PROBE_HELP)]
    Probe(probes::command::ProbeArgs),
    /// Show which node holds which floating address, or move one to another node
    #[command(after_help = help::ADDRESS_HELP)]
    Address(address::AddressArgs),
    /// Show who is primary of a group of database servers, or change that
    #[command(after_help = help::DATABASE_HELP)]
    Database(database::DatabaseArgs),
    /// Say who may use the admin interface: users and tokens
    #[command(after_help = help::ACCESS_HELP)]
    Access(access::AccessArgs),
    /// Show who changed what at a node, and whether that record is whole
    #[command(after_help = help::AUDIT_LOG_HELP)]
    AuditLog(audit_log::AuditLogArgs),
    /// Show what is wrong and who was told of it, or take care of an alert
    #[command(after_help = help::ALERTS_HELP)]
    Alerts(alerts::command::AlertsArgs),
    /// Hear nothing of some alerts for a while
    #[command(after_help = help::SILENCE_HELP)]
    Silence(alerts::command::SilenceArgs),
    /// Make a new cluster, of which this node is the first
    #[command(after_help = help::INIT_HELP)]
    Init(cluster::commands::InitArgs),
    /// Bring this node into a cluster, with a token that `mainstay cluster token` makes on a node of it
    #[command(after_help = help::JOIN_HELP)]
    Join(cluster::commands::JoinArgs),
    /// Show who belongs to the cluster; let nodes in, or send them away
    #[command(after_help = help::CLUSTER_HELP)]
    Cluster(cluster::commands::ClusterArgs),
    /// Let a new process take over from a running node, without losing a connection
    #[command(after_help = help::UPGRADE_HELP)]
    Upgrade(upgrade::UpgradeArgs),
    /// Watch a gateway hide killed, hung, slow and broken endpoints, and measure what clients see of it
    #[command(after_help = help::DEMO_HELP)]
    Demo(demo::DemoArgs),
    /// One of the demo's endpoints.
    #[command(hide = true)]
    DemoService(demo::ServiceArgs),
    /// Ends what a node holds that is dead or frozen.
    #[command(name = guard::NAME, hide = true)]
    Guard(guard::GuardArgs),
    /// The demo's gateway.
    #[command(hide = true)]
    DemoGateway(demo::GatewayArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs what the arguments of the process ask for, and reports a failure on standard error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let serves = matches!(cli.command, Command::Run(_) | Command::Proxy(_));
    let predecessor = if serves { Predecessor::find()? } else { None };
    let terminal = predecessor.as_ref().map_or_else(|| std::io::stderr().is_terminal(), Predecessor::logs_to_terminal);
    if serves {
        mainstay_runtime::defect::notice();
    }
    cli.credentials.install();
    logging::start(cli.log_format, cli.log_level.as_deref(), terminal)?;
    match cli.command {
        Command::Run(args) => run::run(&args.config, predecessor),
        Command::Proxy(args) => run::proxy(&args, predecessor),
        Command::Check(args) => run::check(&args.config, args.json),
        Command::Status(args) => status::status(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Weight(args) => steer::weight(&args),
        Command::Eject(args) => steer::eject(&args),
        Command::Reset(args) => steer::reset(&args),
        Command::Ledger(args) => ledger::ledger(&args),
        Command::Incidents(args) => ledger::incidents(&args),
        Command::Log(args) => telemetry::command::log(&args),
        Command::Events(args) => telemetry::command::events(&args),
        Command::Cache(args) => cache::cache(&args),
        Command::Cell(args) => cell::cell(&args),
        Command::Certificate(args) => certificate::certificate(&args),
        Command::Slo(args) => slo::slo(&args),
        Command::Probe(args) => probes::command::probe(&args),
        Command::Config(args) => shared_config::command::config(&args),
        Command::Address(args) => address::address(&args),
        Command::Database(args) => database::database(&args),
        Command::Access(args) => access::access(&args),
        Command::AuditLog(args) => audit_log::audit_log(&args),
        Command::Alerts(args) => alerts::command::alerts(&args),
        Command::Silence(args) => alerts::command::silence(&args),
        Command::Init(args) => cluster::commands::init(&args),
        Command::Join(args) => cluster::commands::join(&args),
        Command::Cluster(args) => cluster::commands::cluster(&args),
        Command::Upgrade(args) => upgrade::upgrade(&args),
        Command::Guard(args) => guard::guard(&args),
        Command::Demo(args) => demo::run(args.into()),
        Command::DemoService(args) => demo::serve(&args).map(|()| ExitCode::SUCCESS),
        Command::DemoGateway(args) => Err(demo::gateway(&args)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_examples_in_the_help_parse() {
        let helps = [
            FIRST_STEPS,
            help::RUN_HELP,
            help::CHECK_HELP,
            help::PROXY_HELP,
            help::STATUS_HELP,
            help::EXPLAIN_HELP,
            help::DRAIN_HELP,
            help::LOG_HELP,
            help::EVENTS_HELP,
            help::CELL_HELP,
            help::CONFIG_HELP,
            help::ADDRESS_HELP,
            help::DATABASE_HELP,
            help::ACCESS_HELP,
            help::AUDIT_LOG_HELP,
            help::ALERTS_HELP,
            help::SILENCE_HELP,
            help::INIT_HELP,
            help::JOIN_HELP,
            help::CLUSTER_HELP,
            help::UPGRADE_HELP,
            help::DEMO_HELP,
        ];
        for help in helps {
            for line in help.lines().filter(|line| line.starts_with("  mainstay ")) {
                let words = line.split('|').next().unwrap_or_default().trim();
                // A remark stands after at least three spaces.
                let words = words.split("   ").next().unwrap_or_default();
                let parsed = Cli::try_parse_from(words.split_whitespace());
                assert!(parsed.is_ok(), "`{words}`: {}", parsed.err().map(|e| e.to_string()).unwrap_or_default());
            }
        }
    }
}
