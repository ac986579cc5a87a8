//! The real `mainstay` binary under test.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use crate::process::{Process, Stranger};
use crate::wire::{self, Response};
use crate::{address, eventually, tools};

/// Where a binary of this workspace was built: beside the test that asks. `MAINSTAY_BIN` overrides it for `mainstay`.
///
/// # Panics
/// If it is not built.
pub fn built(name: &str) -> PathBuf {
    if let (true, Some(path)) = (name == "mainstay", std::env::var_os("MAINSTAY_BIN")) {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the path of the test");
    let path = test.ancestors().skip(1).take(3).map(|dir| dir.join(name)).find(|path| path.is_file());
    path.unwrap_or_else(|| {
        panic!("`{name}` is not built beside {}: run `cargo build --workspace` first", test.display())
    })
}

/// A running gateway with a directory for its files.
#[derive(Debug)]
pub struct Mainstay {
    // Dropped in this order: the process shows its last words from a file in the directory.
    process: Process,
    successors: Vec<Stranger>,
    dir: tempfile::TempDir,
    admin: SocketAddr,
    node: String,
}

impl Mainstay {
    /// Starts `mainstay run` with this configuration (without `[node]`) and waits until it is ready.
    pub fn start(config: &str) -> Self {
        Self::start_with("", config)
    }

    /// The same, with lines for `[node]` beyond the admin addresses and the access log.
    pub fn start_with(node: &str, config: &str) -> Self {
        let mut gateway = Self::launch(node, config, &[]);
        gateway.wait_until_ready();
        gateway
    }

    /// The same with files beside the configuration, and without waiting for anything.
    ///
    /// # Panics
    /// If the files cannot be written or the binary is not built.
    pub fn launch(node: &str, config: &str, files: &[(&str, &str)]) -> Self {
        Self::launch_after("", node, config, files)
    }

    /// The same after some lines of shell in a mount namespace of its own; `$DIR` is the gateway's directory. What is mounted
    /// there disappears with the process.
    ///
    /// # Panics
    /// If the files cannot be written or the binary is not built.
    pub fn launch_after(shell: &str, node: &str, config: &str, files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, content) in files {
            fs::write(dir.path().join(name), content).expect("a file beside the configuration");
        }
        let admin = address::free();
        let socket = dir.path().join("admin.sock");
        let mut node = format!("[node]\nadmin = \"{admin}\"\nadmin_socket = \"{}\"\n{node}\n", socket.display());
        if !node.contains("access_log") {
            node += "access_log = \"access.json\"\n";
        }
        if !node.contains("workers") {
            node += "workers = 2\n";
        }
        fs::write(dir.path().join("mainstay.toml"), format!("{node}{config}")).expect("the configuration");
        let mut command = Command::new(built("mainstay"));
        if !shell.is_empty() {
            command = Command::new(tools::find("unshare", "util-linux"));
            command.args(if tools::is_root() { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
            command.args(["sh", "-c", &format!("set -e; {shell}; exec \"$@\""), "sh"]).arg(built("mainstay"));
        }
        command.arg("run").arg("-c").arg(dir.path().join("mainstay.toml")).env("DIR", dir.path());
        let stdout = File::create(dir.path().join("stdout")).expect("a file for standard output");
        let process = Process::start("mainstay", dir.path(), &mut command, Some(stdout));
        Self { dir, admin, node, process, successors: Vec::new() }
    }

    /// Waits until `/ready` answers 200.
    pub fn wait_until_ready(&mut self) {
        self.process.wait_for_log("serving", 1, Duration::from_secs(15));
        eventually("the gateway is ready", Duration::from_secs(15), || self.admin("/ready").status == 200);
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Everything on standard error so far.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// The lines of the access log so far, each one parsed.
    ///
    /// # Panics
    /// If a line is not JSON.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.dir.path().join("access.json")).unwrap_or_default();
        // The last line may be on its way to the disk.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("each line of the access log is JSON")).collect()
    }

    /// Some lines of the access log about errors that the gateway made itself, for messages.
    pub fn logged_errors(&self, most: usize) -> String {
        let text = fs::read_to_string(self.dir.path().join("access.json")).unwrap_or_default();
        let errors = text.lines().filter(|line| line.contains("\"error\":\""));
        errors.take(most).collect::<Vec<_>>().join("\n")
    }

    /// The line of the access log about this path, which may come a little after the response.
    ///
    /// # Panics
    /// If there is none.
    pub fn logged(&self, path: &str) -> serde_json::Value {
        let mut found = None;
        eventually(&format!("a log line about {path}"), Duration::from_secs(5), || {
            found = self.access_log().into_iter().find(|line| line["path"] == path);
            found.is_some()
        });
        found.unwrap_or_default()
    }

    /// GET on the admin listener.
    pub fn admin(&self, path: &str) -> Response {
        wire::get(self.admin, path)
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// `/api/v1/status`.
    pub fn status(&self) -> serde_json::Value {
        self.admin("/api/v1/status").json()
    }

    /// A sample of `/metrics`: the sum over all series whose name and labels contain every word of `series`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.admin("/metrics").text();
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Writes another configuration (without `[node]`), without telling the gateway.
    pub fn write_config(&self, config: &str) {
        // Renamed into place: a half-written file must never be seen, since the gateway watches it.
        let (new, path) = (self.dir.path().join("mainstay.toml.new"), self.dir.path().join("mainstay.toml"));
        fs::write(&new, format!("{}{config}", self.node)).expect("the configuration");
        fs::rename(new, path).expect("the configuration in its place");
    }

    /// Writes another configuration, sends SIGHUP and waits until it is applied. A change of the file may be noticed first.
    pub fn reload(&mut self, config: &str) {
        let before = self.stderr().matches("configuration applied").count();
        self.write_config(config);
        self.process.signal(libc::SIGHUP);
        self.process.wait_for_log("configuration applied", before + 1, Duration::from_secs(10));
    }

    /// `kill -9`, and a new process on the same configuration and in the same directory.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        let mut command = Command::new(built("mainstay"));
        command.arg("run").arg("-c").arg(self.dir.path().join("mainstay.toml"));
        let before = self.stderr().matches("serving").count();
        self.process = Process::start("mainstay", self.dir.path(), &mut command, None);
        self.process.wait_for_log("serving", before + 1, Duration::from_secs(15));
        eventually("the gateway is ready", Duration::from_secs(15), || self.admin("/ready").status == 200);
    }

    /// Descriptors that the process holds open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.pid())).map_or(0, Iterator::count)
    }

    /// SIGTERM, and the exit within `limit`.
    ///
    /// # Panics
    /// If it does not exit in time.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.process.signal(libc::SIGTERM);
        self.process.wait(limit).unwrap_or_else(|| panic!("no exit within {limit:?} after SIGTERM"))
    }

    /// `mainstay upgrade`, which must succeed. From here on the new process is ended with the test, too.
    ///
    /// # Panics
    /// If it fails.
    pub fn upgrade(&mut self, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(&[&["upgrade", "--json"], arguments].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "not upgraded: {told}\n{}", self.stderr());
        let done: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
        self.adopt(&done["new_pid"]);
        done
    }

    /// The process with this id is ended with the test.
    ///
    /// # Panics
    /// If it is no id.
    pub fn adopt(&mut self, pid: &serde_json::Value) {
        let pid = pid.as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id");
        self.successors.push(Stranger::new(pid));
    }

    /// The process that serves after the last upgrade.
    ///
    /// # Panics
    /// If there was none.
    pub fn successor(&self) -> &Stranger {
        self.successors.last().expect("an upgrade")
    }

    /// Runs a subcommand that talks to this gateway over its socket.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let socket = self.dir.path().join("admin.sock");
        let option = if arguments[0] == "status" { "--admin" } else { "--admin-socket" };
        cli(&[arguments, &[option, &socket.display().to_string()]].concat())
    }
}

/// Runs the binary to its end.
///
/// # Panics
/// If it cannot be started.
pub fn cli(arguments: &[&str]) -> Output {
    Command::new(built("mainstay")).args(arguments).output().expect("mainstay runs")
}

/// One listener in front of one service, which is all that most tests need. `service` is added to `[[service]]`.
pub fn simple(listen: SocketAddr, endpoints: &[SocketAddr], service: &str) -> String {
    let list: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n\n[[service]]\nname = \"app\"\nendpoints = [{}]\n{service}\n",
        list.join(", ")
    )
}
