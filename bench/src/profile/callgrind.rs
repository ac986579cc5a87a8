//! Instructions in user mode, counted by Debian's `valgrind`: the same from run to run, whatever else the machine does.

use crate::proxy::Proxy;
use crate::scenario::Scenario;
use crate::site::Site;
use crate::{load, machine};
use anyhow::{Context as _, Result, ensure};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

/// Instructions for each request, and the functions in which most of them are.
pub(super) fn count(
    scenario: &Scenario,
    proxy: &mut Proxy,
    site: &Site,
    seconds: u64,
    lines: usize,
) -> Result<(f64, String)> {
    machine::check_tools(&[("valgrind", "valgrind")])?;
    let out = site.file("callgrind.out");
    let words = ["valgrind", "-q", "--tool=callgrind", &format!("--callgrind-out-file={}", out.display())];
    proxy.wrap(&words.map(str::to_owned));
    let counted = restarted(scenario, proxy, site, seconds, lines);
    proxy.wrap(&[]);
    proxy.stop();
    counted.with_context(|| format!("cannot count the instructions of {}", proxy.name))
}

fn restarted(scenario: &Scenario, proxy: &mut Proxy, site: &Site, seconds: u64, lines: usize) -> Result<(f64, String)> {
    proxy.restart(site)?;
    let load = |seconds| -> Result<u64> {
        let mut command = load::command(scenario, proxy, site, Duration::from_secs(seconds))?;
        Ok(load::run(&mut command, proxy)?.outcome.requests)
    };
    // What happens once, such as connecting to the origin, is not counted.
    load(seconds * 2)?;
    let pid = proxy.pid()?.to_string();
    control("--zero", &pid)?;
    // It is slower by a factor of fifty.
    let requests = load(seconds * 2)?;
    ensure!(requests > 0, "nothing was served");
    control("--dump", &pid)?;
    let dump = site.file("callgrind.out.1");
    let text = std::fs::read_to_string(&dump).with_context(|| format!("cannot read {}", dump.display()))?;
    let total = total(&text).context("callgrind wrote no totals")?;
    let output = Command::new("callgrind_annotate")
        .args(["--show-percs=yes", "--threshold=100", "--auto=no"])
        .arg(&dump)
        .output()
        .context("cannot start callgrind_annotate")?;
    let functions = by_function(&String::from_utf8_lossy(&output.stdout));
    let mut list = format!("instructions of {}, in each of {requests} requests\n", proxy.name);
    for (name, instructions) in functions.iter().take(lines) {
        let _ = writeln!(list, "{:>8.0}  {name}", instructions / requests as f64);
    }
    drop(std::fs::remove_file(dump));
    Ok((total / requests as f64, list))
}

/// What `callgrind_annotate` lists, a line for each pair of function and source file, summed over the files (code that was
/// inlined stands under the file that it comes from), the most first.
fn by_function(annotated: &str) -> Vec<(String, f64)> {
    let mut sums: HashMap<&str, f64> = HashMap::new();
    for line in annotated.lines() {
        let Some((count, place)) =
            line.split_once(" (").and_then(|(count, rest)| Some((count, rest.split_once(")  ")?.1)))
        else {
            continue;
        };
        let Some((_, function)) = place.split_once(':') else { continue };
        let function = function.split_once(" [").map_or(function, |(function, _)| function);
        if let Ok(count) = count.trim().replace(',', "").parse::<f64>() {
            *sums.entry(function).or_default() += count;
        }
    }
    let all: f64 = total_of(annotated);
    // The functions that were already running when the count was set to zero count whatever they call.
    let mut list: Vec<(String, f64)> = sums
        .into_iter()
        .filter(|(_, count)| *count < all * 0.9)
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    list.sort_by(|one, other| other.1.total_cmp(&one.1));
    list
}

/// The line `PROGRAM TOTALS`.
fn total_of(annotated: &str) -> f64 {
    let line = annotated.lines().find(|line| line.contains("PROGRAM TOTALS")).unwrap_or_default();
    line.split_whitespace().next().and_then(|count| count.replace(',', "").parse().ok()).unwrap_or(f64::MAX)
}

/// Tells callgrind to forget what it counted, or to write it down.
fn control(what: &str, pid: &str) -> Result<()> {
    let output =
        Command::new("callgrind_control").args([what, pid]).output().context("cannot run callgrind_control")?;
    ensure!(output.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The sum over all functions.
fn total(dump: &str) -> Option<f64> {
    let line = dump.lines().rev().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_one_line_whatever_files_its_code_comes_from() {
        let text = "1,000 (100.0%)  PROGRAM TOTALS\n\nIr  file:function\n999 (99.90%)  ???:main [/a/b]\n\
                    300 (30.00%)  /x/alloc.rs:a::b::{{closure}} [/a/b]\n 50 ( 5.00%)  ./y.c:memcpy [/lib/c]\n\
                    100 (10.00%)  /x/core.rs:a::b::{{closure}}\n";
        let list = by_function(text);
        assert_eq!(list, [("a::b::{{closure}}".to_owned(), 400.0), ("memcpy".to_owned(), 50.0)]);
    }

    #[test]
    fn the_sum_is_read() {
        assert_eq!(total("version: 1\nsummary: 12 3\n\ntotals: 410232353\n"), Some(410_232_353.0));
        assert_eq!(total("cut"), None);
    }
}
