//! Sockets with the options that a gateway needs, all through safe calls.

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UnixStream;

/// Listens on `address` without blocking. `SO_REUSEADDR` is set, so that connections of a process that has just left do
/// not hold the port; with `reuse_port` every worker can have a listener of its own, between which the kernel spreads
/// connections. An IPv6 address takes IPv6 only.
///
/// # Errors
/// What the system says.
pub fn listen_tcp(address: SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<TcpListener> {
    listen(bind(address, reuse_port, false)?, backlog)
}

/// As [`listen_tcp`], on an address that this machine need not have now: connections come in while it has it.
///
/// # Errors
/// What the system says.
pub fn listen_tcp_floating(address: SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<TcpListener> {
    listen(bind(address, reuse_port, true)?, backlog)
}

fn listen(socket: Socket, backlog: i32) -> io::Result<TcpListener> {
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Tells whether nobody listens on `address`. `SO_REUSEPORT` lets a second process of the same user share a port without a
/// word, and half of the connections then go astray; so that is looked for before the first listener is bound. Port 0 is
/// always free. Ask this for all addresses before binding any: one's own listener is in the way as well.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if somebody does; otherwise what the system says (no such address, no permission).
pub fn probe_bind(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    bind(address, false, false).map(drop)
}

/// As [`probe_bind`], for an address that this machine need not have now.
///
/// # Errors
/// As [`probe_bind`].
pub fn probe_bind_floating(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    bind(address, false, true).map(drop)
}

fn bind(address: SocketAddr, reuse_port: bool, floating: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match address {
        _ if !floating => {}
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Holds back further connections while the queue is emptied: the kernel drops their SYN, which the client sends again
/// after a second, by which time somebody else listens or the connection is refused. Handshakes that have begun complete.
/// Closing the socket instead would reset those in the queue, and so would a queue that is full when a client's last ACK
/// comes. Accept until nothing has come for a moment, then close.
///
/// # Errors
/// What the system says.
pub fn stop_listening_softly(listener: &TcpListener) -> io::Result<()> {
    drop_new_connections(&SockRef::from(listener))
}

/// Takes the connections that come to `address` from now on away from whoever listens on all addresses of this machine, and
/// lets none in, as [`stop_listening_softly`] does: a more exact listener gets them. It lasts until what is returned is
/// dropped. The machine need not have the address.
///
/// # Errors
/// What the system says.
pub fn hold_back(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(address, true, true)?;
    // Before it listens: what came in between would wait in a queue that nobody empties, and be reset in the end.
    drop_new_connections(&SockRef::from(&socket))?;
    listen(socket, 1)
}

fn drop_new_connections(socket: &SockRef<'_>) -> io::Result<()> {
    // Classic BPF over the TCP header, whose byte 13 holds the flags: drop what has SYN set (0x02), take the rest whole.
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let instruction = socket2::SockFilter::new;
    socket.attach_filter(&[
        instruction(LOAD_BYTE, 0, 0, 13),
        instruction(JUMP_IF_SET, 0, 1, 0x02),
        instruction(RETURN, 0, 0, 0),
        instruction(RETURN, 0, 0, u32::MAX),
    ])
}

/// Connects to a Unix stream socket. Where TCP would wait for a place in a full queue of connections, a Unix socket that
/// must not block says so and has to be asked again; the caller's own limit ends that.
///
/// # Errors
/// What the system says: no such file, no permission, nobody listens.
pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(pause).await,
            connected => return connected,
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Sends small writes at once.
///
/// # Errors
/// What the system says; a peer that has left already is a reason.
pub fn set_nodelay(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_nodelay(true)
}

/// Lets connections accepted from `listener` acknowledge their first bytes together with the answer, instead of in a packet
/// of its own: a client that connects to ask something is answered soon.
///
/// # Errors
/// What the system says.
pub fn acknowledge_with_answer(listener: &impl AsFd) -> io::Result<()> {
    SockRef::from(listener).set_tcp_quickack(false)
}

/// Acknowledges at once what has come, and what comes next: a peer that sends small pieces one at a time waits for that.
///
/// # Errors
/// What the system says.
pub fn acknowledge_now(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_quickack(true)
}

/// Sends what is the last on a connection, for which the kernel waits until the end is announced: both then leave in one
/// packet. Whoever sends this announces the end at once.
///
/// # Errors
/// What the system says.
pub fn send_last(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_with_flags(bytes, libc::MSG_MORE | libc::MSG_NOSIGNAL)
}

/// Announces that nothing more will be sent.
///
/// # Errors
/// What the system says.
pub fn end_sending(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).shutdown(std::net::Shutdown::Write)
}

/// Whether an idle connection is of no more use: the peer closed or reset it, or sent what nobody asked for. Looks without
/// taking anything, and never waits.
pub fn peek_closed(socket: &impl AsFd) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    match SockRef::from(socket).recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
        Ok(_closed_or_unasked) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn workers_share_a_port_and_strangers_are_noticed() {
        let first = listen_tcp(loopback(), 16, true).unwrap();
        let address = first.local_addr().unwrap();
        let _second = listen_tcp(address, 16, true).unwrap();
        assert_eq!(probe_bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(probe_bind(loopback()).is_ok());
    }

    #[test]
    fn an_address_that_is_not_there_yet_can_be_listened_on() {
        // Of the block for documentation, which no machine has.
        for address in ["192.0.2.1:18080", "[2001:db8::1]:18080"] {
            let address = address.parse().unwrap();
            assert_eq!(probe_bind(address).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
            let _first = listen_tcp_floating(address, 16, true).unwrap();
            assert_eq!(probe_bind_floating(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn connections_left_over_do_not_hold_the_port() {
        let listener = listen_tcp(loopback(), 16, true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        let accepted = accept(&listener);
        drop(accepted);
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        drop((listener, client));
        probe_bind(address).unwrap();
        listen_tcp(address, 16, true).unwrap();
    }

    #[test]
    fn ipv6_takes_ipv6_only() {
        let six = listen_tcp("[::]:0".parse().unwrap(), 16, true).unwrap();
        let port = six.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap_err();
        TcpStream::connect(("::1", port)).unwrap();
    }

    #[test]
    fn a_soft_stop_holds_new_connections_back_and_keeps_those_in_the_queue() {
        let listener = listen_tcp(loopback(), 16, false).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued: Vec<TcpStream> = (0..3).map(|_each| TcpStream::connect(address).unwrap()).collect();
        stop_listening_softly(&listener).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(300));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        for client in &mut queued {
            accept(&listener).write_all(b"x").unwrap();
            client.read_exact(&mut [0; 1]).unwrap();
        }
    }

    #[test]
    fn peeking_tells_idle_from_closed_and_unasked() {
        let listener = listen_tcp(loopback(), 16, false).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = accept(&listener);
        set_nodelay(&client).unwrap();
        assert!(!peek_closed(&client));
        server.write_all(b"?").unwrap();
        wait_for(|| peek_closed(&client));
        (&client).read_exact(&mut [0; 1]).unwrap();
        assert!(!peek_closed(&client));
        drop(server);
        wait_for(|| peek_closed(&client));
    }

    #[test]
    fn a_full_queue_of_a_unix_socket_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        // Room for one.
        listener.listen(0).unwrap();
        crate::thread::run_here(async {
            let _first = connect_unix(&path).await.unwrap();
            let second = connect_unix(&path);
            let mut second = std::pin::pin!(second);
            let waited = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
            assert!(waited.is_err(), "there is no room: {waited:?}");
            let _taken = listener.accept().unwrap();
            tokio::time::timeout(Duration::from_secs(5), second).await.unwrap().unwrap();
            drop(listener);
            assert_eq!(connect_unix(&path).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(connect_unix(&dir.path().join("none")).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        })
        .unwrap();
    }

    fn accept(listener: &TcpListener) -> TcpStream {
        listener.set_nonblocking(false).unwrap();
        let (stream, _peer) = listener.accept().unwrap();
        stream
    }

    fn wait_for(condition: impl Fn() -> bool) {
        for _try in 0..1000 {
            if condition() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not within 10 s");
    }
}
