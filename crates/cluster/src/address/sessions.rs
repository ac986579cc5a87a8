//! Ends the connections that a removed address leaves behind. Without it clients would wait for a machine that does not
//! answer any more, up to their own time limits; with it the socket on this side is gone and its client is told when the
//! next packet comes to the new holder, which knows no such connection and resets it.
//!
//! This is what `ss -K` does: it needs a kernel with `CONFIG_INET_DIAG_DESTROY` and the capability CAP_NET_ADMIN. Where
//! either is missing, connections end by their own time limits. That is why a failure here is told and nothing more.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use rtnetlink::packet_core::NLM_F_DUMP;
use rtnetlink::sys::protocols::NETLINK_SOCK_DIAG;

use super::netlink::{Netlink, Reply};

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const TCP: u8 = 6;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
/// Connections of every state but TIME_WAIT, CLOSE and LISTEN, a bit for each of the kernel's numbers.
const STATES: u32 = 0xfff & !(1 << 6) & !(1 << 7) & !(1 << 10);
/// Of these, those in which this side has something to do or to send: not FIN_WAIT2, in which all is said and heard.
const UNFINISHED: u32 = STATES & !(1 << 5);
// A socket that listens for both families has IPv6 sockets for IPv4 connections.
const FAMILIES: [u8; 2] = [FAMILY_V4, FAMILY_V6];
/// Bytes of the part that names a socket: ports, addresses, interface, cookie.
const ID_BYTES: usize = 48;
/// Connections that can be ended while a deadline is near: some hundredths of a second of work.
pub const AT_ONCE_MAX: usize = 2_000;

/// Ends up to `most` TCP connections whose own address is `ip`, in the calling thread's network namespace, and answers how
/// many. Sockets that listen stay. While the address is on an interface the clients are told at once, by a reset.
///
/// # Errors
/// If the kernel cannot be asked, or does not end connections (`ErrorKind::Unsupported`).
pub fn reset(ip: IpAddr, most: usize) -> io::Result<usize> {
    let mut netlink = Netlink::open(NETLINK_SOCK_DIAG)?;
    let mut ended = 0;
    for family in FAMILIES {
        for id in listed(&mut netlink, family, STATES, ip)? {
            if ended >= most {
                return Ok(ended);
            }
            match netlink.ask(DESTROY, 0, &request(family, STATES, &id)) {
                Ok(_) => ended += 1,
                // It ended by itself in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(ended)
}

/// How many TCP connections there are at `ports` of `ip` whose client still waits for something, in the calling thread's
/// network namespace: those that nobody has accepted yet, or whose handshake goes on, are among them.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn open(ip: IpAddr, ports: &BTreeSet<u16>) -> io::Result<usize> {
    present(ip, ports).map(|present| present.len())
}

/// Which connections these are.
///
/// # Errors
/// If the kernel cannot be asked.
pub fn present(ip: IpAddr, ports: &BTreeSet<u16>) -> io::Result<BTreeSet<Connection>> {
    let mut netlink = Netlink::open(NETLINK_SOCK_DIAG)?;
    let mut present = BTreeSet::new();
    for family in FAMILIES {
        let ids = listed(&mut netlink, family, UNFINISHED, ip)?;
        present.extend(ids.into_iter().filter(|id| ports.contains(&own_port(id))).map(Connection));
    }
    Ok(present)
}

/// A connection, by what the kernel names it; no later one is called the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection([u8; ID_BYTES]);

/// The parts that name the connections in one of `states` whose own address is `ip`.
fn listed(netlink: &mut Netlink, family: u8, states: u32, ip: IpAddr) -> io::Result<Vec<[u8; ID_BYTES]>> {
    let replies = netlink.ask(BY_FAMILY, NLM_F_DUMP, &request(family, states, &[0; ID_BYTES]))?;
    // An answer is family, state, timer and retransmissions in a byte each, then the part that names the socket.
    let id = |reply: &Reply| <[u8; ID_BYTES]>::try_from(reply.body.get(4..4 + ID_BYTES)?).ok();
    let ids = replies.iter().filter_map(id);
    Ok(ids.filter(|id| own_address(family, id) == Some(ip)).collect())
}

/// A request: family, protocol, what to tell beyond the basics, padding, states, and the socket.
fn request(family: u8, states: u32, id: &[u8]) -> Vec<u8> {
    let mut body = vec![family, TCP, 0, 0];
    body.extend(states.to_ne_bytes());
    body.extend(id);
    body
}

/// The own address in the part that names a socket: two ports, then 16 bytes of which IPv4 uses the first four.
fn own_address(family: u8, id: &[u8]) -> Option<IpAddr> {
    let bytes: [u8; 16] = id.get(4..20)?.try_into().ok()?;
    if family == FAMILY_V4 {
        return Some(IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]));
    }
    Some(IpAddr::from(bytes).to_canonical())
}

/// The own port, which is what the part that names a socket begins with.
fn own_port(id: &[u8; ID_BYTES]) -> u16 {
    u16::from_be_bytes([id[0], id[1]])
}
