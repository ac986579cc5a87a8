//! A real name server (Debian's Knot) whose zone a test changes.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::tools::{self, Server};
use crate::{address, free};

/// A name server for the zone `test`.
#[derive(Debug)]
pub struct NameServer {
    server: Option<Server>,
    listen: SocketAddr,
    serial: u32,
    records: String,
}

impl NameServer {
    /// Starts one whose zone holds these lines, such as `shop 1 A 127.0.0.1`: names relative to `test`, with their TTL.
    pub fn start(records: &str) -> Self {
        let mut made = Self { server: None, listen: free(), serial: 1, records: records.to_owned() };
        made.restart();
        made
    }

    /// What `[node]` says to ask it and nobody else.
    pub fn node(&self) -> String {
        format!("resolver = {{ servers = [\"{}\"], timeout = \"2s\" }}", self.listen)
    }

    /// Replaces the records of the zone.
    ///
    /// # Panics
    /// If the server does not take them.
    pub fn set(&mut self, records: &str) {
        self.serial += 1;
        self.records = records.to_owned();
        let server = self.server.as_ref().expect("the name server runs");
        self.write_zone(server.dir.path());
        let output = Command::new(tools::find("knotc", "knot"))
            .arg("-s")
            .arg(server.dir.path().join("knot.sock"))
            .args(["-b", "zone-reload", "test"])
            .output()
            .expect("knotc can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Starts it again, with the records that it had.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.server = None;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().display();
        let listen = format!("{}@{}", self.listen.ip(), self.listen.port());
        let config = format!(
            "server:\n    rundir: {path}\n    listen: {listen}\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n\
             log:\n  - target: stderr\n    any: info\n\
             database:\n    storage: {path}/db\n\
             control:\n    listen: {path}/knot.sock\n\
             template:\n  - id: default\n    storage: {path}\n    file: zone\n    journal-content: none\n    zonefile-load: whole\n\
             zone:\n  - domain: test\n"
        );
        fs::write(dir.path().join("knot.conf"), config).expect("the name server's configuration");
        let mut command = Command::new(tools::find("knotd", "knot"));
        command.arg("-c").arg(dir.path().join("knot.conf"));
        self.write_zone(dir.path());
        let mut server = Server { process: Process::start("knotd", dir.path(), &mut command, None), dir };
        server.wait_for(self.listen);
        server.process.wait_for_log("loaded", 1, Duration::from_secs(15));
        self.server = Some(server);
    }

    fn write_zone(&self, dir: &Path) {
        let (serial, records) = (self.serial, &self.records);
        let head = format!("$ORIGIN test.\n@ 1 SOA ns admin {serial} 3600 60 3600 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n");
        fs::write(dir.join("zone"), format!("{head}{records}\n")).expect("the zone");
    }
}

/// Addresses with one port on several loopback addresses, since a host name has one port for all of them.
///
/// # Panics
/// If no port is free on all of them.
pub fn with_one_port(count: u8) -> Vec<SocketAddr> {
    for _attempt in 0..100 {
        let port = free().port();
        let addresses: Vec<SocketAddr> = (0..count).map(|nth| SocketAddr::new(neighbour(nth), port)).collect();
        if addresses.iter().all(|address| TcpListener::bind(address).is_ok()) {
            return addresses;
        }
    }
    panic!("no port that is free on {count} addresses");
}

/// Another loopback address of this process's own.
fn neighbour(nth: u8) -> IpAddr {
    let [_net, b, c, d] = address::host().octets();
    Ipv4Addr::new(127, b.wrapping_add(nth.wrapping_mul(60)) % 250 + 1, c, d).into()
}

/// Connections that stand to an address, by the kernel's own table.
///
/// # Panics
/// If the kernel shows none, or the address is one of IPv6.
pub fn connections_to(address: SocketAddr) -> usize {
    let IpAddr::V4(ip) = address.ip() else { panic!("{address} is not IPv4") };
    let [a, b, c, d] = ip.octets();
    let peer = format!("{d:02X}{c:02X}{b:02X}{a:02X}:{:04X}", address.port());
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let established = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(2) == Some(&peer.as_str()) && words.get(3) == Some(&"01")
    };
    table.lines().filter(established).count()
}
