//! Debian's etcd, started by the test on loopback ports and ended with it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A cluster of etcd processes.
pub(crate) struct Servers {
    dir: TempDir,
    members: Vec<Member>,
    security: Vec<String>,
    scheme: &'static str,
}

struct Member {
    client: u16,
    peer: u16,
    process: Option<Child>,
}

impl Servers {
    /// Starts `count` members, which take some time until they serve.
    pub(crate) fn start(count: usize) -> Self {
        Self::start_with(count, tempfile::tempdir().unwrap(), "http", Vec::new())
    }

    /// Starts members that speak `scheme` with clients, with more options. What the options name may be in `dir`.
    pub(crate) fn start_with(count: usize, dir: TempDir, scheme: &'static str, security: Vec<String>) -> Self {
        // Bound all at once, so that they differ.
        let sockets: Vec<_> = (0..count * 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        drop(sockets);
        let members = ports.chunks(2).map(|pair| Member { client: pair[0], peer: pair[1], process: None }).collect();
        let mut servers = Self { dir, members, security, scheme };
        (0..count).for_each(|index| servers.launch(index));
        servers
    }

    /// Starts a member, anew if it was killed, with the disk that it had.
    pub(crate) fn launch(&mut self, index: usize) {
        let all: Vec<_> = (0..self.members.len())
            .map(|other| format!("m{other}=http://127.0.0.1:{}", self.members[other].peer))
            .collect();
        let client = self.url(index);
        let peer = format!("http://127.0.0.1:{}", self.members[index].peer);
        let log = std::fs::File::options().create(true).append(true).open(self.log(index)).unwrap();
        // A test run that is killed leaves no server behind: the kernel ends it with the thread that started it.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", &std::env::var("ETCD").unwrap_or_else(|_unset| "etcd".to_owned())])
            .args(["--name", &format!("m{index}"), "--initial-cluster", &all.join(",")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg("--data-dir")
            .arg(self.dir.path().join(format!("m{index}")))
            .args(["--log-level", "warn", "--unsafe-no-fsync"])
            .args(&self.security)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("cannot start etcd: apt-get install etcd-server");
        self.members[index].process = Some(process);
    }

    fn log(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("m{index}.log"))
    }

    /// Where clients reach a member.
    pub(crate) fn url(&self, index: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.members[index].client)
    }

    /// Where clients reach all of them.
    pub(crate) fn urls(&self) -> Vec<String> {
        (0..self.members.len()).map(|index| self.url(index)).collect()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut process) = self.members[index].process.take() {
            let _gone_already = process.kill();
            let _reaped = process.wait();
        }
    }

    /// Sends a signal such as `STOP`.
    pub(crate) fn signal(&self, index: usize, signal: &str) {
        let id = self.members[index].process.as_ref().expect("it runs").id();
        let status = Command::new("kill").arg(format!("-{signal}")).arg(id.to_string()).status().unwrap();
        assert!(status.success());
    }

    /// What the members wrote, for a test that fails.
    pub(crate) fn logs(&self) -> String {
        (0..self.members.len()).map(|index| std::fs::read_to_string(self.log(index)).unwrap_or_default()).collect()
    }

    /// Waits until `asked` says that the cluster serves.
    pub(crate) async fn wait_until(&self, mut asked: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !asked().await {
            assert!(Instant::now() < end, "etcd does not serve:\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|index| self.kill(index));
    }
}
