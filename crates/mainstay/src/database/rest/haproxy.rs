//! HAProxy asks by `option httpchk`, and leads clients by that.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_core::database::Phase;
use mainstay_failover::group::board::View;

use super::tests::{following, report, view};
use super::*;

/// What the servers' nodes know.
struct Made(Mutex<View>);

impl Source for Made {
    fn view(&self, _group: &str) -> Option<View> {
        Some(self.0.lock().expect("nobody panicked").clone())
    }

    fn has_lease(&self) -> bool {
        true
    }

    fn takes_part(&self) -> bool {
        true
    }
}

/// A server that tells its name to whoever comes, and the port at which its role is asked.
fn server(node: &'static str, made: &Arc<Made>, leaving: &watch::Receiver<bool>) -> (SocketAddr, SocketAddr) {
    let clients = TcpListener::bind("127.0.0.1:0").expect("a port");
    let asked = TcpListener::bind("127.0.0.1:0").expect("a port");
    asked.set_nonblocking(true).expect("a socket");
    let addresses = (clients.local_addr().expect("bound"), asked.local_addr().expect("bound"));
    thread::spawn_blocking_thread("server", move || {
        for mut client in clients.incoming().map_while(Result::ok) {
            let _gone = client.write_all(node.as_bytes());
        }
    })
    .expect("a thread");
    let source: Arc<dyn Source> = Arc::clone(made) as _;
    let rest = Rest { group: "orders".to_owned(), node: node.to_owned(), major: Some(15), no_reads: false, source };
    let mut left = leaving.clone();
    thread::spawn_local_runtime("rest", move || async move {
        let listener = tokio::net::TcpListener::from_std(asked).expect("a socket");
        tokio::select! {
            _left = left.wait_for(|leaves| *leaves) => {}
            () = accept(rest, listener) => {}
        }
    })
    .expect("a thread");
    addresses
}

struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Who answers a client that comes to this socket; nothing if it is turned away.
fn who(socket: &Path) -> String {
    let mut said = String::new();
    if let Ok(mut client) = UnixStream::connect(socket) {
        let _limit = client.set_read_timeout(Some(Duration::from_secs(10)));
        let _turned_away = client.read_to_string(&mut said);
    }
    said
}

fn eventually(socket: &Path, expected: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    let mut last = who(socket);
    while last != expected {
        assert!(Instant::now() < end, "{}: `{last}` answers, not `{expected}`", socket.display());
        std::thread::sleep(Duration::from_millis(50));
        last = who(socket);
    }
}

#[test]
fn it_follows_the_role() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Arc::new(Made(Mutex::new(view())));
    let (leave, leaving) = watch::channel(false);
    let servers = ["a", "b"].map(|node| (node, server(node, &made, &leaving)));
    let mut config = "defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n".to_owned();
    for (name, check) in [("write", "OPTIONS /primary"), ("read", "GET /replica?lag=1kB")] {
        let socket = folder.path().join(name);
        config += &format!("listen {name}\n bind unix@{}\n option httpchk {check}\n", socket.display());
        config += " http-check expect status 200\n default-server inter 50ms fall 1 rise 1\n";
        for (node, (clients, asked)) in &servers {
            config += &format!(" server {node} {clients} check port {}\n", asked.port());
        }
    }
    std::fs::write(folder.path().join("haproxy.cfg"), config).expect("written");
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let mut command = Command::new("haproxy");
    command.env("PATH", path).arg("-db").arg("-f").arg(folder.path().join("haproxy.cfg"));
    let _proxy = Proxy(command.stderr(Stdio::null()).spawn().expect("HAProxy is installed: tests/packages.txt"));
    let [write, read] = ["write", "read"].map(|name| folder.path().join(name));
    eventually(&write, "a");
    eventually(&read, "b");
    // They change places.
    let change = |change: &dyn Fn(&mut View)| change(&mut made.0.lock().expect("nobody panicked"));
    change(&|view| {
        view.plan.term = 5;
        view.plan.phase = Phase::Serving { primary: "b".to_owned() };
        view.members[0].report = Some(following("b", 9_000));
        view.members[1].report =
            Some(mainstay_core::database::Report { led: Some(5), ..report(Server::Primary, 9_000) });
    });
    eventually(&write, "b");
    eventually(&read, "a");
    // Too far behind: nobody is left for reads, and an election leaves nobody for writes.
    change(&|view| view.members[0].report = Some(following("b", 1_000)));
    eventually(&read, "");
    change(&|view| view.plan.phase = Phase::Electing { from: "b".to_owned(), forced: None });
    eventually(&write, "");
    leave.send_replace(true);
}
