//! Questions to the kernel over netlink, one at a time. The kernel answers before `send` returns, so that nothing here
//! waits: it may be called from any thread, and from a process that has nothing but this.

use std::io;

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};
use rtnetlink::sys::{Socket, SocketAddr};

const HEADER_BYTES: usize = 16;
/// Bytes of one datagram of an answer. The kernel never makes them longer than 32 KiB.
const DATAGRAM_BYTES: usize = 32 << 10;
/// Datagrams of one answer, at most: room for some hundred thousand sockets.
const DATAGRAMS_MAX: usize = 1024;
const DONT_WAIT: i32 = 0x40;

/// A socket of one netlink family.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// One message of an answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// What it is.
    pub(super) kind: u16,
    /// The bytes after its header.
    pub(super) body: Vec<u8>,
}

impl Netlink {
    /// A socket of `protocol`, in the network namespace of the calling thread.
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one message and reads its answer to the end. A refusal by the kernel is the error that it names.
    pub(super) fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Reply>> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER_BYTES + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        self.socket.send(&message, 0)?;
        let mut replies = Vec::new();
        let mut datagram = Vec::with_capacity(DATAGRAM_BYTES);
        for _ in 0..DATAGRAMS_MAX {
            datagram.clear();
            self.socket.recv(&mut datagram, DONT_WAIT)?;
            if self.collect(&datagram, &mut replies)? {
                return Ok(replies);
            }
        }
        Err(io::Error::other("the kernel's answer does not end"))
    }

    /// Takes the messages out of one datagram; whether the answer is complete.
    fn collect(&self, mut rest: &[u8], replies: &mut Vec<Reply>) -> io::Result<bool> {
        while let Some(header) = rest.first_chunk::<HEADER_BYTES>() {
            let length = usize::try_from(word(header, 0)).unwrap_or(usize::MAX);
            if length < HEADER_BYTES || length > rest.len() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let body = &rest[HEADER_BYTES..length];
            // What is left of an earlier question that was given up belongs to nobody.
            if word(header, 8) == self.sequence {
                match kind {
                    NLMSG_ERROR | NLMSG_DONE => return end(body),
                    _ => replies.push(Reply { kind, body: body.to_vec() }),
                }
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
        Ok(false)
    }
}

/// An answer ends with a number: 0, or the negated number of an error.
fn end(body: &[u8]) -> io::Result<bool> {
    let code = body.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code < 0 { Err(io::Error::from_raw_os_error(code.saturating_neg())) } else { Ok(true) }
}

/// The four bytes at `at` as a number; 0 if they are not there.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// The attributes in `bytes`, each with its kind: a length, the kind, then the value, padded to four bytes.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = rest.get(4..length)?;
        // The two highest bits say how the value is written.
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_end_where_the_bytes_do() {
        let found = |bytes: &[u8]| attributes(bytes).map(|(kind, value)| (kind, value.to_vec())).collect::<Vec<_>>();
        assert_eq!(found(&[5, 0, 1, 0, 9, 0, 0, 0, 4, 0, 2, 0]), [(1, vec![9]), (2, vec![])]);
        // Too short, too long, and of a length that leads nowhere.
        for broken in [&[][..], &[5, 0], &[6, 0, 1, 0, 9], &[0, 0, 1, 0, 9, 9, 9, 9]] {
            assert_eq!(found(broken), [], "{broken:?}");
        }
    }
}
