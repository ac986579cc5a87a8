//! A client of Redis. It need not say anything first, so that it is led to a server at once.

use std::future::poll_fn;
use std::task::{Poll, ready};

use tokio::net::TcpStream;

use super::session::{self, Dialogue};
use super::{Case, Refused, farewell, reach};
use crate::redis;
use crate::stream::{Buffer, Socket, Stream};

/// Serves a client until its connection ends.
pub(super) async fn serve(case: &Case<'_>, tcp: TcpStream) {
    case.wait_until(case.now().after(case.spec.startup_timeout));
    let mut client = match &case.listener.tls {
        None => Stream::Plain(tcp),
        Some(config) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::clone(config));
            match case.slot.within(Box::pin(acceptor.accept(Socket(tcp)))).await {
                Ok(Ok(tls)) => Stream::TlsServer(Box::new(tls)),
                Ok(Err(_)) | Err(_) => {
                    return case.listener.state.shards.of(case.worker.index).tls_failures.add(1);
                }
            }
        }
    };
    let (mut input, mut output) = (Box::new(Buffer::new()), Box::new(Buffer::new()));
    match reach::reach(case, &mut client, (&mut *input, &mut *output), b"").await {
        Ok(reached) => {
            let dialogue = Dialogue::Redis(redis::dialogue::Dialogue::new());
            session::run(case, &mut client, reached, (&mut *input, &mut *output), dialogue).await;
        }
        Err(refused) => refuse(case, &mut client, &mut input, &refused).await,
    }
}

/// Answers the client's first command with an error, once it is there.
async fn refuse(case: &Case<'_>, client: &mut Stream, input: &mut Buffer, refused: &Refused) {
    let counters = &case.counters().refused;
    let group = &case.spec.group;
    let why = match refused {
        Refused::NoServer => {
            counters.no_server.add(1);
            format!("no server of database group {group} has the role for this now; try again")
        }
        Refused::QueueFull => {
            counters.queue_full.add(1);
            format!("too many connections wait for a server of database group {group}; try again")
        }
        Refused::Leaving => "the gateway leaves; connect again".to_owned(),
        Refused::ClientLeft | Refused::Malformed(_) | Refused::TooSlow | Refused::NotEncrypted | Refused::Tls => return,
    };
    if input.is_empty() {
        case.wait_until(case.now().after(case.spec.startup_timeout));
        let first = poll_fn(|cx| Poll::Ready(matches!(ready!(input.poll_fill(cx, client)), Ok(read) if read > 0)));
        if case.slot.within(first).await != Ok(true) {
            return;
        }
    }
    farewell::say(case, client, &redis::error("LOADING", &why)).await;
}
