//! The connections between the nodes, each way through a small proxy of the demo, so that they can be cut and healed
//! without touching the machine's network.
//!
//! A cut holds bytes back as a network does whose packets are lost and sent again: connections stay open, nothing is
//! refused, and what was held back arrives after the cut.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Listener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mainstay_runtime::task::{self, Kind};
use mainstay_runtime::thread::spawn_local_runtime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::demo::schedule::NODES;

/// How often a pump that is held back looks whether the cut is over.
const LOOK: Duration = Duration::from_millis(5);

/// Connections through one proxy; further ones are closed at once. Nodes keep a few to each other.
const CONNECTIONS_MAX: usize = 256;

/// Bytes that a pump takes at a time.
const CHUNK: usize = 16 << 10;

/// Which way is cut: from a node, to a node.
#[derive(Debug, Default)]
struct Cuts([[AtomicBool; NODES]; NODES]);

impl Cuts {
    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.0.get(from).and_then(|row| row.get(to)).is_some_and(|cut| cut.load(Ordering::Acquire))
    }

    fn set(&self, from: usize, to: usize, cut: bool) {
        if let Some(place) = self.0.get(from).and_then(|row| row.get(to)) {
            place.store(cut, Ordering::Release);
        }
    }
}

/// Listens at a port that nobody has reserved.
fn listen(reserved: &[u16]) -> io::Result<Listener> {
    // What was found in vain is held meanwhile, so that each try finds another port.
    let mut in_vain = Vec::new();
    for _try in 0..=reserved.len() {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0))?;
        if !reserved.contains(&listener.local_addr()?.port()) {
            return Ok(listener);
        }
        in_vain.push(listener);
    }
    Err(io::Error::other("every free port is reserved"))
}

/// All ways between nodes. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Links {
    /// By the node that asks, then by the one that is asked.
    ports: [[u16; NODES]; NODES],
    cuts: Arc<Cuts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Links {
    /// Opens a way from each node to each other one; `peers` are the ports where nodes listen. None begins at a port of
    /// `reserved`, which are free now and wanted later.
    ///
    /// # Errors
    /// If the system refuses a port or the thread.
    pub(crate) fn open(peers: [u16; NODES], reserved: &[u16]) -> io::Result<Self> {
        let mut ports = [[0; NODES]; NODES];
        let mut listeners = Vec::with_capacity(NODES * (NODES - 1));
        for (from, row) in ports.iter_mut().enumerate() {
            for (to, port) in row.iter_mut().enumerate().filter(|(to, _port)| *to != from) {
                let listener = listen(reserved)?;
                listener.set_nonblocking(true)?;
                *port = listener.local_addr()?.port();
                listeners.push((listener, Way { from, to }));
            }
        }
        let (cuts, stop) = (Arc::new(Cuts::default()), Arc::new(AtomicBool::new(false)));
        let (thread_cuts, thread_stop) = (Arc::clone(&cuts), Arc::clone(&stop));
        let thread = spawn_local_runtime("demo-links", move || async move {
            for (listener, way) in listeners {
                let target = SocketAddr::from((Ipv4Addr::LOCALHOST, peers.get(way.to).copied().unwrap_or(0)));
                task::spawn_local(Kind::Demo, accept(listener, target, way, Arc::clone(&thread_cuts)));
            }
            while !thread_stop.load(Ordering::Acquire) {
                sleep(LOOK * 4).await;
            }
        })?;
        Ok(Self { ports, cuts, stop, thread: Some(thread) })
    }

    /// Where a node finds another one.
    pub(crate) fn port(&self, from: usize, to: usize) -> u16 {
        self.ports.get(from).and_then(|row| row.get(to)).copied().unwrap_or(0)
    }

    /// Cuts a node off: nobody hears it; with `deaf` it hears nobody either.
    pub(crate) fn cut(&self, node: usize, deaf: bool) {
        for other in (0..NODES).filter(|other| *other != node) {
            self.cuts.set(node, other, true);
            self.cuts.set(other, node, deaf);
        }
    }

    /// Ends all cuts.
    pub(crate) fn heal(&self) {
        for (from, to) in (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))) {
            self.cuts.set(from, to, false);
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// A connection's way: who has asked, and whom.
#[derive(Clone, Copy, Debug)]
struct Way {
    from: usize,
    to: usize,
}

async fn accept(listener: Listener, target: SocketAddr, way: Way, cuts: Arc<Cuts>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) if open.get() < CONNECTIONS_MAX => {
                open.set(open.get() + 1);
                let (open, cuts) = (Rc::clone(&open), Arc::clone(&cuts));
                task::spawn_local(Kind::Demo, async move {
                    join(stream, target, way, &cuts).await;
                    open.set(open.get() - 1);
                });
            }
            // Too many connections: this one is closed by being dropped.
            Ok(_refused) => {}
            // Out of file descriptors, most likely; a pause lets some be closed.
            Err(_error) => sleep(LOOK * 4).await,
        }
    }
}

async fn join(asking: TcpStream, target: SocketAddr, way: Way, cuts: &Cuts) {
    while cuts.is_cut(way.from, way.to) {
        sleep(LOOK).await;
    }
    // A node that is not there refuses, which the one that asks sees as a connection that ends at once.
    let Ok(asked) = TcpStream::connect(target).await else { return };
    let _refused = (asking.set_nodelay(true), asked.set_nodelay(true));
    let ((asking_in, asking_out), (asked_in, asked_out)) = (asking.into_split(), asked.into_split());
    let back = Way { from: way.to, to: way.from };
    // The first side that ends ends both: a half that is left open would hide that a process died.
    tokio::select! {
        () = pump(asking_in, asked_out, way, cuts) => {}
        () = pump(asked_in, asking_out, back, cuts) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, cuts: &Cuts) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await;
        while cuts.is_cut(way.from, way.to) {
            sleep(LOOK).await;
        }
        match read {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if to.write_all(chunk.get(..length).unwrap_or_default()).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Plain;

    use super::*;

    #[test]
    fn a_cut_holds_back_one_way_or_both_and_loses_nothing() {
        let node = Listener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = node.local_addr().unwrap().port();
        let links = Links::open([port; NODES], &[]).unwrap();
        let mut asking = Plain::connect((Ipv4Addr::LOCALHOST, links.port(0, 1))).unwrap();
        let (mut asked, _peer) = node.accept().unwrap();
        let say = |from: &mut Plain, to: &mut Plain| -> bool {
            from.write_all(b"x").unwrap();
            to.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            to.read_exact(&mut [0]).is_ok()
        };
        assert!(say(&mut asking, &mut asked) && say(&mut asked, &mut asking));
        links.cut(0, false);
        assert!(!say(&mut asking, &mut asked), "node 0 is not heard");
        assert!(say(&mut asked, &mut asking), "and hears");
        links.cut(0, true);
        assert!(!say(&mut asked, &mut asking), "nor does it hear");
        links.heal();
        for stream in [&mut asking, &mut asked] {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.read_exact(&mut [0]).expect("what was held back arrives");
        }
        assert!(say(&mut asking, &mut asked));
    }
}
