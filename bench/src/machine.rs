//! What the run happened on: named in the results, since figures of two machines cannot be compared.

use crate::proxy::{PATTERNS, Proxy, TELEMETRY, WITHOUT_LOG};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Machine and versions.
#[derive(Serialize)]
pub(crate) struct Machine {
    /// UTC.
    pub date: String,
    /// The processor's name.
    pub processor: String,
    /// How many cores.
    pub cores: usize,
    /// `uname -sr`.
    pub kernel: String,
    /// The load average when the bench ended, with its own load in it: much over 2 means that something else ran.
    pub load_average: String,
    /// What was compared, with versions.
    pub versions: Vec<String>,
}

impl Machine {
    /// Looks around.
    pub(crate) fn read(proxies: &[Proxy]) -> Machine {
        let is_other = |it: &&Proxy| ![WITHOUT_LOG, PATTERNS, TELEMETRY].contains(&it.name);
        let mut versions: Vec<String> = proxies.iter().filter(is_other).map(Proxy::version).collect();
        versions.push(first_line("wrk".as_ref(), &["-v"]));
        versions.push(first_line("h2load".as_ref(), &["--version"]));
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Machine {
            date: first_line("date".as_ref(), &["-u", "+%Y-%m-%d %H:%M UTC"]),
            processor: name.map_or("unknown processor".to_owned(), |(_, name)| name.to_owned()),
            cores: online_cores(),
            kernel: first_line("uname".as_ref(), &["-sr"]),
            load_average: load_average(),
            versions,
        }
    }
}

/// Over the last minute, five and fifteen minutes.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The first line that a command says, on either stream.
pub(crate) fn first_line(program: &Path, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return format!("{}: not found", program.display());
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// Where a program is on the path.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file())
}

/// Names what is missing, with the command that brings it.
pub(crate) fn check_tools(tools: &[(&str, &str)]) -> Result<()> {
    for (tool, package) in tools {
        ensure!(find(tool).is_some(), "{tool} is not installed\n  hint: apt-get install -y {package}");
    }
    Ok(())
}

/// All cores of the machine, which the pinned harness cannot see of itself.
fn online_cores() -> usize {
    // SAFETY: sysconf takes a number and returns one.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1)
}
