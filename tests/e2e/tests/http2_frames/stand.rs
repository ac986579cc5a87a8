//! The gateway with a backend behind it, and how a case is played and judged.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::h2::code::PROTOCOL_ERROR;
use mainstay_e2e::h2::{H2, Said, flag, frame, kind};
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::tls::{Authority, Client};
use mainstay_e2e::{Mainstay, free};

use crate::case::{Case, EH, ES, Step, Verdict};

/// The payload of the PING behind the frames of a case: its answer says that all of them were taken in.
const PROBE: [u8; 8] = *b"verdict?";

/// How long a verdict may take.
const LIMIT: Duration = Duration::from_secs(8);

pub struct Stand {
    pub gateway: Mainstay,
    pub listen: SocketAddr,
    pub backend: Scripted,
    authority: Option<Authority>,
}

fn backend() -> Scripted {
    Scripted::start(|mut exchange: Exchange| {
        while let Some((head, _body)) = exchange.request() {
            if head.line.contains("/hold") {
                std::thread::sleep(Duration::from_millis(1_500));
            }
            exchange.note(format!("WHOLE {}", head.line));
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

impl Stand {
    /// A listener without TLS.
    pub fn start() -> Self {
        Self::start_before(backend())
    }

    /// The same before another backend.
    pub fn start_before(backend: Scripted) -> Self {
        let listen = free();
        let config = simple(listen, &[backend.address()], "health = \"off\"\noutlier = \"off\"");
        Self { gateway: Mainstay::start(&config), listen, backend, authority: None }
    }

    /// A listener with TLS, which offers HTTP/2.
    pub fn start_tls() -> Self {
        let (listen, backend, authority) = (free(), backend(), Authority::new("Test Authority"));
        let identity = authority.issue(&["a.test"]);
        let config = simple(listen, &[backend.address()], "health = \"off\"\noutlier = \"off\"");
        let tls = "name = \"web\"\ntls = { certificates = [{ cert = \"a.pem\", key = \"a.key\" }] }\n";
        let config = config.replacen("name = \"web\"\n", tls, 1);
        let files = [("a.pem", identity.cert.as_str()), ("a.key", identity.key.as_str())];
        let mut gateway = Mainstay::launch("", &config, &files);
        gateway.wait_until_ready();
        Self { gateway, listen, backend, authority: Some(authority) }
    }

    /// Plays every case, on a connection of its own, and fails with all that went wrong.
    pub fn run(&mut self, cases: &[Case]) {
        let mut wrong = Vec::new();
        for case in cases {
            if let Err(what) = self.case(case) {
                let (section, name, _, verdict) = case;
                wrong.push(format!("{section}, {name}: {what} (verdict {verdict:?})"));
            }
        }
        assert!(self.gateway.process().is_running(), "the gateway is gone:\n{}", self.gateway.stderr());
        assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }

    fn case(&self, case: &Case) -> Result<(), String> {
        self.backend.forget();
        let result = match &self.authority {
            None => play(H2::connect(self.listen).map_err(|error| error.to_string())?, case),
            Some(authority) => play(H2::over(self.connect_tls(authority)?), case),
        };
        let seen = self.backend.seen();
        result?;
        if !case.3.lets_through()
            && let Some(whole) = seen.iter().find(|note| note.starts_with("WHOLE") && !note.contains("/hold"))
            && !case.2.iter().any(|step| matches!(step, Step::Answered(_)))
        {
            return Err(format!("a backend saw {whole}"));
        }
        if let Some(bad) = seen.iter().find(|note| note.contains("MALFORMED") || note.contains("/smuggled")) {
            return Err(format!("a backend saw {bad}"));
        }
        self.still_serves()
    }

    fn connect_tls(
        &self,
        authority: &Authority,
    ) -> Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>, String> {
        let mut client = Client::trusting(authority);
        client.alpn = vec!["h2"];
        let wire = client.connect(self.listen, "a.test")?;
        Ok(wire.into_stream())
    }

    /// Another client is served as ever.
    pub fn still_serves(&self) -> Result<(), String> {
        let status = match &self.authority {
            None => {
                let mut fresh = H2::connect(self.listen).map_err(|error| error.to_string())?;
                fresh.open(&[]).map_err(|error| error.to_string())?;
                fresh.get(1, "/fresh")
            }
            Some(authority) => {
                let mut fresh = H2::over(self.connect_tls(authority)?);
                fresh.open(&[]).map_err(|error| error.to_string())?;
                fresh.get(1, "/fresh")
            }
        };
        if status == Some(200) { Ok(()) } else { Err(format!("another client is answered {status:?} afterwards")) }
    }
}

fn play<S: Read + Write>(mut client: H2<S>, (_, _, steps, verdict): &Case) -> Result<(), String> {
    if !matches!(steps.first(), Some(Step::Instead(_))) {
        client.open(&[]).map_err(|error| format!("no preface sent: {error}"))?;
    }
    let mut waiting = Vec::new();
    for step in *steps {
        if let Step::Answered(stream) = step {
            // What was sent so far may have been refused already: the verdict tells.
            let _gone = client.send(&std::mem::take(&mut waiting));
            if client.status(*stream).is_none() {
                return Err(format!("no answer on stream {stream}, which has nothing wrong"));
            }
        }
        waiting.extend(bytes(&mut client, *step));
    }
    if !matches!(verdict, Verdict::Connection(_) | Verdict::Ended) {
        waiting.extend(frame(kind::PING, 0, 0, &PROBE));
    }
    let _gone = client.send(&waiting);
    judge(&mut client, *verdict)
}

fn bytes<S: Read + Write>(client: &mut H2<S>, step: Step) -> Vec<u8> {
    let pseudo = |method| [(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", "/")];
    let mut headers = |stream, flags, fields: &[(&str, &str)]| {
        frame(kind::HEADERS, EH | flags, stream, &client.block(fields.iter().copied()))
    };
    match step {
        Step::Instead(bytes) | Step::Raw(bytes) => bytes.to_vec(),
        Step::Frame(kind, flags, stream, payload) => frame(kind, flags, stream, payload),
        Step::Zeros(kind, flags, stream, length) => frame(kind, flags, stream, &vec![0; length]),
        Step::Settings(entries) => client.settings(entries),
        Step::Fields(stream, flags, fields) => headers(stream, flags, fields),
        Step::Get(stream, fields) => headers(stream, ES, &[&pseudo("GET"), fields].concat()),
        Step::Post(stream, fields) => headers(stream, 0, &[&pseudo("POST"), fields].concat()),
        Step::Long(stream, length) => {
            let value = "~".repeat(length);
            let block = client.block(pseudo("GET").into_iter().chain([("x-long", value.as_str())]));
            in_pieces(stream, &block)
        }
        Step::Answered(_) => Vec::new(),
    }
}

/// A header block in as many frames as it takes.
pub fn in_pieces(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let pieces = block.chunks(16_384);
    let count = pieces.len();
    for (nth, piece) in pieces.enumerate() {
        let (kind, first) = if nth == 0 { (kind::HEADERS, ES) } else { (kind::CONTINUATION, 0) };
        let last = if nth + 1 == count { flag::END_HEADERS } else { 0 };
        out.extend(frame(kind, first | last, stream, piece));
    }
    out
}

/// What has been said so far, as far as a verdict needs it.
#[derive(Default)]
struct Heard {
    probe: bool,
    resets: Vec<(u32, u32)>,
    statuses: Vec<(u32, u16)>,
    ended: HashSet<u32>,
    go_away: Option<(u32, String)>,
}

impl Heard {
    fn take(&mut self, said: Said) {
        match said {
            Said::Pong(payload) if payload == PROBE => self.probe = true,
            Said::Reset { stream, code } => self.resets.push((stream, code)),
            Said::Head { stream, status, ends, .. } => {
                self.statuses.extend(status.filter(|status| *status >= 200).map(|status| (stream, status)));
                self.ended.extend(ends.then_some(stream));
            }
            Said::Data { stream, ends: true, .. } => {
                self.ended.insert(stream);
            }
            Said::GoAway { code, reason, .. } => self.go_away = Some((code, reason)),
            Said::Pong(_) | Said::Data { .. } | Said::Acknowledged | Said::Settings(_) | Said::Other(_) => {}
            Said::Closed => {}
        }
    }

    fn is_reset(&self, stream: u32, codes: &[u32]) -> bool {
        self.resets.iter().any(|(id, code)| *id == stream && codes.contains(code))
    }

    fn has_gone(&self, codes: &[u32]) -> bool {
        self.go_away.as_ref().is_some_and(|(code, _)| codes.contains(code))
    }

    fn fulfils(&self, verdict: Verdict, closed: bool) -> bool {
        let goes_on = self.probe && !closed && self.go_away.is_none();
        match verdict {
            Verdict::Connection(codes) => closed && self.has_gone(codes),
            Verdict::Stream(stream, codes) => goes_on && self.is_reset(stream, codes),
            Verdict::Either(stream, codes) => goes_on && self.is_reset(stream, codes) || closed && self.has_gone(codes),
            Verdict::Malformed(stream) => {
                goes_on && (self.is_reset(stream, &[PROTOCOL_ERROR]) || self.statuses.contains(&(stream, 400)))
            }
            Verdict::Status(stream, status) => {
                goes_on && self.statuses.contains(&(stream, status)) && self.ended.contains(&stream)
            }
            Verdict::Ended => closed,
            Verdict::Ignored => goes_on,
        }
    }
}

fn judge<S: Read + Write>(client: &mut H2<S>, verdict: Verdict) -> Result<(), String> {
    let mut heard = Heard::default();
    let end = Instant::now() + LIMIT;
    loop {
        let said = match client.hear() {
            Ok(said) => said,
            // To a preface that is none an answer of HTTP/1.1 may come.
            Err(_not_http2) if matches!(verdict, Verdict::Ended) => return Ok(()),
            Err(error) => return Err(format!("{error} after {heard}")),
        };
        let closed = said == Said::Closed;
        heard.take(said);
        if heard.fulfils(verdict, closed) {
            return Ok(());
        }
        if closed || Instant::now() > end {
            return Err(format!("{heard}{}", if closed { "closed" } else { "nothing more" }));
        }
    }
}

impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (stream, code) in &self.resets {
            write!(f, "RST_STREAM({stream}, {code:#x}) ")?;
        }
        for (stream, status) in &self.statuses {
            write!(f, "status({stream}, {status}) ")?;
        }
        if let Some((code, reason)) = &self.go_away {
            write!(f, "GOAWAY({code:#x} {reason:?}) ")?;
        }
        write!(f, "{}", if self.probe { "PING answered, " } else { "" })
    }
}
