//! A backend for tests, in a process of its own so that it can be killed and stopped.
//!
//! `mainstay-e2e-origin --listen ADDR [--record FILE]`. The path of a request says what happens:
//! `/ok` two bytes; `/bytes/N`; `/chunked/N` with a trailer; `/until-close/N`; `/status/N`; `/sleep/MS`; `/slow-body/N/MS` (N bytes,
//! one each MS); `/hints` 103 first; `/ws` an upgrade whose bytes are echoed; `/mirror` the body itself; `/sink` how long
//! the body was; `/expect/none` no 100; `/expect/final` a final response before the body; `/close` and hang up;
//! `/drop` hang up without an answer; `/die` and so does the whole process; `/health`; `/_control?health=N&status=N&delay=MS&close_after=N`; `/_stats`. Any other path
//! is answered with the request as JSON. `x-id` of each request is appended to the record before it is answered.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_e2e::http::{Body, Framing, Head, Reader};
use serde_json::json;

#[derive(Default)]
struct Switches {
    health: AtomicU64,
    status: AtomicU64,
    delay: AtomicU64,
    close_after: AtomicU64,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    health_checks: AtomicU64,
}

struct Origin {
    address: SocketAddr,
    record: Option<File>,
    switches: Switches,
    counts: Counts,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let address: SocketAddr = option("--listen").and_then(|text| text.parse().ok()).expect("--listen ADDR");
    let record =
        option("--record").map(|path| File::options().create(true).append(true).open(path).expect("the record"));
    let listener = TcpListener::bind(address).expect("the address is free");
    let origin = Origin { address, record, switches: Switches::default(), counts: Counts::default() };
    origin.switches.health.store(200, Ordering::Relaxed);
    let origin = Arc::new(origin);
    eprintln!("listening");
    for stream in listener.incoming() {
        let (Ok(stream), origin) = (stream, Arc::clone(&origin)) else { continue };
        let serial = origin.counts.connections.fetch_add(1, Ordering::Relaxed) + 1;
        std::thread::Builder::new()
            .stack_size(256 * 1024)
            .spawn(move || {
                let _client_left = origin.serve(stream, serial);
            })
            .expect("a thread");
    }
}

/// Whether the connection can carry another request.
#[derive(PartialEq, Eq)]
enum Then {
    KeepAlive,
    Close,
}

struct Request<'a> {
    method: &'a str,
    path: &'a str,
    head: &'a Head,
    serial: u64,
    nth: u64,
}

impl Origin {
    fn serve(&self, stream: TcpStream, serial: u64) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = Reader::new(stream);
        for nth in 1..u64::MAX {
            let Some(bytes) = reader.head()? else { return Ok(()) };
            let head = Head::parse(&bytes).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
            let line = head.line.clone();
            let mut words = line.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            self.note(&head, method);
            let request = Request { method, path, head: &head, serial, nth };
            if self.answer(&mut reader, &request)? == Then::Close {
                break;
            }
        }
        // FIN first and the rest of the request read, so that the answer is not lost in a reset.
        reader.stream().shutdown(std::net::Shutdown::Write)?;
        reader.stream().set_read_timeout(Some(Duration::from_millis(500)))?;
        while reader.stream().read(&mut [0; 4096])? > 0 {}
        Ok(())
    }

    fn note(&self, head: &Head, method: &str) {
        if let (Some(mut record), Some(id)) = (self.record.as_ref(), head.get("x-id")) {
            record.write_all(format!("{id} {method}\n").as_bytes()).expect("the record is written");
        }
    }

    fn answer(&self, reader: &mut Reader<TcpStream>, request: &Request<'_>) -> io::Result<Then> {
        let path = request.path.split('?').next().unwrap_or_default();
        let mut parts = path.trim_start_matches('/').split('/');
        let first = parts.next().unwrap_or_default();
        let number = |part: Option<&str>| part.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        if let Some(then) = self.answer_about_itself(reader, request, first)? {
            return Ok(then);
        }
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        if first == "die" {
            std::process::exit(7);
        }
        if first == "drop" {
            return Ok(Then::Close);
        }
        if first == "ws" && request.head.has("connection", "upgrade") {
            return tunnel(reader, request);
        }
        if first == "expect" && path.ends_with("/final") {
            write(reader, b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!")?;
            return Ok(Then::Close);
        }
        if request.head.get("expect").is_some() && first != "expect" {
            write(reader, b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let framing = request.head.request_framing();
        let framing = framing.map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
        let keep = if first == "sink" { 64 } else { 64 * 1024 * 1024 };
        let body = reader.body(framing, keep)?;
        std::thread::sleep(Duration::from_millis(self.switches.delay.load(Ordering::Relaxed)));
        let forced = self.switches.status.load(Ordering::Relaxed);
        if forced != 0 {
            return self.reply(reader, request, forced, b"forced");
        }
        match first {
            "ok" => self.reply(reader, request, 200, b"ok"),
            "status" => self.reply(reader, request, number(parts.next()), b"status"),
            "sleep" => {
                std::thread::sleep(Duration::from_millis(number(parts.next())));
                self.reply(reader, request, 200, b"slept")
            }
            "bytes" => self.reply(reader, request, 200, &pattern(number(parts.next()))),
            "mirror" => self.reply(reader, request, 200, &body.bytes),
            "sink" => self.reply(reader, request, 200, body.length.to_string().as_bytes()),
            "close" => {
                write(reader, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")?;
                Ok(Then::Close)
            }
            "until-close" => {
                write(reader, b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n")?;
                write(reader, &pattern(number(parts.next())))?;
                Ok(Then::Close)
            }
            "hints" => {
                write(reader, b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-gone\r\nx-gone: 1\r\n\r\n")?;
                self.reply(reader, request, 200, b"after hints")
            }
            "chunked" => chunked(reader, request, number(parts.next())),
            "slow-body" => slow_body(reader, number(parts.next()), Duration::from_millis(number(parts.next()))),
            _echo => self.echo(reader, request, &body),
        }
    }

    fn answer_about_itself(
        &self,
        reader: &mut Reader<TcpStream>,
        request: &Request<'_>,
        first: &str,
    ) -> io::Result<Option<Then>> {
        match first {
            "health" => {
                self.counts.health_checks.fetch_add(1, Ordering::Relaxed);
                self.reply(reader, request, self.switches.health.load(Ordering::Relaxed), b"health").map(Some)
            }
            "_control" => {
                self.control(request.path);
                self.reply(reader, request, 200, b"set").map(Some)
            }
            "_stats" => {
                let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
                let counts = &self.counts;
                let stats = json!({"connections": get(&counts.connections), "requests": get(&counts.requests),
                    "health_checks": get(&counts.health_checks)});
                self.reply(reader, request, 200, stats.to_string().as_bytes()).map(Some)
            }
            _request => Ok(None),
        }
    }

    fn control(&self, path: &str) {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = value.parse().unwrap_or(0);
            let switch = match key {
                "health" => &self.switches.health,
                "status" => &self.switches.status,
                "delay" => &self.switches.delay,
                "close_after" => &self.switches.close_after,
                _unknown => continue,
            };
            switch.store(value, Ordering::Relaxed);
        }
    }

    fn echo(&self, reader: &mut Reader<TcpStream>, request: &Request<'_>, body: &Body) -> io::Result<Then> {
        let shown = &body.bytes[..body.bytes.len().min(64 * 1024)];
        let version = request.head.line.rsplit(' ').next().unwrap_or_default();
        let text = json!({
            "origin": self.address.to_string(), "method": request.method, "path": request.path, "version": version,
            "headers": request.head.headers, "body": String::from_utf8_lossy(shown), "length": body.length,
            "trailers": body.trailers, "connection": request.serial, "nth": request.nth,
        });
        self.reply(reader, request, 200, text.to_string().as_bytes())
    }

    fn reply(
        &self,
        reader: &mut Reader<TcpStream>,
        request: &Request<'_>,
        status: u64,
        body: &[u8],
    ) -> io::Result<Then> {
        let limit = self.switches.close_after.load(Ordering::Relaxed);
        let close = (limit != 0 && request.nth >= limit) || request.head.has("connection", "close");
        let bare = status == 204 || status == 304;
        let mut out = format!("HTTP/1.1 {status} Some Reason\r\nx-origin: {}\r\n", self.address);
        if !bare {
            out += &format!("content-length: {}\r\n", body.len());
        }
        if close {
            out += "connection: close\r\n";
        }
        let mut out = (out + "\r\n").into_bytes();
        if !bare && request.method != "HEAD" {
            out.extend_from_slice(body);
        }
        write(reader, &out)?;
        Ok(if close { Then::Close } else { Then::KeepAlive })
    }
}

fn write(reader: &mut Reader<TcpStream>, bytes: &[u8]) -> io::Result<()> {
    reader.stream().write_all(bytes)
}

fn pattern(length: u64) -> Vec<u8> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut pattern = b"abcdefghijklmnopqrstuvwxyz".repeat(length / 26 + 1);
    pattern.truncate(length);
    pattern
}

fn chunked(reader: &mut Reader<TcpStream>, request: &Request<'_>, length: u64) -> io::Result<Then> {
    write(reader, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")?;
    if request.method == "HEAD" {
        return Ok(Then::KeepAlive);
    }
    for part in pattern(length).chunks(1000) {
        let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
        chunk.extend_from_slice(part);
        chunk.extend_from_slice(b"\r\n");
        write(reader, &chunk)?;
    }
    write(reader, format!("0\r\nx-sum: {length}\r\n\r\n").as_bytes())?;
    Ok(Then::KeepAlive)
}

fn slow_body(reader: &mut Reader<TcpStream>, length: u64, pause: Duration) -> io::Result<Then> {
    write(reader, format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes())?;
    for _byte in 0..length {
        std::thread::sleep(pause);
        write(reader, b"x")?;
    }
    Ok(Then::KeepAlive)
}

fn tunnel(reader: &mut Reader<TcpStream>, request: &Request<'_>) -> io::Result<Then> {
    let protocol = request.head.get("upgrade").unwrap_or("websocket").to_owned();
    write(
        reader,
        format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n").as_bytes(),
    )?;
    loop {
        let early = reader.buffered().len() as u64;
        let echoed = reader.body(Framing::Length(early), usize::MAX)?;
        write(reader, &echoed.bytes)?;
        if reader.fill()? == 0 {
            return Ok(Then::Close);
        }
    }
}
