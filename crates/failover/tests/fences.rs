//! The port lease in the kernel, in a network namespace that the test makes.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use mainstay_cluster::guard::boot_time;
use mainstay_core::lease::Term;
use mainstay_core::time::Moment;
use mainstay_failover::fence::leftover;
use mainstay_failover::fence::port::PortLease;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

struct Namespace(String);

impl Namespace {
    fn new() -> Self {
        let namespace = Self(format!("mafence{}", std::process::id()));
        run("ip", &["netns", "add", &namespace.0]);
        run("ip", &["-n", &namespace.0, "link", "set", "lo", "up"]);
        namespace
    }

    /// Runs `work` on a thread that is in it.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let handle = File::open(format!("/run/netns/{}", self.0)).expect("the namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("install iproute2 and nftables");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} (the test needs root): {said}");
    String::from_utf8(output.stdout).expect("text")
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within 60 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A connection to a server that answers each byte, as long as there is somebody.
fn echo() -> (u16, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (mut server, _) = listener.accept().expect("it came");
    std::thread::spawn(move || {
        let mut byte = [0];
        while server.read_exact(&mut byte).is_ok() && server.write_all(&byte).is_ok() {}
    });
    (port, client)
}

fn answers(client: &mut TcpStream, within: Duration) -> bool {
    client.set_read_timeout(Some(within)).expect("works");
    client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok()
}

/// The lease's term that ends in a while; half of the second for stopping is the port's.
fn term(left: Duration) -> Term {
    let deadline = Moment::from_nanos(boot_time()).after(left);
    Term { lease: 1, deadline, expiry: deadline.after(Duration::from_secs(20)) }
}

#[test]
fn a_port_is_closed_when_its_lease_is_not_renewed_and_no_other_is() {
    let long = Duration::from_secs(60);
    Namespace::new().within(|| {
        let (port, mut client) = echo();
        let (_, mut other) = echo();
        let lease = PortLease::open("or-ders", ([127, 0, 0, 1], port).into(), false).expect("root and nftables");
        assert!(answers(&mut client, long) && !lease.stands(), "without a rule anybody may");
        lease.hold(term(long));
        eventually("the kernel knows", || lease.stands());
        assert!(run("nft", &["list", "tables"]).contains("mainstay_orders"));
        // Renewals lose nothing.
        for _ in 0..20 {
            lease.hold(term(long));
            assert!(answers(&mut client, long));
        }
        // The last one is for two seconds.
        let deadline = Moment::from_nanos(boot_time());
        lease.hold(Term { lease: 1, deadline, expiry: deadline.after(Duration::from_secs(4)) });
        eventually("it is closed", || !answers(&mut client, Duration::from_secs(1)));
        assert!(answers(&mut other, long), "another port is nobody's business");
        eventually("it is known", || !lease.stands());
        lease.release();
        // What was dropped is sent again by the kernel, later and later.
        eventually("it is open", || answers(&mut client, Duration::from_secs(5)));
        drop(lease);
        assert!(!run("nft", &["list", "tables"]).contains("mainstay"), "nothing is left");
    });
}

#[test]
fn what_a_crash_has_left_is_removed_and_a_running_servers_lease_is_not() {
    let namespace = Namespace(format!("mafence{}l", std::process::id()));
    run("ip", &["netns", "add", &namespace.0]);
    namespace.within(|| {
        let address = ([127, 0, 0, 1], 5432).into();
        let tables = || run("nft", &["list", "tables"]);
        run("nft", &["add", "table", "inet", "somebody_elses"]);
        let lease = PortLease::open("orders", address, false).expect("root and nftables");
        lease.hold(term(Duration::from_secs(60)));
        eventually("the kernel knows", || lease.stands());
        // Whoever drops it without a word has crashed.
        drop(lease);
        assert!(tables().contains("mainstay_orders_5432"));
        drop(PortLease::open("orders", address, true).expect("works"));
        assert!(tables().contains("mainstay_orders_5432"), "it is for whoever leads");
        drop(PortLease::open("orders", address, false).expect("works"));
        assert!(!tables().contains("mainstay_orders_5432"));
        assert!(tables().contains("somebody_elses"));
    });
}

#[test]
fn the_rule_of_a_group_that_was_renamed_or_moved_is_removed_at_the_next_start() {
    let namespace = Namespace(format!("mafence{}r", std::process::id()));
    run("ip", &["netns", "add", &namespace.0]);
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("port-leases");
    namespace.within(|| {
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        let tables = || run("nft", &["list", "tables"]);
        let crashed = |group: &str, port: u16| {
            let lease = PortLease::open(group, at(port), false).expect("root and nftables");
            lease.hold(term(Duration::from_secs(60)));
            eventually("the kernel knows", || lease.stands());
        };
        let server = |group: &str, port: u16| (group.to_owned(), at(port));
        leftover::tidy(&file, &[server("orders", 5432), server("users", 5433), server("stays", 5434)]).expect("works");
        for (group, port) in [("orders", 5432), ("users", 5433), ("stays", 5434), ("anothers", 5435)] {
            crashed(group, port);
        }
        leftover::tidy(&file, &[server("sales", 5432), server("users", 6433), server("stays", 5434)]).expect("works");
        let left = tables();
        assert!(!left.contains("mainstay_orders_5432") && !left.contains("mainstay_users_5433"), "{left}");
        assert!(left.contains("mainstay_stays_5434") && left.contains("mainstay_anothers_5435"), "{left}");
        leftover::tidy(&file, &[]).expect("works");
        let left = tables();
        assert!(!left.contains("mainstay_stays_5434") && left.contains("mainstay_anothers_5435"), "{left}");
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "");
    });
}
