//! A way between two machines that takes its time: a proxy for TCP that holds everything back for a while.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{enter, within};

/// Takes connections at `port` in a namespace to `target`, and lets everything arrive so much later, each way, until the
/// process ends.
///
/// # Panics
/// If the port is taken.
pub fn delay(namespace: &str, port: u16, target: SocketAddr, late: Duration) {
    let listener = within(namespace, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a free port"));
    let namespace = namespace.to_owned();
    thread::spawn(move || {
        enter(&namespace);
        for client in listener.incoming().flatten() {
            // Who cannot be reached is not there: the client is told by the end of its connection.
            let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(2)) else { continue };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let _no_waiting = from.set_nodelay(true);
                let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                let (put, taken) = channel();
                thread::spawn(move || take(from, &put, late));
                thread::spawn(move || give(to, &taken));
            }
        }
    });
}

/// Reads, and says when each piece is due; an empty one is the end.
fn take(mut from: TcpStream, put: &Sender<(Instant, Vec<u8>)>, late: Duration) {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut piece).unwrap_or(0);
        let sent = put.send((Instant::now() + late, piece[..length].to_vec()));
        if length == 0 || sent.is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, taken: &Receiver<(Instant, Vec<u8>)>) {
    for (due, piece) in taken {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if piece.is_empty() || to.write_all(&piece).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(Shutdown::Both);
}
