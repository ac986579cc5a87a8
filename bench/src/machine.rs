//! What the run happened on: named in the results, since figures of two machines cannot be compared.

use anyhow::{Result, ensure};
use serde::Serialize;
use std::path::Path;
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
    pub(crate) fn read(mainstay: Option<&Path>) -> Machine {
        let mut versions = vec![first_line("haproxy", &["-v"]), first_line("nginx", &["-v"])];
        if let Some(path) = mainstay {
            versions.push(first_line(&path.display().to_string(), &["--version"]));
        }
        versions.push(first_line("wrk", &["-v"]));
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Machine {
            date: first_line("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            processor: name.map_or("unknown processor".to_owned(), |(_, name)| name.to_owned()),
            cores: online_cores(),
            kernel: first_line("uname", &["-sr"]),
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
fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return format!("{program}: not found") };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

/// Names what is missing, with the command that brings it.
pub(crate) fn check_tools(with_mainstay: bool, mainstay: &Path) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (tool, package) in [("haproxy", "haproxy"), ("nginx", "nginx"), ("wrk", "wrk"), ("openssl", "openssl")] {
        let found = std::env::split_paths(&path).any(|folder| folder.join(tool).is_file());
        ensure!(found, "{tool} is not installed\n  hint: apt-get install -y {package}");
    }
    ensure!(
        !with_mainstay || mainstay.is_file(),
        "there is no {}\n  hint: cargo build --release -p mainstay",
        mainstay.display()
    );
    Ok(())
}

/// All cores of the machine, which the pinned harness cannot see of itself.
fn online_cores() -> usize {
    // SAFETY: sysconf takes a number and returns one.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1)
}
