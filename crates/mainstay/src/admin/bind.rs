//! The sockets of the admin interface.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use crate::admin::socket::OwnedSocket;
use crate::failure::Failure;
use crate::run::InheritedAdmin;

/// The sockets of the admin interface, bound before anything else starts, so that a conflict is known at once.
#[derive(Debug)]
pub struct Bound {
    /// Over TCP.
    pub tcp: Option<TcpListener>,
    /// Over the unix socket.
    pub unix: Option<OwnedSocket>,
}

/// Binds what is asked for and not inherited.
///
/// # Errors
/// If an address is taken or cannot be had; the failure says which key or flag to change.
pub fn bind(tcp: Option<SocketAddr>, unix: Option<PathBuf>, inherited: InheritedAdmin) -> Result<Bound, Failure> {
    let tcp = match inherited.tcp {
        Some(socket) => Some(socket),
        None => tcp.map(bind_tcp).transpose()?,
    };
    let unix = match inherited.unix.and_then(|(path, listener)| OwnedSocket::adopt(path, listener)) {
        Some(socket) => Some(socket),
        None => unix.map(OwnedSocket::bind).transpose()?,
    };
    Ok(Bound { tcp, unix })
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error: std::io::Error| {
        let failure = Failure::new(format!("admin interface: cannot listen on {address}: {error}"));
        if error.kind() == std::io::ErrorKind::AddrInUse {
            failure.hint(format!(
                "another process (another mainstay? try `mainstay status --admin {address}`) has this port; choose \
                 another one with `admin` under [node] (proxy: --admin), or \"off\""
            ))
        } else {
            failure.hint("change `admin` under [node] (proxy: --admin), or turn it \"off\"")
        }
    })
}
