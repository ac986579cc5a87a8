//! Closed-loop load: who makes it, and what it says afterwards.

use crate::handshake;
use crate::measure::{self, Cpu};
use crate::process;
use crate::proxy::Proxy;
use crate::report::Sample;
use crate::scenario::{Kind, Load, Scenario};
use crate::site::Site;
use anyhow::{Context as _, Result, bail, ensure};
use std::process::Command;
use std::time::{Duration, Instant};

/// What one run of a load did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Answered as they should be.
    pub requests: u64,
    /// Everything else.
    pub errors: u64,
}

impl Outcome {
    /// In the words of `wrk`.
    pub(crate) fn text(&self) -> String {
        format!("{} requests in all\nSocket errors: connect {}", self.requests, self.errors)
    }
}

/// A load that ran, and what it cost the proxy.
pub(crate) struct Ran {
    pub outcome: Outcome,
    pub cpu: Cpu,
    pub wall: Duration,
    said: String,
}

/// How often a sample in which nothing at all was served is taken anew: on a machine that is busy with something else, the
/// load may not have come to run.
const TRIES: usize = 2;

/// After this a load is ended.
pub(crate) const LOAD_MAX: Duration = Duration::from_secs(60);

/// A sample of a scenario on a proxy.
pub(crate) fn measure(scenario: &Scenario, proxy: &Proxy, site: &Site, duration: Duration) -> Result<Sample> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let mut command = command(scenario, proxy, site, duration)?;
        let ran = run(&mut command, proxy)?;
        if ran.outcome.requests > 0 && !ran.cpu.total().is_zero() {
            let requests = ran.outcome.requests as f64;
            return Ok(Sample::Requests {
                per_cpu_second: requests / ran.cpu.total().as_secs_f64(),
                per_second: requests / ran.wall.as_secs_f64(),
                cpu_share: ran.cpu.total().as_secs_f64() / ran.wall.as_secs_f64(),
                errors: ran.outcome.errors,
            });
        }
        last = ran.said;
    }
    let told =
        last.lines().map(str::trim).find(|line| line.starts_with("requests: ") || line.starts_with("Socket errors"));
    bail!("nothing was served, {TRIES} times over; the load said: {}", told.unwrap_or(last.trim()))
}

/// Runs a command that puts load on a proxy.
pub(crate) fn run(command: &mut Command, proxy: &Proxy) -> Result<Ran> {
    let before = measure::cpu_time(proxy.pid()?)?;
    let begin = Instant::now();
    let output = process::output(command, LOAD_MAX)?;
    let wall = begin.elapsed();
    let cpu = measure::cpu_time(proxy.pid()?)?.since(before);
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "the load failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    // It falls back to HTTP/1.1 without an error.
    ensure!(!text.contains("Application protocol: http/1"), "{} does not speak HTTP/2 here", proxy.name);
    let outcome = parse(&text).with_context(|| format!("cannot read what the load said: {text}"))?;
    Ok(Ran { outcome, cpu, wall, said: text.into_owned() })
}

/// The command that puts a scenario's load on a proxy, on the core of the load.
pub(crate) fn command(scenario: &Scenario, proxy: &Proxy, site: &Site, duration: Duration) -> Result<Command> {
    let mut command = match scenario.kind {
        Kind::Requests(Load::FullHandshakes) => {
            handshake::command(proxy.addresses.tls, scenario.connections, duration, &site.certificate())?
        }
        Kind::Requests(Load::Http2 { streams }) => h2load(scenario, streams, proxy, duration),
        Kind::Requests(Load::Short) => wrk(scenario, true, proxy, duration),
        Kind::Requests(Load::KeepAlive) | Kind::Latency | Kind::Idle => wrk(scenario, false, proxy, duration),
    };
    measure::as_load(&mut command);
    Ok(command)
}

fn wrk(scenario: &Scenario, close: bool, proxy: &Proxy, duration: Duration) -> Command {
    // By name, since wrk would send an address as the server's name, which TLS does not allow.
    let site = if scenario.tls {
        format!("https://localhost:{}", proxy.addresses.tls.port())
    } else {
        format!("http://{}", proxy.addresses.plain)
    };
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", &scenario.connections.to_string(), "-d", &format!("{}s", duration.as_secs())]);
    if close {
        command.args(["-H", "Connection: close"]);
    }
    command.arg(format!("{site}{}", scenario.path));
    command
}

fn h2load(scenario: &Scenario, streams: usize, proxy: &Proxy, duration: Duration) -> Command {
    let (scheme, address) =
        if scenario.tls { ("https", proxy.addresses.tls) } else { ("http", proxy.addresses.clear_h2) };
    let mut command = Command::new("h2load");
    command.args(["-t", "1", "-c", &scenario.connections.to_string(), "-m", &streams.to_string()]);
    // Without the second option it waits forever for a proxy that has not finished a handshake when the time is over.
    command.args(["-D", &duration.as_secs().to_string(), "-N", "5", &format!("--connect-to={address}")]);
    command.arg(format!("{scheme}://localhost:{}{}", address.port(), scenario.path));
    command
}

/// Reads the lines of interest: how many requests, which socket errors, which answers were not 2xx or 3xx.
fn parse(text: &str) -> Option<Outcome> {
    let mut requests = None;
    let mut errors = 0;
    for line in text.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in") {
            requests = count.parse().ok();
        } else if let Some(counts) = line.strip_prefix("Socket errors:") {
            errors += counts.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            errors += count.trim().parse::<u64>().ok()?;
        } else if let Some(counts) = line.strip_prefix("requests: ") {
            requests = Some(counted(counts, "succeeded")?);
            errors += counted(counts, "failed")? + counted(counts, "timeout")?;
        }
    }
    Some(Outcome { requests: requests?, errors })
}

/// The number before a word, in a list such as `h2load` prints.
fn counted(list: &str, word: &str) -> Option<u64> {
    list.split(", ").find_map(|item| item.strip_suffix(word)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_wrk_are_read() {
        let clean = "Running 4s test @ http://127.0.0.1:1/\n  64 threads\n  223344 requests in 4.00s, 280MB read\n";
        assert_eq!(parse(clean), Some(Outcome { requests: 223_344, errors: 0 }));
        let bad = "  10 requests in 4.00s, 1MB read\n  Socket errors: connect 1, read 2, write 3, timeout 4\n  \
                   Non-2xx or 3xx responses: 5\n";
        assert_eq!(parse(bad), Some(Outcome { requests: 10, errors: 15 }));
        let own = Outcome { requests: 7, errors: 2 };
        assert_eq!(parse(&own.text()), Some(own));
        assert_eq!(parse("unable to connect"), None);
    }

    #[test]
    fn the_words_of_h2load_are_read() {
        let text = "finished in 3.00s, 74123.00 req/s, 80.1MB/s\nrequests: 500 total, 564 started, 500 done, \
                    490 succeeded, 7 failed, 3 errored, 1 timeout\nstatus codes: 490 2xx, 0 3xx, 0 4xx, 4 5xx\n";
        assert_eq!(parse(text), Some(Outcome { requests: 490, errors: 8 }));
    }
}
