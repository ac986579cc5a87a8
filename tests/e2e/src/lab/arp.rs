//! Asks by ARP who has an address, and hears every answer.

use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

const ETHERTYPE_ARP: u16 = 0x0806;

/// A socket that sees ARP on `eth0`.
#[derive(Debug)]
pub(super) struct Ear {
    socket: Socket,
    everybody: SockAddr,
    question: [u8; 28],
    about: Ipv4Addr,
}

impl Ear {
    /// In the calling thread's namespace, whose `eth0` has these addresses.
    pub(super) fn new(hardware: [u8; 6], own: Ipv4Addr, about: Ipv4Addr) -> io::Result<Self> {
        let protocol = i32::from(ETHERTYPE_ARP.to_be());
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(protocol)))?;
        socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        let index = rustix::net::netdevice::name_to_index(&socket, "eth0")?;
        let mut question = [0; 28];
        question[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
        question[8..14].copy_from_slice(&hardware);
        question[14..18].copy_from_slice(&own.octets());
        question[24..].copy_from_slice(&about.octets());
        Ok(Self { socket, everybody: everybody(index), question, about })
    }

    /// Asks everybody.
    pub(super) fn ask(&self) -> io::Result<usize> {
        self.socket.send_to(&self.question, &self.everybody)
    }

    /// The hardware address of the next one who says that it has the address, if one does within some milliseconds.
    pub(super) fn hear(&self) -> Option<[u8; 6]> {
        let mut buffer = [MaybeUninit::uninit(); 64];
        let length = self.socket.recv(&mut buffer).ok()?;
        let mut packet = [0; 64];
        for (place, byte) in packet.iter_mut().zip(&buffer[..length]) {
            // SAFETY: the system has written the first `length` bytes.
            *place = unsafe { byte.assume_init() };
        }
        let claims = length >= 28 && packet[14..18] == self.about.octets();
        claims.then(|| packet[8..14].try_into().expect("six bytes"))
    }
}

/// Everybody on the link of this interface.
fn everybody(index: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: all bytes are zero, which a `sockaddr_ll` may be, and the storage is larger than one.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = u16::try_from(libc::AF_PACKET).expect("a small number");
    address.sll_protocol = ETHERTYPE_ARP.to_be();
    address.sll_ifindex = i32::try_from(index).expect("a small number");
    address.sll_halen = 6;
    address.sll_addr[..6].fill(0xff);
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("a small number");
    // SAFETY: the storage holds a `sockaddr_ll`, whose length this is.
    unsafe { SockAddr::new(storage, length) }
}
