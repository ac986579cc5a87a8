//! Three members of etcd beside the client, whose cables are never cut. One of them may be dead.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::{CLIENT, Lab, within};
use crate::process::Process;
use crate::{eventually, tools};

const SOON: Duration = Duration::from_secs(30);
const MEMBERS: u16 = 3;

/// The members.
#[derive(Debug)]
pub struct Etcd(Vec<Process>);

impl Etcd {
    /// Starts all of them, and waits until they answer.
    pub(super) fn start(lab: &Lab, dir: &Path) -> Self {
        let etcd = Self((0..MEMBERS).map(|member| launch(lab, dir, member)).collect());
        (0..MEMBERS).for_each(|member| wait(lab, member));
        etcd
    }

    /// Where nodes reach them, as the configuration has it.
    pub(super) fn line() -> String {
        let all: Vec<String> = (0..MEMBERS).map(|member| url(clients(member))).collect();
        format!("etcd = {all:?}")
    }

    /// `kill -9` of one.
    pub(super) fn kill(&mut self, member: usize) {
        self.0[member].kill();
    }

    /// Starts one again that was killed, with the disk that it had, and waits until it answers.
    pub(super) fn restart(&mut self, lab: &Lab, dir: &Path, member: usize) {
        let number = u16::try_from(member).expect("one of three");
        self.0[member] = launch(lab, dir, number);
        wait(lab, number);
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Process::kill);
    }
}

const fn clients(member: u16) -> u16 {
    2379 + member * 10
}

fn url(port: u16) -> String {
    format!("http://{CLIENT}:{port}")
}

fn launch(lab: &Lab, dir: &Path, member: u16) -> Process {
    let peers = |member: u16| url(clients(member) + 1);
    let all: Vec<String> = (0..MEMBERS).map(|member| format!("etcd{member}={}", peers(member))).collect();
    let (name, client) = (format!("etcd{member}"), url(clients(member)));
    let mut command = lab.command(&lab.client(), &tools::find("etcd", "etcd-server"));
    command.args(["--name", &name, "--data-dir", &dir.join(&name).display().to_string()]);
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peers(member), "--initial-advertise-peer-urls", &peers(member)]);
    command.args(["--initial-cluster", &all.join(","), "--log-level", "error"]);
    Process::start(&name, dir, &mut command, None)
}

/// It listens before it can answer.
fn wait(lab: &Lab, member: u16) {
    let at = (CLIENT, clients(member)).into();
    eventually("etcd answers", SOON, || within(&lab.client(), || is_healthy(at)).unwrap_or(false));
}

/// Whether a member says that it is well.
fn is_healthy(at: SocketAddr) -> Option<bool> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET /health HTTP/1.0\r\nhost: etcd\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.contains("\"true\""))
}
