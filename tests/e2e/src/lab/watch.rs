//! Watches who holds the floating address, every ten milliseconds and in every way in which a client could notice: who has
//! it in the kernel, who answers ARP for it, who accepts connections to it, and when a client gets an answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::arp::Ear;
use super::{CLIENT, FLOATING, Lab, enter};

const EVERY: Duration = Duration::from_millis(10);
/// A connection takes no time here; one that is not accepted by then is not.
const CONNECT: Duration = Duration::from_millis(60);

/// How it was noticed that a node has the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sense {
    /// The address is on one of its interfaces.
    Kernel,
    /// It answers ARP requests for it, or announces it.
    Arp,
    /// It accepts a connection to it that is sent to its own hardware address.
    Accept,
}

/// At some moment between `start` and `end`, `node` held the address.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// The node.
    pub node: usize,
    /// How it was seen.
    pub sense: Sense,
    /// Not before this.
    pub start: Instant,
    /// Not after this.
    pub end: Instant,
}

#[derive(Debug, Default)]
struct Seen {
    sightings: Vec<Sighting>,
    /// When a client's request was answered, and by which kind of answer.
    answers: Vec<(Instant, bool)>,
}

/// The watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Watches the nodes of `lab`, whose gateways listen on this port.
    pub fn start(lab: &Lab, port: u16) -> Self {
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let mut watch = Self { seen, stop, threads: Vec::new() };
        let floating = SocketAddr::from((FLOATING, port));
        let mut hardware = Vec::new();
        for node in 0..lab.nodes() {
            hardware.push(lab.hardware(&lab.node(node)));
            // An address that is not there cannot be bound.
            watch.every(lab.node(node), move |sight| {
                let start = Instant::now();
                if UdpSocket::bind((FLOATING, 0)).is_ok() {
                    sight(Sighting { node, sense: Sense::Kernel, start, end: Instant::now() });
                }
            });
            watch.every(lab.observer_of(node), move |sight| {
                let start = Instant::now();
                if TcpStream::connect_timeout(&floating, CONNECT).is_ok() {
                    sight(Sighting { node, sense: Sense::Accept, start, end: Instant::now() });
                }
            });
        }
        watch.arp(lab, hardware);
        watch.client(lab, floating);
        watch
    }

    fn every(&mut self, namespace: String, mut look: impl FnMut(&dyn Fn(Sighting)) + Send + 'static) {
        let (seen, stop) = (Arc::clone(&self.seen), Arc::clone(&self.stop));
        self.threads.push(std::thread::spawn(move || {
            enter(&namespace);
            while !stop.load(Ordering::Relaxed) {
                look(&|sighting| seen.lock().unwrap_or_else(PoisonError::into_inner).sightings.push(sighting));
                std::thread::sleep(EVERY);
            }
        }));
    }

    fn arp(&mut self, lab: &Lab, nodes: Vec<[u8; 6]>) {
        let (namespace, own) = (lab.client(), lab.hardware(&lab.client()));
        let mut ear = None;
        let mut before = Instant::now();
        self.every(namespace, move |sight| {
            let ear = ear.get_or_insert_with(|| Ear::new(own, CLIENT, FLOATING).expect("a packet socket"));
            let start = Instant::now();
            ear.ask().expect("the client's cable is never cut");
            // Every answer is heard; one that came late may belong to the question before.
            for _ in 0..16 {
                let Some(hardware) = ear.hear() else { break };
                if let Some(node) = nodes.iter().position(|node| *node == hardware) {
                    sight(Sighting { node, sense: Sense::Arp, start: before, end: Instant::now() });
                }
            }
            before = start;
        });
    }

    /// A client that asks anew each time, as browsers do that have lost their connection.
    fn client(&mut self, lab: &Lab, floating: SocketAddr) {
        let seen = Arc::clone(&self.seen);
        self.every(lab.client(), move |_sight| {
            if let Some(good) = ask(floating) {
                seen.lock().unwrap_or_else(PoisonError::into_inner).answers.push((Instant::now(), good));
            }
        });
    }

    /// All sightings from `since` on.
    pub fn sightings(&self, since: Instant) -> Vec<Sighting> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.sightings.iter().filter(|sighting| sighting.start >= since).copied().collect()
    }

    /// Who was seen last with the address in its kernel, if that was less than 200 ms ago.
    pub fn holder(&self) -> Option<usize> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.sightings.iter().rev().find(|sighting| sighting.sense == Sense::Kernel)?;
        (last.end.elapsed() < Duration::from_millis(200)).then_some(last.node)
    }

    /// When a client was answered well for the first time after `since`.
    pub fn answered(&self, since: Instant) -> Option<Instant> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.answers.iter().find(|(at, good)| *good && *at > since).map(|(at, _)| *at)
    }

    /// The longest time between two good answers that began before `until` and ended after `since`; one that has not ended is
    /// counted until `until`.
    pub fn longest_gap(&self, since: Instant, until: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let good = seen.answers.iter().filter(|(at, good)| *good && *at <= until).map(|(at, _)| *at);
        let good: Vec<Instant> = good.chain([until]).collect();
        let gaps = good.windows(2).filter(|pair| pair[1] >= since);
        gaps.map(|pair| pair[1] - pair[0]).max().unwrap_or(until - since)
    }

    /// That the address went from `from` to `to` since then, without a moment at which both had it, by any sense, and was
    /// nowhere else. Answers how long it was nowhere, as the kernels saw it.
    ///
    /// # Panics
    /// If two nodes had it, with what was seen around that moment.
    pub fn moved(&self, from: usize, to: usize, since: Instant) -> Duration {
        let sightings = self.sightings(since);
        let of = |node: usize| sightings.iter().filter(move |sighting| sighting.node == node);
        if let Some(stranger) = sightings.iter().find(|sighting| sighting.node != from && sighting.node != to) {
            panic!("node {} had the address, too: {stranger:?}", stranger.node);
        }
        let first_new = of(to).min_by_key(|sighting| sighting.end);
        let first_new = first_new.unwrap_or_else(|| panic!("node {to} never had the address"));
        if let Some(both) = of(from).find(|sighting| sighting.start > first_new.end) {
            let count = of(from).filter(|sighting| sighting.start > first_new.end).count();
            panic!(
                "two holders: node {to} by {:?} at {:?}, then node {from} by {:?} at {:?} ({count} times)",
                first_new.sense,
                first_new.end - since,
                both.sense,
                both.start - since,
            );
        }
        let last_old = of(from).filter(|sighting| sighting.sense == Sense::Kernel).map(|sighting| sighting.end).max();
        let kernel_new = of(to).filter(|sighting| sighting.sense == Sense::Kernel).map(|sighting| sighting.start).min();
        kernel_new.unwrap_or(first_new.end).saturating_duration_since(last_old.unwrap_or(since))
    }

    /// How long more than one node had it since then: from when a second one was seen with it, to when an earlier one was
    /// last.
    pub fn twice(&self, since: Instant) -> Duration {
        let sightings = self.sightings(since);
        let nodes: std::collections::BTreeSet<usize> = sightings.iter().map(|sighting| sighting.node).collect();
        let mut worst = Duration::ZERO;
        for from in &nodes {
            for to in nodes.iter().filter(|to| *to != from) {
                let began = |node: usize| sightings.iter().filter(|it| it.node == node).map(|it| it.end).min();
                let last = sightings.iter().filter(|it| it.node == *from).map(|it| it.start).max();
                if let (Some(old), Some(new), Some(last)) = (began(*from), began(*to), last)
                    && old < new
                {
                    worst = worst.max(last.saturating_duration_since(new));
                }
            }
        }
        worst
    }

    /// That nobody but `node` had it since then, by any sense.
    ///
    /// # Panics
    /// If another one had.
    pub fn stayed(&self, node: usize, since: Instant) {
        let other = self.sightings(since).into_iter().find(|sighting| sighting.node != node);
        assert!(other.is_none(), "{other:?} while node {node} held the address");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() && !std::thread::panicking() {
                panic!("a watching thread has failed");
            }
        }
    }
}

/// One request on a connection of its own; `None` without an answer, else whether it was a good one.
fn ask(to: SocketAddr) -> Option<bool> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(100)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n").ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    Some(head.starts_with(b"HTTP/1.1 200"))
}
