//! Resolution of host names by the system (`/etc/hosts`, DNS).

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::sync::Semaphore;

/// Look-ups at once. One that hangs holds a thread for as long as the system's resolver likes, so that they are counted
/// until they really end, not until nobody waits for them any more; others wait here, where waiting costs nothing.
static LOOKUPS: Semaphore = Semaphore::const_new(4);

/// The addresses of a name, IPv4 first: a server that has both is more often reachable by that.
///
/// # Errors
/// If the name does not exist, the resolver fails, or there is no answer within `timeout`.
pub async fn resolve(host: &str, port: u16, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
    let wanted = (host.to_owned(), port);
    let looking = async move {
        let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
        let blocking = tokio::task::spawn_blocking(move || {
            let _held = permit;
            wanted.to_socket_addrs().map(Iterator::collect::<Vec<_>>)
        });
        blocking.await.map_err(io::Error::other)?
    };
    let mut found = match tokio::time::timeout(timeout, looking).await {
        Ok(result) => result?,
        Err(_elapsed) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer from the resolver")),
    };
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    found.sort_by_key(SocketAddr::is_ipv6);
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_or_say_why_not() {
        crate::thread::run_here(async {
            let patience = Duration::from_secs(30);
            let found = resolve("localhost", 81, patience).await.unwrap();
            assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 81));
            assert_eq!(resolve("127.0.0.9", 1, patience).await.unwrap(), ["127.0.0.9:1".parse().unwrap()]);
            resolve("no-such-host.invalid", 81, patience).await.unwrap_err();
        })
        .unwrap();
    }
}
