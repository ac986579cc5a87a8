//! Addresses that no other test uses.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

static NEXT_PORT: AtomicU16 = AtomicU16::new(10_000);

/// This test process's own loopback address, so that processes that run side by side never meet on a port.
pub fn host() -> Ipv4Addr {
    let id = std::process::id();
    let octet = |value: u32| u8::try_from(value % 250 + 1).expect("at most 250");
    Ipv4Addr::new(127, octet(id / 62_500 + 7), octet(id / 250), octet(id))
}

/// An address that is free on this process's own loopback address. Nothing listens on it when this returns, and the ports
/// are below those that the kernel hands out by itself.
pub fn free() -> SocketAddr {
    free_on(IpAddr::V4(host()))
}

/// An address with a free port on `ip`.
///
/// # Panics
/// If a thousand ports in a row are taken.
pub fn free_on(ip: IpAddr) -> SocketAddr {
    for _attempt in 0..1_000 {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        assert!(port < 32_000, "one test process used more than 22,000 ports");
        let address = SocketAddr::new(ip, port);
        // A listener made to find out would be inherited by a process that another thread starts meanwhile, and the address
        // would be taken until that has begun its program; a connection that is refused leaves nothing behind.
        let found = TcpStream::connect_timeout(&address, Duration::from_secs(1));
        if found.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            return address;
        }
    }
    panic!("no free port on {ip}");
}
