//! Servers and programs from Debian's packages. One that is missing fails the test by the package's name.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::{eventually, free};

/// The path of a program. An environment variable (`REDIS_SERVER` for `redis-server`) overrides it.
///
/// # Panics
/// If it is not installed, naming the package.
pub fn find(program: &str, package: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(program.to_uppercase().replace('-', "_")) {
        return PathBuf::from(path);
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from));
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        dirs.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let found = dirs.into_iter().map(|dir| dir.join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{program}` is missing: `apt-get install {package}`"))
}

/// A server with a directory of its own.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where its files are.
    pub dir: tempfile::TempDir,
}

/// Starts nginx with these `server` (or other `http`) blocks and waits until `listen` accepts. Files go beside its
/// configuration and are named relative to it.
///
/// # Panics
/// If it does not come up.
pub fn nginx(listen: SocketAddr, blocks: &str, files: &[(&str, &str)]) -> Server {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().display().to_string();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).expect("a file for nginx");
    }
    // One process: a worker would outlive a master that is killed.
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_max_body_size 0; client_body_temp_path {path}/b; proxy_temp_path {path}/p;\n\
         fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n{blocks}\n}}\n"
    );
    fs::write(dir.path().join("nginx.conf"), config).expect("nginx's configuration");
    let mut command = Command::new(find("nginx", "nginx"));
    command.arg("-p").arg(dir.path()).arg("-c").arg(dir.path().join("nginx.conf"));
    let process = Process::start("nginx", dir.path(), &mut command, None);
    let mut server = Server { dir, process };
    server.wait_for(listen);
    server
}

/// Starts HAProxy with these sections behind `global` and `defaults`, and waits until `listen` accepts. Files go beside its
/// configuration and are named relative to it.
///
/// # Panics
/// If it does not come up.
pub fn haproxy(listen: SocketAddr, sections: &str, files: &[(&str, &str)]) -> Server {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, content) in files {
        fs::write(dir.path().join(name), content).expect("a file for HAProxy");
    }
    let config = format!(
        "global\n  default-path config\n  ssl-server-verify none\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n{sections}\n"
    );
    fs::write(dir.path().join("haproxy.cfg"), config).expect("HAProxy's configuration");
    let mut command = Command::new(find("haproxy", "haproxy"));
    // One process, in the foreground.
    command.arg("-db").arg("-f").arg(dir.path().join("haproxy.cfg"));
    let process = Process::start("haproxy", dir.path(), &mut command, None);
    let mut server = Server { dir, process };
    server.wait_for(listen);
    server
}

/// Starts etcd for clients at `listen`, of one member, which keeps nothing safe.
pub fn etcd(listen: SocketAddr) -> Server {
    let (dir, peer) = (tempfile::tempdir().expect("a temporary directory"), free());
    let mut command = Command::new(find("etcd", "etcd-server"));
    let (client_url, peer_url) = (format!("http://{listen}"), format!("http://{peer}"));
    command.args(["--name", "m1", "--initial-cluster", &format!("m1={peer_url}")]);
    command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--log-level", "warn", "--unsafe-no-fsync", "--data-dir"]).arg(dir.path().join("data"));
    let process = Process::start("etcd", dir.path(), &mut command, None);
    let mut server = Server { dir, process };
    server.wait_for(listen);
    server
}

/// Starts redis-server on this address.
pub fn redis(listen: SocketAddr) -> Server {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(find("redis-server", "redis-server"));
    command.args(["--bind", &listen.ip().to_string(), "--port", &listen.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(dir.path());
    let process = Process::start("redis", dir.path(), &mut command, None);
    let mut server = Server { dir, process };
    server.wait_for(listen);
    server
}

impl Server {
    /// Waits until it accepts connections.
    ///
    /// # Panics
    /// If it exits, or does not within 15 s.
    pub fn wait_for(&mut self, listen: SocketAddr) {
        eventually("the server accepts", Duration::from_secs(15), || {
            assert!(self.process.is_running(), "the server has exited: {}", self.process.stderr());
            std::net::TcpStream::connect(listen).is_ok()
        });
    }
}

/// Whether the test runs as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid reads a number and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Runs a program to its end and answers its standard output.
///
/// # Panics
/// If it is missing or fails.
pub fn run(program: &str, package: &str, arguments: &[&str]) -> String {
    let output = Command::new(find(program, package)).args(arguments).output().expect("it can be started");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}
