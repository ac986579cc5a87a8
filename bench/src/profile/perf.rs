//! System calls, and where the time goes, by Debian's `perf`; without it, system calls by `strace`.

use super::Cost;
use crate::proxy::Proxy;
use crate::scenario::Scenario;
use crate::site::Site;
use crate::{load, machine, measure};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What the processor counts, where it does.
const HARDWARE: [&str; 3] = ["instructions:u", "cycles:u", "cycles:k"];

/// Counts what a load makes the proxy do.
pub(super) fn count(scenario: &Scenario, proxy: &Proxy, site: &Site, seconds: u64, cost: &mut Cost) -> Result<()> {
    if machine::find("perf").is_none() {
        eprintln!(
            "perf is not installed\n  hint: apt-get install -y linux-perf; system calls are counted by strace instead"
        );
        return count_by_strace(scenario, proxy, site, seconds, cost);
    }
    let file = site.file("perf-stat.txt");
    let events = [HARDWARE.join(","), "syscalls:sys_enter_*".to_owned()].map(|it| ["-e".to_owned(), it]).concat();
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ";", "-o"]).arg(&file).args(events).args(["-p", &proxy.pid()?.to_string(), "--"]);
    let requests = under_load(scenario, proxy, site, seconds, &mut command)?;
    let text = std::fs::read_to_string(&file).context("perf stat wrote nothing")?;
    let mut calls = Vec::new();
    for (name, value) in counts(&text) {
        let each = value / requests;
        match name {
            "instructions:u" => cost.instructions = Some(each),
            "cycles:u" => cost.cycles_user = Some(each),
            "cycles:k" => cost.cycles_kernel = Some(each),
            _ => calls.extend(name.strip_prefix("syscalls:sys_enter_").map(|call| (call.to_owned(), each))),
        }
    }
    cost.calls = Some(most(calls));
    Ok(())
}

/// The counters of `perf stat -x ;`: the value, the unit, the event. What the processor does not count has no number.
fn counts(text: &str) -> impl Iterator<Item = (&str, f64)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(';');
        let value: f64 = fields.next()?.trim().parse().ok()?;
        Some((fields.nth(1)?, value)).filter(|(_, value)| *value > 0.0)
    })
}

/// The sum, and those that matter, the most frequent first.
fn most(mut calls: Vec<(String, f64)>) -> (f64, Vec<(String, f64)>) {
    let all = calls.iter().map(|(_, each)| each).sum();
    calls.retain(|(_, each)| *each >= 0.005);
    calls.sort_by(|one, other| other.1.total_cmp(&one.1));
    (all, calls)
}

/// `strace -c` slows the proxy down several times, but a closed loop makes it do the same for each request.
fn count_by_strace(scenario: &Scenario, proxy: &Proxy, site: &Site, seconds: u64, cost: &mut Cost) -> Result<()> {
    if machine::find("strace").is_none() {
        eprintln!("strace is not installed\n  hint: apt-get install -y strace");
        return Ok(());
    }
    let file = site.file("strace.txt");
    let mut strace = Command::new("strace")
        .args(["-c", "-f", "-q", "-o"])
        .arg(&file)
        .args(["-p", &proxy.pid()?.to_string()])
        .spawn()
        .context("cannot start strace")?;
    std::thread::sleep(Duration::from_millis(500));
    let mut command = load::command(scenario, proxy, site, Duration::from_secs(seconds))?;
    let requests = load::run(&mut command, proxy).map(|ran| ran.outcome.requests as f64);
    if let Ok(pid) = i32::try_from(strace.id()) {
        // It writes its summary when it is interrupted.
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            rustix::process::kill_process(pid, rustix::process::Signal::INT).context("cannot stop strace")?;
        }
    }
    strace.wait()?;
    let requests = requests?;
    let text = std::fs::read_to_string(&file).context("strace wrote nothing")?;
    let calls = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, count) = (fields.last()?, fields.get(3)?.parse::<f64>().ok()?);
        (*name != "total").then(|| ((*name).to_owned(), count / requests))
    });
    cost.calls = Some(most(calls.collect()));
    Ok(())
}

/// The functions in which the proxy spends most of its time, by samples of the clock.
pub(super) fn symbols(scenario: &Scenario, proxy: &Proxy, site: &Site, seconds: u64, lines: usize) -> Result<String> {
    if machine::find("perf").is_none() {
        return Ok(format!("no samples of {}: perf is not installed", proxy.name));
    }
    let file = site.file("perf.data");
    let mut command = Command::new("perf");
    command.args(["record", "-q", "-e", "cpu-clock", "-F", "1999", "-o"]).arg(&file);
    command.args(["-p", &proxy.pid()?.to_string(), "--"]);
    under_load(scenario, proxy, site, seconds, &mut command)?;
    let by_part = report(&file, "dso")?;
    let by_symbol = report(&file, "dso,symbol")?;
    let first = |text: &str, count: usize| text.lines().take(count).collect::<Vec<_>>().join("\n");
    Ok(format!("time of {}, by samples\n{}\n\n{}", proxy.name, first(&by_part, 6), first(&by_symbol, lines)))
}

fn report(file: &Path, by: &str) -> Result<String> {
    let output = Command::new("perf")
        .args(["report", "--stdio", "-q", "--sort", by, "-w", "8,24,90", "-i"])
        .arg(file)
        .output()
        .context("cannot start perf report")?;
    ensure!(output.status.success(), "perf report: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .map(|line| line.trim_end_matches(['-', ' ']))
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n"))
}

/// Runs a command that takes a load as its own command, and says how many requests were answered.
fn under_load(scenario: &Scenario, proxy: &Proxy, site: &Site, seconds: u64, command: &mut Command) -> Result<f64> {
    let load = load::command(scenario, proxy, site, Duration::from_secs(seconds))?;
    command.arg(load.get_program()).args(load.get_args());
    measure::as_load(command);
    let requests = load::run(command, proxy)?.outcome.requests;
    proxy.after_sample()?;
    ensure!(requests > 0, "{} served nothing", proxy.name);
    Ok(requests as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let text = "# started on Sat\n\n<not supported>;;instructions:u;0;100.00;;\n\
                    1200;;syscalls:sys_enter_recvfrom;1;100.00;;\n0;;syscalls:sys_enter_open;1;100.00;;\n";
        assert_eq!(counts(text).collect::<Vec<_>>(), [("syscalls:sys_enter_recvfrom", 1200.0)]);
    }

    #[test]
    fn rare_calls_are_counted_and_not_listed() {
        let calls = [("a", 0.001), ("b", 1.0), ("c", 2.0)].map(|(name, each)| (name.to_owned(), each));
        let (all, listed) = most(calls.to_vec());
        assert!((all - 3.001).abs() < 1e-9);
        assert_eq!(listed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["c", "b"]);
    }
}
