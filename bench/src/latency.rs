//! Time to the answer under a load whose pace the proxy does not set.

use crate::proxy::{BASE, Proxy};
use crate::report::{Sample, spread};
use crate::scenario::Scenario;
use crate::site::Site;
use crate::{Arguments, load, open_loop, process};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

/// Samples of HAProxy's peak.
const PEAKS: usize = 3;

/// Half of the rate that HAProxy reaches when the load waits for it.
pub(crate) fn rate(scenario: &Scenario, proxies: &mut [Proxy], site: &Site, arguments: &Arguments) -> Result<u64> {
    if let Some(rate) = arguments.rate {
        return Ok(rate);
    }
    let base = proxies.iter_mut().find(|proxy| proxy.name == BASE);
    let base = base.context("the rate is half of HAProxy's peak, and it does not take part\n  hint: --rate 20000")?;
    if !base.runs() {
        base.restart(site)?;
    }
    let mut peaks = Vec::new();
    for _ in 0..PEAKS {
        let mut command = load::command(scenario, base, site, Duration::from_secs(arguments.seconds))?;
        let ran = load::run(&mut command, base)?;
        peaks.push(ran.outcome.requests as f64 / ran.wall.as_secs_f64());
    }
    let [peak, ..] = spread(&peaks).context("no peak")?;
    ensure!(peak >= 2.0, "HAProxy answered nothing");
    Ok((peak / 2.0) as u64)
}

/// A sample at a rate.
pub(crate) fn measure(scenario: &Scenario, proxy: &Proxy, rate: u64, duration: Duration) -> Result<Sample> {
    let mut command = open_loop::command(proxy.addresses.plain, scenario.connections, rate, duration)?;
    let output = process::output(&mut command, load::LOAD_MAX)?;
    ensure!(output.status.success(), "the load failed: {}", String::from_utf8_lossy(&output.stderr));
    let seen: open_loop::Seen = serde_json::from_slice(&output.stdout).context("cannot read what the load said")?;
    ensure!(seen.answered > 0, "nothing was served");
    Ok(Sample::Latency {
        p50_us: seen.p50_us,
        p99_us: seen.p99_us,
        p999_us: seen.p999_us,
        rate,
        own_p99_us: seen.own_p99_us,
        errors: seen.errors,
    })
}
