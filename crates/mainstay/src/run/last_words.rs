//! What another process writes on its standard error: passed on to this one's, and the last of it remembered.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// Bytes that are remembered.
const BYTES: usize = 8 * 1024;
/// Lines that are told.
const LINES: usize = 20;

/// The reader of another process's standard error.
#[derive(Debug)]
pub(super) struct LastWords {
    from: Receiver,
    last: VecDeque<u8>,
}

impl LastWords {
    pub(super) fn new(from: Receiver) -> io::Result<Self> {
        Ok(Self { from, last: VecDeque::with_capacity(BYTES) })
    }

    /// Passes on what comes, until nothing can come any more. Nothing is lost if the future is dropped before its end.
    pub(super) async fn relay(&mut self) {
        let mut buffer = [0; 1024];
        while let Ok(count) = self.from.read(&mut buffer).await
            && count > 0
        {
            let some = &buffer[..count];
            // If nobody reads the log, there is nobody to be told either.
            let _written = io::stderr().lock().write_all(some);
            self.last.extend(some);
            self.last.drain(..self.last.len().saturating_sub(BYTES));
        }
    }

    /// Passes on what there is still, if it comes soon.
    pub(super) async fn rest(&mut self, limit: Duration) {
        let _complete = tokio::time::timeout(limit, self.relay()).await;
    }

    /// The last lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let bytes: Vec<u8> = self.last.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned()).collect()
    }
}
