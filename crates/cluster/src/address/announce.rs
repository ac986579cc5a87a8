//! Tells the neighbours which machine an address is on now: gratuitous ARP for IPv4 (RFC 5227, section 3), unsolicited
//! neighbour advertisements for IPv6 (RFC 4861, section 7.2.6). Whoever missed it would go on sending to the old machine
//! until its own table times out, so that it is said several times, and again when a cut link is healed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use rustix::net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, sendto, socket_with};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::kernel::Interface;
use super::link_layer::Destination;

/// Announcements in one burst.
pub const BURST: u32 = 5;
/// When bursts are sent, counted from when the address was put on the interface.
pub const BURSTS_AT: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

const ETHERNET_ARP: u16 = 0x0806;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Why the neighbours were not told.
#[derive(Debug, Error)]
pub enum Error {
    /// The interface has no Ethernet address, or is of another kind.
    #[error("the interface has no Ethernet address, so there is nobody to tell")]
    NotEthernet,
    /// The process may not.
    #[error("announcing an address needs the capability CAP_NET_RAW: run as root, or grant it to the service")]
    NotPermitted,
    /// Another reason.
    #[error("the announcement could not be sent")]
    Io(#[source] io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::PermissionDenied { Self::NotPermitted } else { Self::Io(error) }
    }
}

/// Sends one burst about `ip`, which must be on the interface.
///
/// # Errors
/// If the process may not send such packets, or the interface cannot.
pub fn burst(ip: IpAddr, interface: &Interface) -> Result<(), Error> {
    let hardware: [u8; 6] = interface.hardware.as_slice().try_into().map_err(|_| Error::NotEthernet)?;
    match ip {
        IpAddr::V4(ip) => announce_v4(ip, interface.index, hardware),
        IpAddr::V6(ip) => announce_v6(ip, interface.index, hardware),
    }
}

fn announce_v4(ip: Ipv4Addr, index: u32, hardware: [u8; 6]) -> Result<(), Error> {
    // Protocol 0: the socket receives nothing. The kernel writes the Ethernet header.
    let socket =
        socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).map_err(io::Error::from)?;
    let to = Destination::everybody(index, ETHERNET_ARP);
    for count in 0..BURST {
        // Some devices learn from requests only, as RFC 5227 has it, and some from replies only.
        let operation = if count % 2 == 0 { Arp::Request } else { Arp::Reply };
        let packet = arp(operation, ip, hardware);
        sendto(&socket, &packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to).map_err(io::Error::from)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Arp {
    Request = 1,
    Reply = 2,
}

/// An ARP packet (RFC 826) whose sender and target are both `ip`.
fn arp(operation: Arp, ip: Ipv4Addr, hardware: [u8; 6]) -> [u8; 28] {
    let mut packet = [0; 28];
    // Ethernet (1), IPv4 (0x0800), six bytes of hardware address, four of protocol address.
    packet[..6].copy_from_slice(&[0, 1, 0x08, 0x00, 6, 4]);
    packet[7] = operation as u8;
    packet[8..14].copy_from_slice(&hardware);
    packet[14..18].copy_from_slice(&ip.octets());
    if matches!(operation, Arp::Reply) {
        packet[18..24].copy_from_slice(&hardware);
    }
    packet[24..].copy_from_slice(&ip.octets());
    packet
}

fn announce_v6(ip: Ipv6Addr, index: u32, hardware: [u8; 6]) -> Result<(), Error> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(socket2::Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    // Receivers drop whatever may have come through a router.
    socket.set_multicast_hops_v6(255)?;
    socket.set_multicast_if_v6(index)?;
    socket.bind(&SockAddr::from(SocketAddrV6::new(ip, 0, 0, 0)))?;
    let packet = advertisement(ip, hardware);
    for _ in 0..BURST {
        socket.send_to(&packet, &SockAddr::from(SocketAddrV6::new(ALL_NODES, 0, 0, index)))?;
    }
    Ok(())
}

/// A neighbour advertisement (RFC 4861, section 4.4). The kernel fills in the checksum.
fn advertisement(ip: Ipv6Addr, hardware: [u8; 6]) -> [u8; 32] {
    const OVERRIDE: u8 = 0x20;
    let mut packet = [0; 32];
    packet[0] = 136;
    packet[4] = OVERRIDE;
    packet[8..24].copy_from_slice(&ip.octets());
    // The option "target link-layer address", one unit of eight bytes.
    packet[24..26].copy_from_slice(&[2, 1]);
    packet[26..].copy_from_slice(&hardware);
    packet
}

/// Asks for a raw socket only to know whether the process may have one.
///
/// # Errors
/// [`Error::NotPermitted`] if not.
pub fn permitted() -> Result<(), Error> {
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, None::<Protocol>);
    socket.map(drop).map_err(|error| io::Error::from(error).into())
}
