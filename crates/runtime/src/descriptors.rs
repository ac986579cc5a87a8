//! Descriptors that go from one process to another, over a socket between the two (`SCM_RIGHTS`).

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// The byte that carries a descriptor.
const CARRIER: u8 = b'D';
/// The first descriptor that is not a standard one.
const FIRST_FREE: i32 = 3;

/// Sends one descriptor; both processes then hold it.
///
/// # Errors
/// What the system says.
pub fn send(channel: &UnixStream, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let sent = rustix::io::retry_on_intr(|| {
        sendmsg(channel, &[IoSlice::new(&[CARRIER])], &mut ancillary, SendFlags::NOSIGNAL)
    })?;
    if sent == 1 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives one descriptor, which programs started later do not inherit.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidData`] if something else comes than a descriptor.
pub fn receive(channel: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut carrier = [0];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(channel, &mut [IoSliceMut::new(&mut carrier)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let cut = received.flags.contains(ReturnFlags::CTRUNC);
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _other => None,
    });
    match descriptor {
        Some(descriptor) if !cut && carrier == [CARRIER] => Ok(descriptor),
        _missing => Err(io::Error::new(io::ErrorKind::InvalidData, "no descriptor came")),
    }
}

/// Takes standard input, which must be a socket to another process, and puts `/dev/null` in its place.
///
/// # Errors
/// What the system says; [`io::ErrorKind::InvalidInput`] if standard input is no such socket.
pub fn take_stdin() -> io::Result<UnixStream> {
    let stdin = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_FREE)?;
    let stream = UnixStream::from(stdin);
    if stream.peer_addr().is_err() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "standard input is no socket"));
    }
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(stream)
}

/// A further descriptor of standard error.
///
/// # Errors
/// What the system says.
pub fn stderr() -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), FIRST_FREE)?)
}

/// Writes to `descriptor` what goes to standard error from now on.
///
/// # Errors
/// What the system says.
pub fn replace_stderr(descriptor: impl AsFd) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(descriptor)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_listening_socket_is_the_same_at_the_other_end() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        send(&here, listener.as_fd()).unwrap();
        let _in_the_queue = TcpStream::connect(address).unwrap();
        drop(listener);
        let received = TcpListener::from(receive(&there).unwrap());
        assert_eq!(received.local_addr().unwrap(), address);
        received.accept().unwrap();
    }

    #[test]
    fn what_is_no_descriptor_is_an_error() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"D").unwrap();
        assert_eq!(receive(&there).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(here);
        assert_eq!(receive(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
