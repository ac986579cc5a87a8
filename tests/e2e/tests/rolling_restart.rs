//! Nodes are restarted and upgraded in turn under load, and no request fails.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay_e2e::lab::nodes::{Engine, Nodes, PORT};
use mainstay_e2e::lab::watch::Watch;
use mainstay_e2e::lab::{FLOATING, within};

const SOON: Duration = Duration::from_secs(20);

/// Ends the clients, also when the test fails in between: they would be waited for otherwise.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Requests of patient clients, each over a connection of its own, until `stop`: how many were answered well, and what went
/// wrong with the others.
fn load(namespace: &str, stop: &AtomicBool) -> (usize, Vec<String>) {
    let one = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&(FLOATING, PORT).into(), SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        if head == *b"HTTP/1.1 200" { Ok(()) } else { Err(std::io::Error::other(String::from_utf8_lossy(&head))) }
    };
    within(namespace, || {
        let (mut good, mut bad) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            match one() {
                Ok(()) => good += 1,
                Err(error) => bad.push(error.to_string()),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        (good, bad)
    })
}

#[test]
fn nodes_are_restarted_in_turn_and_no_request_fails() {
    in_turn("restart", |nodes, node, watch| {
        nodes.terminate(node);
        nodes.settled(watch);
        nodes.launch(node);
    });
}

#[test]
fn nodes_are_upgraded_in_turn_and_no_request_fails() {
    in_turn("upgrade", |nodes, node, watch| {
        nodes.upgrade(node);
        nodes.settled(watch);
    });
}

/// Does something to one node after another, under load.
fn in_turn(what: &str, act: impl Fn(&mut Nodes, usize, &Watch)) {
    let mut nodes = Nodes::start(3, Engine::Embedded, "", "");
    let watch = Watch::start(nodes.lab(), PORT);
    nodes.settled(&watch);
    let (stop, client) = (AtomicBool::new(false), nodes.lab().client());
    let reports = std::thread::scope(|scope| {
        let stopped = Stop(&stop);
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| load(&client, &stop))).collect();
        for node in 0..3 {
            std::thread::sleep(Duration::from_millis(500));
            act(&mut nodes, node, &watch);
        }
        std::thread::sleep(Duration::from_secs(1));
        drop(stopped);
        clients.into_iter().map(|client| client.join().expect("a client")).collect::<Vec<_>>()
    });
    let good: usize = reports.iter().map(|(good, _bad)| good).sum();
    let bad: Vec<&String> = reports.iter().flat_map(|(_good, bad)| bad).collect();
    println!("rolling {what}: {good} requests answered, {} failed", bad.len());
    assert!(good > 100 && bad.is_empty(), "{good} answered, {bad:?}");
}
