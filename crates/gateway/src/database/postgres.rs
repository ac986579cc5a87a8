//! A client of PostgreSQL: what it says before its session begins. TLS ends here if the listener has a certificate; otherwise
//! client and server agree on it between them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;

use super::reach::{self, Reached};
use super::session::{self, Dialogue};
use super::{Case, Refused, cancel, farewell};
use crate::postgres::dialogue;
use crate::postgres::error;
use crate::postgres::startup::{self, Packet, Progress};
use crate::stream::{Buffer, Socket, Stream};

/// Packets before a session: a client asks for each kind of encryption once and then begins.
const PACKETS_MAX: usize = 4;
/// How long a client may take to accept that it is to begin without encryption.
const BEGINNING: Duration = Duration::from_secs(1);

/// Serves a client until its connection ends.
pub(super) async fn serve(case: &Case<'_>, tcp: TcpStream) {
    case.wait_until(case.now().after(case.spec.startup_timeout));
    let mut first = [0];
    let begins_with_tls = match case.slot.within(tcp.peek(&mut first)).await {
        Ok(Ok(1)) => first == [startup::TLS_HANDSHAKE],
        // Checks of load balancers often only connect.
        Ok(Ok(_end)) => return,
        Ok(Err(_reset)) => return,
        Err(_expired) => return case.counters().refused.too_slow.add(1),
    };
    let (input, output) = (Box::new(Buffer::new()), Box::new(Buffer::new()));
    let mut talk = Talk { case, client: Stream::Plain(tcp), input, output, upstream: None, is_encrypted: false };
    let ended = match (begins_with_tls, &case.listener.tls) {
        (true, Some(_)) => match talk.encrypt(true).await {
            Ok(()) => talk.begin().await,
            Err(refused) => Err(refused),
        },
        (true, None) => talk.pass_through().await,
        (false, _) => talk.begin().await,
    };
    if let Err(refused) = ended {
        talk.refuse(refused).await;
    }
}

struct Talk<'a> {
    case: &'a Case<'a>,
    client: Stream,
    input: Box<Buffer>,
    output: Box<Buffer>,
    /// A server that was asked for encryption and has said no.
    upstream: Option<Reached>,
    /// TLS ends here.
    is_encrypted: bool,
}

impl Talk<'_> {
    async fn begin(&mut self) -> Result<(), Refused> {
        let ends_here = self.case.listener.tls.is_some();
        let own_upstream = ends_here || self.case.listener.upstream_tls.is_some();
        for _packet in 0..PACKETS_MAX {
            let (packet, length) = self.packet().await?;
            match packet {
                Packet::Cancel => {
                    let packet = self.take(length);
                    cancel::pass(self.case, &packet).await;
                    return Ok(());
                }
                Packet::Ssl if ends_here && !self.is_encrypted => {
                    self.take(length);
                    if !self.input.is_empty() {
                        // Somebody on the way may have put it there, to have it taken for what comes encrypted.
                        let message = "there is unencrypted data behind the request for TLS";
                        return Err(Refused::Malformed(message.to_owned()));
                    }
                    self.write(b"S").await?;
                    self.encrypt(false).await?;
                }
                Packet::Ssl | Packet::Gss if own_upstream => {
                    self.take(length);
                    self.write(b"N").await?;
                }
                Packet::Startup { .. } if ends_here && !self.is_encrypted => return Err(Refused::NotEncrypted),
                Packet::Startup { .. } => {
                    let reached = self.forward(length).await?;
                    return self.run(reached, Dialogue::Postgres(dialogue::Dialogue::new())).await;
                }
                Packet::Ssl | Packet::Gss => {
                    let reached = match self.forward(length).await {
                        Err(refused) if self.asks_in_plain(packet) => return self.refuse_behind(refused).await,
                        reached => reached?,
                    };
                    match self.output.data().first() {
                        Some(b'N') => {
                            self.note(packet, false);
                            self.output.clear();
                            self.upstream = Some(reached);
                            self.write(b"N").await?;
                        }
                        Some(b'S' | b'G') => {
                            self.note(packet, true);
                            return self.run(reached, Dialogue::Opaque).await;
                        }
                        _error => return self.run(reached, Dialogue::Postgres(dialogue::Dialogue::new())).await,
                    }
                }
            }
        }
        Err(Refused::Malformed("a session is asked for again and again, and never begins".to_owned()))
    }

    fn note(&self, packet: Packet, encrypts: bool) {
        if packet == Packet::Ssl {
            self.case.group.database.encrypts.store(encrypts, Ordering::Relaxed);
        }
    }

    /// Whether the client is to begin without encryption, to be told why it is refused: an error in answer to a request for
    /// encryption is one that clients do not show, since anybody could have sent it. Where servers do speak TLS, a client
    /// that wants nothing else must not be told that there is none.
    fn asks_in_plain(&self, packet: Packet) -> bool {
        packet == Packet::Gss || !self.case.group.database.encrypts.load(Ordering::Relaxed)
    }

    /// Has the client begin, to refuse it then.
    async fn refuse_behind(&mut self, refused: Refused) -> Result<(), Refused> {
        for _packet in 0..PACKETS_MAX {
            self.case.slot.set(self.case.now().after(BEGINNING));
            if self.write(b"N").await.is_err() {
                break;
            }
            let Ok((packet, length)) = self.packet().await else { break };
            self.take(length);
            if matches!(packet, Packet::Startup { .. } | Packet::Cancel) {
                break;
            }
        }
        Err(refused)
    }

    /// A client that begins with TLS, which only a server can make something of.
    async fn pass_through(&mut self) -> Result<(), Refused> {
        let buffers = (&mut *self.input, &mut *self.output);
        let reached = reach::reach(self.case, &mut self.client, buffers, b"").await?;
        self.run(reached, Dialogue::Opaque).await
    }

    async fn run(&mut self, reached: Reached, dialogue: Dialogue) -> Result<(), Refused> {
        let buffers = (&mut *self.input, &mut *self.output);
        session::run(self.case, &mut self.client, reached, buffers, dialogue).await;
        Ok(())
    }

    /// The next packet and its length. It stays in the buffer.
    async fn packet(&mut self) -> Result<(Packet, usize), Refused> {
        self.case.wait_until(self.case.now().after(self.case.spec.startup_timeout));
        let (client, input) = (&mut self.client, &mut self.input);
        let read = poll_fn(|cx| {
            loop {
                match startup::parse(input.data()) {
                    Ok(Progress::Complete(packet, length)) => return Poll::Ready(Ok((packet, length))),
                    Ok(Progress::Partial) => {}
                    Err(malformed) => return Poll::Ready(Err(Refused::Malformed(malformed.to_string()))),
                }
                match ready!(input.poll_fill(cx, client)) {
                    Ok(read) if read > 0 => {}
                    Ok(_end) => return Poll::Ready(Err(Refused::ClientLeft)),
                    Err(_reset) => return Poll::Ready(Err(Refused::ClientLeft)),
                }
            }
        });
        self.case.slot.within(read).await.unwrap_or(Err(Refused::TooSlow))
    }

    /// Takes a packet out of the buffer.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let packet = self.input.data().get(..length).unwrap_or_default().to_vec();
        self.input.consume(length);
        packet
    }

    /// Sends the packet of this length to a server, whose first answer is in `output` then.
    async fn forward(&mut self, length: usize) -> Result<Reached, Refused> {
        let packet = self.take(length);
        let case = self.case;
        if let Some(mut known) = self.upstream.take()
            && (known.epoch == case.group.epoch() || case.group.roles().keeps(case.spec.access, &known.target))
        {
            case.wait_until(case.now().after(case.spec.connect_timeout));
            let greeted = reach::greet(&mut known.stream, &packet, &mut self.output);
            if let Ok(Ok(())) = case.slot.within(greeted).await {
                return Ok(known);
            }
            self.output.clear();
        }
        reach::reach(case, &mut self.client, (&mut *self.input, &mut *self.output), &packet).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let client = &mut self.client;
        let mut written = 0;
        let write = poll_fn(|cx| {
            while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
                match ready!(client.poll_write(cx, rest)) {
                    Ok(more) if more > 0 => written += more,
                    Ok(_nothing) => return Poll::Ready(Err(Refused::ClientLeft)),
                    Err(_reset) => return Poll::Ready(Err(Refused::ClientLeft)),
                }
            }
            Poll::Ready(ready!(client.poll_flush(cx)).map_err(|_reset| Refused::ClientLeft))
        });
        self.case.slot.within(write).await.unwrap_or(Err(Refused::TooSlow))
    }

    /// Ends TLS here. Who begins with it, `directly`, has to name the protocol, as PostgreSQL's servers ask for.
    async fn encrypt(&mut self, directly: bool) -> Result<(), Refused> {
        let Some(config) = &self.case.listener.tls else { return Err(Refused::Tls) };
        let Stream::Plain(tcp) = std::mem::replace(&mut self.client, Stream::Nobody) else { return Err(Refused::Tls) };
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(config));
        let handshake = self.case.slot.within(Box::pin(acceptor.accept(Socket(tcp)))).await;
        let Ok(Ok(tls)) = handshake else { return Err(Refused::Tls) };
        if directly && tls.get_ref().1.alpn_protocol() != Some(startup::ALPN) {
            return Err(Refused::Tls);
        }
        self.client = Stream::TlsServer(Box::new(tls));
        self.is_encrypted = true;
        Ok(())
    }

    async fn refuse(&mut self, refused: Refused) {
        let case = self.case;
        let counters = &case.counters().refused;
        let group = &case.spec.group;
        let (code, message, hint) = match refused {
            Refused::ClientLeft => return,
            Refused::Tls => return case.listener.state.shards.of(case.worker.index).tls_failures.add(1),
            Refused::TooSlow => return counters.too_slow.add(1),
            Refused::NoServer => {
                counters.no_server.add(1);
                let message = format!("no server of database group {group} has the role for this connection now");
                (error::CANNOT_CONNECT_NOW, message, "It may be failing over. Try again in a moment.")
            }
            Refused::QueueFull => {
                counters.queue_full.add(1);
                let message = format!("too many connections wait for a server of database group {group}");
                (error::CANNOT_CONNECT_NOW, message, "It may be failing over. Try again in a moment.")
            }
            Refused::Malformed(message) => {
                counters.malformed.add(1);
                tracing::debug!(listener = case.listener.state.spec.name, peer = %case.peer.address, message, "refused");
                (error::PROTOCOL_VIOLATION, message, "")
            }
            Refused::NotEncrypted => {
                counters.not_encrypted.add(1);
                let message = "connections to this listener have to be encrypted".to_owned();
                (error::INVALID_AUTHORIZATION, message, "Use sslmode=require, or better verify-full.")
            }
            Refused::Leaving => (error::ADMIN_SHUTDOWN, "the gateway leaves".to_owned(), "Connect again."),
        };
        farewell::say(case, &mut self.client, &error::fatal(code, &message, hint)).await;
    }
}
