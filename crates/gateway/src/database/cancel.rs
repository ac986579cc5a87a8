//! Requests to cancel a command. They come on a connection of their own and name the key that the server has given out for
//! the connection that runs the command, so that they go to that server, whichever role it has.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Poll, ready};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::Case;
use crate::postgres::startup;
use crate::spec::Access;
use crate::stream::{Buffer, Stream};

/// A key that is not known (TLS passes through, say, or another gateway has led the connection) goes to so many servers; those
/// that have not given it out ignore it.
const SERVERS_MAX: usize = 8;

/// Passes a `CancelRequest` on and waits until the server has dealt with it, which it says by closing the connection.
pub(super) async fn pass(case: &Case<'_>, packet: &[u8]) {
    let known = case.group.database.server_of(startup::cancel_key(packet));
    let servers = match known {
        Some(server) => {
            case.counters().cancels.add(1);
            vec![server]
        }
        None => {
            case.counters().cancels_unknown.add(1);
            candidates(case)
        }
    };
    for server in servers {
        case.wait_until(case.now().after(case.spec.connect_timeout));
        let Ok(Ok(mut tcp)) = case.slot.within(TcpStream::connect(server)).await else { continue };
        // Plain also where sessions are encrypted: servers ask for nothing else, and the key is of no use to anybody after.
        case.wait_until(case.now().after(case.spec.startup_timeout));
        if !matches!(case.slot.within(tcp.write_all(packet)).await, Ok(Ok(()))) {
            continue;
        }
        let mut stream = Stream::Plain(tcp);
        let mut buffer = Buffer::new();
        let end = poll_fn(|cx| {
            loop {
                buffer.clear();
                match ready!(buffer.poll_fill(cx, &mut stream)) {
                    Ok(read) if read > 0 => {}
                    Ok(_end) => return Poll::Ready(()),
                    Err(_reset) => return Poll::Ready(()),
                }
            }
        });
        let _dealt_with = case.slot.within(end).await;
    }
}

fn candidates(case: &Case<'_>) -> Vec<SocketAddr> {
    let roles = case.group.roles();
    let leads = roles.primary.iter().chain(&roles.leaving).copied();
    let mut servers: Vec<SocketAddr> = match case.spec.access {
        Access::Write => leads.collect(),
        Access::Read { .. } => roles.replicas.iter().map(|it| it.address).chain(leads).collect(),
    };
    servers.truncate(SERVERS_MAX);
    servers
}
