//! A load of HTTP/2: eight requests at a time on one connection, and a new one when the server says goodbye.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mainstay_e2e::http2::{Http2, request};

/// A running load.
pub struct Http2Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests that were answered 200.
    pub answered: usize,
    /// Connections that were opened.
    pub connections: usize,
    /// What else happened.
    pub failed: Vec<String>,
}

impl Http2Load {
    /// Starts asking.
    pub fn start(listen: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || ask(listen, &seen)) }
    }

    /// Ends it.
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load does not panic")
    }
}

fn ask(listen: SocketAddr, stop: &AtomicBool) -> Report {
    let mut report = Report::default();
    while !stop.load(Ordering::Relaxed) && report.connections < 1000 {
        let mut client = Http2::connect(listen);
        report.connections += 1;
        'connection: while !stop.load(Ordering::Relaxed) {
            let mut waiting = Vec::new();
            for _request in 0..8 {
                // After a GOAWAY nothing can be begun: the connection is at its end, and no request was lost by that.
                match client.begin(request("GET", "/sleep/20"), true) {
                    Ok(pending) => waiting.push(pending),
                    Err(_goodbye) => break,
                }
            }
            let is_whole = waiting.len() == 8;
            for pending in waiting {
                match client.finish(pending) {
                    Ok(answer) if answer.head.status == 200 => report.answered += 1,
                    Ok(answer) => report.failed.push(format!("status {}", answer.head.status)),
                    // What the server names as not processed may be asked again.
                    Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {}
                    Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => {}
                    Err(error) => report.failed.push(error.to_string()),
                }
            }
            if !is_whole {
                break 'connection;
            }
        }
    }
    report
}
