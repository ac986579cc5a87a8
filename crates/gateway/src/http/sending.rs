//! The time between the first byte of a request to an endpoint and the head of its final response: the request goes out,
//! interim responses come in, and the client may leave.

use std::task::{Context, Poll};

use mainstay_core::retry::Failure;
use mainstay_http2::Closed;

use super::attempt::{Failed, Sent};
use super::exchange::Exchange;
use super::respond;
use crate::http1::body::Framing;
use crate::http1::field::{self, Name};
use crate::http1::request::{Limits, Progress};
use crate::http1::response;
use crate::http1::write::{self, Respond};
use crate::http2;
use crate::relay::RelayError;
use crate::stream::{MAX_HEAD_BYTES, Stream};
use crate::worker::pool::Connection;

/// Interim responses to one request that are relayed. More than a few are an attack or a bug.
const MAX_INTERIM: u32 = 16;
/// Headers that a response may have.
const MAX_RESPONSE_HEADERS: usize = crate::http1::request::MAX_HEADERS;

/// The time between the first byte to the endpoint and its final head.
pub(crate) struct Sending {
    pub(crate) upstream: Box<Connection>,
    /// The endpoint stopped reading the request.
    pub(crate) request_broke: bool,
    /// The client is watched for leaving, until it sends something or closes its half.
    watches_client: bool,
    /// The task is woken when the client sends or leaves.
    listens_to_client: bool,
    interim: Vec<u8>,
    interim_sent: usize,
    interims: u32,
    limits: Limits,
}

impl Sending {
    /// On a connection to which nothing was sent.
    pub(crate) const fn new(upstream: Box<Connection>) -> Self {
        Self {
            upstream,
            request_broke: false,
            watches_client: true,
            listens_to_client: false,
            interim: Vec::new(),
            interim_sent: 0,
            interims: 0,
            limits: Limits { bytes: MAX_HEAD_BYTES, headers: MAX_RESPONSE_HEADERS },
        }
    }

    /// Moves what can be moved. Ready when the head of the final response stands in the exchange.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), Failed>> {
        if !exchange.up.is_done() && !self.request_broke {
            self.poll_request(cx, client, exchange)?;
        }
        // Registered in the same poll that ends the request: nothing else would wake this task when the client leaves.
        if self.watches_client && (exchange.up.is_done() || self.request_broke) {
            self.poll_client(cx, client, exchange)?;
        }
        loop {
            if let Some(stream) = client.http2()
                && !self.interim.is_empty()
            {
                let _ended = stream.respond(&self.interim);
                self.interim.clear();
            }
            while self.interim_sent < self.interim.len() {
                match client.poll_write(cx, &self.interim[self.interim_sent..]) {
                    Poll::Ready(Ok(written)) if written > 0 => self.interim_sent += written,
                    Poll::Ready(_gone) => return Poll::Ready(Err(Failed::ClientGone)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !self.interim.is_empty() {
                let Poll::Ready(_flushed) = client.poll_flush(cx) else { return Poll::Pending };
                self.interim.clear();
                self.interim_sent = 0;
            }
            let is_final = match self.upstream.stream.http2() {
                Some(_) => std::task::ready!(self.poll_http2(cx, exchange))?,
                None => self.parse(exchange)?,
            };
            if is_final {
                return Poll::Ready(Ok(()));
            }
            if !self.interim.is_empty() || self.upstream.stream.http2().is_some() {
                continue;
            }
            match std::task::ready!(exchange.output.poll_fill(cx, &mut self.upstream.stream)) {
                Ok(read) if read > 0 => {}
                _closed => return Poll::Ready(Err(self.closed(exchange))),
            }
        }
    }

    /// Sends what there is of the request.
    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        exchange: &mut Exchange,
    ) -> Result<(), Failed> {
        match exchange.up.poll(cx, client, &mut exchange.input, &mut self.upstream.stream) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(RelayError::SourceMalformed(_))) => Err(Failed::Body(respond::BAD_BODY)),
            Poll::Ready(Err(RelayError::Source(_) | RelayError::SourceClosed)) => Err(Failed::ClientGone),
            Poll::Ready(Err(RelayError::Sink(_))) if exchange.up.has_sent() => {
                // The endpoint may have answered before it stopped reading; that answer is still to be had.
                self.request_broke = true;
                Ok(())
            }
            Poll::Ready(Err(RelayError::Sink(_))) => Err(self.failure(exchange, Failure::Connect)),
        }
    }

    /// Notices a client that leaves while the endpoint works. What it sends meanwhile is the next request.
    fn poll_client(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Stream,
        exchange: &mut Exchange,
    ) -> Result<(), Failed> {
        if let Some(stream) = client.http2() {
            return if stream.poll_closed(cx).is_ready() { Err(Failed::ClientGone) } else { Ok(()) };
        }
        if !exchange.input.has_room() || exchange.input.data().len() > crate::stream::MAX_HEAD_BYTES / 4 {
            self.watches_client = false;
            return Ok(());
        }
        // Most turns are about the endpoint.
        if self.listens_to_client && !client.is_readable() {
            return Ok(());
        }
        match exchange.input.poll_fill(cx, client) {
            Poll::Pending => {
                self.listens_to_client = true;
                Ok(())
            }
            Poll::Ready(Ok(_closed_half_or_pipelined)) => {
                self.watches_client = false;
                Ok(())
            }
            Poll::Ready(Err(_reset)) => Err(Failed::ClientGone),
        }
    }

    /// Looks at what the endpoint has sent. `true` if the final head is there.
    fn parse(&mut self, exchange: &mut Exchange) -> Result<bool, Failed> {
        loop {
            if exchange.output.is_empty() {
                return Ok(false);
            }
            let to_head = exchange.head.is_head_method(exchange.head_bytes());
            match response::parse(exchange.output.data(), self.limits, to_head, &mut exchange.response) {
                Ok(Progress::Partial) => return Ok(false),
                Err(response::Malformed) => return Err(self.failure(exchange, Failure::Malformed)),
                Ok(Progress::Complete) => {}
            }
            let status = exchange.response.status;
            if status == 101 {
                let expected = exchange.head.wants_upgrade && exchange.response.upgrades && is_asked_for(exchange);
                return if expected { Ok(true) } else { Err(self.failure(exchange, Failure::Malformed)) };
            }
            if status >= 200 {
                return Ok(true);
            }
            if self.interim(exchange)? {
                return Ok(false);
            }
        }
    }

    /// Takes the interim response whose head stands in the exchange. `true` if the client is to have it.
    fn interim(&mut self, exchange: &mut Exchange) -> Result<bool, Failed> {
        self.interims += 1;
        if self.interims > MAX_INTERIM {
            return Err(self.failure(exchange, Failure::Malformed));
        }
        let status = exchange.response.status;
        let wanted = !exchange.head.is_http10 && (status != 100 || exchange.head.expects_continue);
        if wanted {
            let respond = Respond {
                framing: Framing::None,
                connection: write::Connection::Open,
                ops: &crate::http1::write::Ops::default(),
                request_id: &exchange.request_id,
                date: None,
                keep_length: false,
                marks: [b""; 3],
            };
            write::response(&mut self.interim, &exchange.response, exchange.output.data(), &respond);
        }
        exchange.output.consume(exchange.response.length);
        exchange.output.compact(0);
        Ok(wanted)
    }

    /// Takes the next head of a response in HTTP/2. `true` if it is the final one.
    fn poll_http2(&mut self, cx: &Context<'_>, exchange: &mut Exchange) -> Poll<Result<bool, Failed>> {
        let Some(stream) = self.upstream.stream.http2() else { return Poll::Ready(Ok(false)) };
        let fields = match std::task::ready!(stream.poll_head(cx)) {
            Ok(fields) => fields,
            Err(closed) => return Poll::Ready(Err(self.failure(exchange, self.cause(closed)))),
        };
        let to_head = exchange.head.is_head_method(exchange.head_bytes());
        let ended = stream.has_no_body();
        http2::head::response(&fields, ended, to_head, &mut exchange.output, &mut exchange.response);
        stream.give_back(fields);
        if exchange.response.status < 200 {
            return Poll::Ready(self.interim(exchange).map(|_relayed| false));
        }
        if exchange.head.wants_upgrade && exchange.response.status == 200 && !ended {
            let bytes = exchange.input.all().get(..exchange.head.length).unwrap_or_default();
            http2::head::switch_protocols(&exchange.head, bytes, &mut exchange.output, &mut exchange.response);
        }
        Poll::Ready(Ok(true))
    }

    /// Why a stream ended without a head.
    fn cause(&self, closed: Closed) -> Failure {
        match closed {
            Closed::Refused => Failure::Refused,
            Closed::ByUs(_) => Failure::Malformed,
            Closed::Lost if self.upstream.reused && self.interims == 0 => Failure::StaleConnection,
            Closed::Lost | Closed::ByPeer(_) => Failure::Reset,
        }
    }

    /// The endpoint closed before its final head.
    fn closed(&self, exchange: &Exchange) -> Failed {
        let failure = if !exchange.output.is_empty() {
            Failure::Malformed
        } else if self.upstream.reused && self.interims == 0 {
            Failure::StaleConnection
        } else {
            Failure::Reset
        };
        self.failure(exchange, failure)
    }

    /// What an attempt that ends here has come to.
    pub(crate) fn failure(&self, exchange: &Exchange, failure: Failure) -> Failed {
        let sent = if exchange.up.has_sent() { Sent::Something } else { Sent::Nothing };
        Failed::Endpoint { failure, reused: self.upstream.reused, sent }
    }
}

/// Whether the endpoint switches to protocols that the client named, and to no other (RFC 9110, section 7.8).
fn is_asked_for(exchange: &Exchange) -> bool {
    let (asked, answered) = (exchange.head_bytes(), exchange.output.data());
    let wanted = |protocol: &[u8]| {
        let lines = exchange.head.fields.iter().filter(|it| it.known == Name::Upgrade);
        lines.flat_map(|it| field::members(it.value.get(asked))).any(|it| it.eq_ignore_ascii_case(protocol))
    };
    let lines = exchange.response.fields.iter().filter(|it| it.known == Name::Upgrade);
    lines.flat_map(|it| field::members(it.value.get(answered))).all(wanted)
}
