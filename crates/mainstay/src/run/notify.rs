//! Tells the service manager how the process is (`sd_notify`): a datagram to the socket that `NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the service manager listens.
pub(super) const VARIABLE: &str = "NOTIFY_SOCKET";

/// The process serves.
pub(super) fn ready() {
    send(&format!("READY=1\nSTATUS=serving, version {}\n", env!("CARGO_PKG_VERSION")));
}

/// The process is busy with a change, and serves meanwhile.
pub(super) fn reloading(what: &str) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let microseconds = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS={what}\n"));
}

/// The process leaves, and with it the service.
pub(super) fn stopping() {
    send("STOPPING=1\nSTATUS=draining\n");
}

/// Another process is the service from here on. This is the last that this one has to say: the service manager heeds only
/// the main process, and the new one is at work already.
pub(super) fn handed_over(pid: u32) {
    send(&format!("MAINPID={pid}\nREADY=1\nSTATUS=serving, taken over by pid {pid}\n"));
}

fn send(message: &str) {
    if let Some(place) = std::env::var_os(VARIABLE).filter(|place| !place.is_empty())
        && let Err(error) = send_to(&place, message)
    {
        tracing::warn!(%error, place = %place.display(), "the service manager cannot be told");
    }
}

fn send_to(place: &OsStr, message: &str) -> io::Result<()> {
    // A leading `@` stands for the zero byte of an abstract name.
    let address = match place.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(place)?,
    };
    let socket = UnixDatagram::unbound()?;
    // The service manager never lets its queue fill up; if it does, nobody should wait for it here.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_paths_and_abstract_names() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("bound");
        let name = format!("mainstay-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let by_name = UnixDatagram::bind_addr(&address).expect("bound");
        for (place, socket) in [(path.into_os_string(), by_path), (format!("@{name}").into(), by_name)] {
            send_to(&place, "READY=1\n").expect("sent");
            let mut bytes = [0; 64];
            let length = socket.recv(&mut bytes).expect("received");
            assert_eq!(&bytes[..length], b"READY=1\n");
        }
        assert!(send_to(OsStr::new("/nonexistent/notify"), "x").is_err());
    }
}
