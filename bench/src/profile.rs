//! What one request costs a proxy, in figures that a busy machine changes little or not at all.
//!
//! CPU time has the machine's noise in it, and caches that others use. The number of instructions and of system calls does
//! not: where the processor does not count instructions (as in most virtual machines), `callgrind` does.

mod callgrind;
mod perf;

use crate::proxy::{self, Proxy};
use crate::scenario::{Kind, Scenario};
use crate::site::Site;
use crate::{Arguments, load, machine, measure, origin};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use std::time::Duration;

/// What to look at.
#[derive(Args)]
pub(crate) struct Options {
    /// The scenario, one of those whose figure is requests per CPU-second.
    #[arg(long, default_value = "keep-alive-64")]
    scenario: String,
    /// Rounds of load for the CPU time, of which the median is given.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load for each figure.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Proxies, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "ours,haproxy")]
    proxies: Vec<String>,
    /// Leaves the count of instructions by callgrind out, which takes half a minute.
    #[arg(long)]
    no_callgrind: bool,
    /// Functions to list.
    #[arg(long, default_value_t = 30)]
    symbols: usize,
}

/// The figures of one proxy, each for one request.
#[derive(Default)]
struct Cost {
    user_us: f64,
    system_us: f64,
    /// In all, and by name, the most frequent first.
    calls: Option<(f64, Vec<(String, f64)>)>,
    /// Instructions in user mode.
    instructions: Option<f64>,
    cycles_user: Option<f64>,
    cycles_kernel: Option<f64>,
}

/// Profiles one scenario.
pub(crate) fn run(arguments: &Arguments, options: &Options) -> Result<()> {
    ensure!(options.rounds > 0 && options.seconds > 0, "--rounds and --seconds must be at least 1");
    let scenarios = crate::run::chosen(std::slice::from_ref(&options.scenario))?;
    let [scenario] = scenarios.as_slice() else { bail!("one scenario at a time") };
    ensure!(matches!(scenario.kind, Kind::Requests(_)), "{} is no scenario of requests", scenario.name);
    machine::check_tools(&[("wrk", "wrk"), ("h2load", "nghttp2-client"), ("openssl", "openssl")])?;
    measure::raise_file_limit(measure::FILES)?;
    measure::pin_to(measure::LOAD_CORE)?;
    let site = Site::prepare(&arguments.work, arguments.ports)?;
    let (mut proxies, missing) = proxy::choose(&site, &options.proxies, &arguments.mainstay)?;
    if let Some(missing) = missing.first() {
        bail!("{}", missing.reason);
    }
    let _origin = origin::start(&site)?;
    let mut costs: Vec<Cost> = proxies.iter().map(|_| Cost::default()).collect();

    times(scenario, &mut proxies, &site, options, &mut costs)?;
    for (proxy, cost) in proxies.iter().zip(&mut costs) {
        eprintln!("counting system calls of {}", proxy.name);
        perf::count(scenario, proxy, &site, options.seconds, cost)?;
    }
    let mut lists = Vec::new();
    for proxy in &proxies {
        eprintln!("sampling {}", proxy.name);
        lists.push(perf::symbols(scenario, proxy, &site, options.seconds, options.symbols)?);
    }
    if !options.no_callgrind {
        for (proxy, cost) in proxies.iter_mut().zip(&mut costs) {
            eprintln!("counting instructions of {} by callgrind", proxy.name);
            // Slowed down fifty times, a proxy on a busy machine may not answer at all. The other figures stand without.
            let (instructions, list) = match callgrind::count(scenario, proxy, &site, options.seconds, options.symbols)
            {
                Ok((instructions, list)) => (Some(instructions), list),
                Err(error) => (None, format!("{error:#}")),
            };
            cost.instructions = cost.instructions.or(instructions);
            lists.push(list);
        }
    }
    println!("one request of: {}\n", scenario.what);
    table(&proxies, &costs);
    for list in lists {
        println!("\n{list}");
    }
    Ok(())
}

/// CPU time of a request: the median of interleaved rounds.
fn times(scenario: &Scenario, proxies: &mut [Proxy], site: &Site, options: &Options, costs: &mut [Cost]) -> Result<()> {
    let mut samples: Vec<Vec<(f64, f64)>> = proxies.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        eprintln!("CPU time, round {}/{}", round + 1, options.rounds);
        for (proxy, samples) in proxies.iter_mut().zip(&mut samples) {
            if !proxy.runs() {
                proxy.restart(site)?;
            }
            let mut command = load::command(scenario, proxy, site, Duration::from_secs(options.seconds))?;
            let ran = load::run(&mut command, proxy)?;
            ensure!(ran.outcome.requests > 0, "{} served nothing", proxy.name);
            let each = |time: Duration| time.as_secs_f64() * 1e6 / ran.outcome.requests as f64;
            samples.push((each(ran.cpu.user), each(ran.cpu.system)));
            proxy.after_sample()?;
        }
    }
    for (samples, cost) in samples.iter_mut().zip(costs) {
        samples.sort_by(|one, other| (one.0 + one.1).total_cmp(&(other.0 + other.1)));
        (cost.user_us, cost.system_us) = *samples.get(samples.len() / 2).context("no rounds")?;
    }
    Ok(())
}

fn table(proxies: &[Proxy], costs: &[Cost]) {
    let row = |what: &str, of: &dyn Fn(&Cost) -> Option<String>| {
        if costs.iter().any(|cost| of(cost).is_some()) {
            let cells: Vec<String> = costs.iter().map(|cost| of(cost).unwrap_or("-".to_owned())).collect();
            println!("| {what} | {} |", cells.join(" | "));
        }
    };
    let names: Vec<&str> = proxies.iter().map(|proxy| proxy.name).collect();
    println!("| each request | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
    row("user time, us (noisy)", &|cost| Some(format!("{:.2}", cost.user_us)));
    row("system time, us (noisy)", &|cost| Some(format!("{:.2}", cost.system_us)));
    row("instructions in user mode", &|cost| cost.instructions.map(|it| format!("{it:.0}")));
    row("cycles in user mode", &|cost| cost.cycles_user.map(|it| format!("{it:.0}")));
    row("cycles in the kernel", &|cost| cost.cycles_kernel.map(|it| format!("{it:.0}")));
    row("system calls", &|cost| cost.calls.as_ref().map(|(all, _)| format!("{all:.2}")));
    for (proxy, cost) in proxies.iter().zip(costs) {
        if let Some((_, calls)) = &cost.calls {
            let list: Vec<String> = calls.iter().map(|(name, count)| format!("{name} {count:.2}")).collect();
            println!("\nsystem calls of {}: {}", proxy.name, list.join(", "));
        }
    }
}
