//! Connecting by TCP to an endpoint that may have several addresses.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::state::Endpoint;

/// How long an address is waited for before the next one is tried beside it (RFC 8305 recommends this much).
const HEAD_START: Duration = Duration::from_millis(250);

/// Where a connection leads, and how often the endpoint had moved when that was found to be right.
#[derive(Debug)]
pub(super) struct Place {
    address: SocketAddr,
    moves: Cell<u64>,
}

impl Place {
    /// Whether the endpoint is not there any more. Asks for its addresses only if one has left since it was asked last.
    pub(super) fn is_left(&self, endpoint: &Endpoint) -> bool {
        let moves = endpoint.moves();
        if moves == self.moves.get() {
            return false;
        }
        if !endpoint.addresses().contains(&self.address) {
            return true;
        }
        self.moves.set(moves);
        false
    }
}

/// Connects to the first of the endpoint's addresses that can be reached.
pub(super) async fn tcp(endpoint: &Endpoint) -> io::Result<(TcpStream, Place)> {
    // Read first: a move in between makes the connection look older than it is, which does no harm.
    let moves = Cell::new(endpoint.moves());
    let addresses = endpoint.addresses();
    let (stream, address) = match addresses.as_slice() {
        [] => return Err(io::Error::new(io::ErrorKind::NotFound, "name does not resolve")),
        [only] => (TcpStream::connect(only).await?, *only),
        several => first_of(several, |address| Box::pin(TcpStream::connect(address))).await?,
    };
    stream.set_nodelay(true)?;
    Ok((stream, Place { address, moves }))
}

type Attempt<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

/// Tries the addresses in their order: the next one as soon as one has failed, or has not answered within its head start.
/// Who calls bounds the time.
async fn first_of<T>(addresses: &[SocketAddr], dial: impl Fn(SocketAddr) -> Attempt<T>) -> io::Result<(T, SocketAddr)> {
    let mut rest = addresses.iter().copied();
    let mut attempts: Vec<(Attempt<T>, SocketAddr)> = Vec::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "no address");
    loop {
        if let Some(address) = rest.next() {
            attempts.push((dial(address), address));
        } else if attempts.is_empty() {
            return Err(error);
        }
        tokio::select! {
            result = poll_fn(|cx| poll_any(&mut attempts, cx)) => match result {
                Ok(connected) => return Ok(connected),
                Err(failed) => error = failed,
            },
            () = tokio::time::sleep(HEAD_START), if rest.len() > 0 => {}
        }
    }
}

/// The first attempt that has come to an end, which is taken out.
fn poll_any<T>(
    attempts: &mut Vec<(Attempt<T>, SocketAddr)>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<(T, SocketAddr)>> {
    for index in 0..attempts.len() {
        if let Poll::Ready(result) = attempts[index].0.as_mut().poll(cx) {
            let (_done, address) = attempts.swap_remove(index);
            return Poll::Ready(result.map(|connected| (connected, address)));
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use mainstay_core::health;
    use mainstay_runtime::thread::run_here;
    use tokio::net::TcpListener;

    use super::*;
    use crate::spec;

    fn endpoint() -> Endpoint {
        let address = spec::Address::Name { host: "shop.test".to_owned(), port: 80 };
        let spec = spec::Endpoint::new(address);
        Endpoint::new(spec, health::State::Up, 1)
    }

    #[test]
    fn an_address_that_refuses_gives_way_to_the_next() {
        run_here(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let well = listener.local_addr().unwrap();
            let refuses = "127.0.0.1:1".parse().unwrap();
            let endpoint = endpoint();
            assert_eq!(tcp(&endpoint).await.unwrap_err().kind(), io::ErrorKind::NotFound);
            for addresses in [vec![well], vec![refuses, well]] {
                endpoint.locate(&addresses);
                let (stream, place) = tcp(&endpoint).await.unwrap();
                assert_eq!((stream.peer_addr().unwrap(), place.address), (well, well));
            }
            endpoint.locate(&[refuses, refuses]);
            assert_eq!(tcp(&endpoint).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        })
        .unwrap();
    }

    #[test]
    fn an_address_that_is_silent_is_overtaken_and_may_still_win() {
        let addresses: Vec<SocketAddr> = (1..=3).map(|port| ([127, 0, 0, 1], port).into()).collect();
        let answered = |after: [Option<u64>; 3]| {
            let dial = move |address: SocketAddr| -> Attempt<u16> {
                Box::pin(async move {
                    match after[usize::from(address.port()) - 1] {
                        Some(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                        None => std::future::pending().await,
                    }
                    Ok(address.port())
                })
            };
            run_here(async { first_of(&addresses, dial).await.unwrap().0 }).unwrap()
        };
        assert_eq!(answered([None, None, Some(0)]), 3);
        assert_eq!(answered([Some(400), None, None]), 1);
    }

    #[test]
    fn a_connection_is_left_when_its_address_is() {
        let (first, second, third): (SocketAddr, SocketAddr, SocketAddr) =
            ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap(), "127.0.0.1:3".parse().unwrap());
        let endpoint = endpoint();
        endpoint.locate(&[first, second]);
        let place = Place { address: first, moves: Cell::new(endpoint.moves()) };
        assert!(!place.is_left(&endpoint));
        endpoint.locate(&[second, first]);
        endpoint.locate(&[third, first]);
        assert!(!place.is_left(&endpoint), "it is still one of them");
        endpoint.locate(&[third]);
        assert!(place.is_left(&endpoint));
    }
}
