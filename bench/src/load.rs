//! Load by `wrk`, and what it says afterwards.

use crate::handshake;
use crate::measure;
use crate::proxy::{Proxy, Site};
use crate::report::Sample;
use crate::scenario::Scenario;
use anyhow::{Context as _, Result, bail, ensure};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// What one run of `wrk` did.
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

/// How often a sample in which nothing at all was served is taken anew: on a machine that is busy with something else, the
/// load may not have come to run.
const TRIES: usize = 3;

/// A sample of a scenario on a proxy.
pub(crate) fn measure(scenario: &Scenario, proxy: &Proxy, site: &Site, duration: Duration) -> Result<Sample> {
    let mut last = String::new();
    for _ in 0..TRIES {
        match once(scenario, proxy, site, duration)? {
            Ok(sample) => return Ok(sample),
            Err(said) => last = said,
        }
    }
    bail!("{} served nothing in {}, {TRIES} times over; the load said:\n{last}", proxy.name, scenario.name)
}

/// Puts a scenario's load on a proxy and relates what was served to what it cost the proxy. The inner error is what the
/// load said when nothing was served.
fn once(scenario: &Scenario, proxy: &Proxy, site: &Site, duration: Duration) -> Result<Result<Sample, String>> {
    let mut command = if scenario.full_handshake {
        handshake::command(proxy.tls, scenario.connections, duration, &site.certificate())?
    } else {
        wrk(scenario, proxy, duration)
    };
    let cpu_before = measure::cpu_time(proxy.pid())?;
    let begin = Instant::now();
    let output = command.output().context("cannot start the load")?;
    let wall = begin.elapsed();
    let cpu = measure::cpu_time(proxy.pid())?.saturating_sub(cpu_before);
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "the load failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    let outcome = parse(&text).with_context(|| format!("cannot read what the load said: {text}"))?;
    if outcome.requests == 0 || cpu.is_zero() {
        return Ok(Err(text.into_owned()));
    }
    let requests = outcome.requests as f64;
    Ok(Ok(Sample::Requests {
        per_cpu_second: requests / cpu.as_secs_f64(),
        per_second: requests / wall.as_secs_f64(),
        cpu_share: cpu.as_secs_f64() / wall.as_secs_f64(),
        errors: outcome.errors,
    }))
}

fn wrk(scenario: &Scenario, proxy: &Proxy, duration: Duration) -> Command {
    // By name, since wrk would send an address as the server's name, which TLS does not allow.
    let site = if scenario.tls {
        format!("https://localhost:{}", proxy.tls.port())
    } else {
        format!("http://{}", proxy.plain)
    };
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", &scenario.connections.to_string(), "-d", &format!("{}s", duration.as_secs())]);
    if scenario.close {
        command.args(["-H", "Connection: close"]);
    }
    command.arg(format!("{site}{}", scenario.path));
    // SAFETY: between fork and exec only a system call is made, on memory of the child's own stack.
    unsafe {
        command.pre_exec(measure::join_load);
    }
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
        }
    }
    Some(Outcome { requests: requests?, errors })
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
}
